//! What happened to a job, as phases one after the other: from its rows, pure, with the database's clock passed in.
//!
//! Nothing here is guessed. A phase ends where a row says so. Two things are in no row, and the phases say so: when a job
//! that has been retried was first due, and when exactly a lost worker fell silent. For the latter the worker's last sign of
//! life is taken, if it is known: since then nobody is known to have worked on the job.

use faultline_core::{LeaseId, State, WorkerId};
use faultline_store::dashboard::holders::Holder;
use faultline_store::read::{Attempt, Job};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;

/// What is known of a job at one moment.
pub(crate) struct Known<'a> {
    /// Its row.
    pub(crate) job: &'a Job,
    /// The attempts that did not end it, in order.
    pub(crate) attempts: &'a [Attempt],
    /// Whether there were others before those.
    pub(crate) has_earlier: bool,
    /// Who ran the attempt that ended it, and under which lease.
    pub(crate) ended_by: Option<(WorkerId, LeaseId)>,
    /// What is known of the workers.
    pub(crate) workers: &'a HashMap<WorkerId, Holder>,
    /// The database's clock.
    pub(crate) now: Timestamp,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has not.
    Running,
    /// It has not, but its lease has run out and was not renewed.
    Overdue,
    /// The job is done.
    Succeeded,
    /// It failed, and was not the last one.
    Failed,
    /// It failed, and with it the job.
    FailedForGood,
    /// It stopped, since somebody had asked for that.
    Cancelled,
    /// Its lease ran out.
    Expired,
    /// Its worker was gone.
    Lost,
    /// Its worker gave it back.
    Released,
    /// Its handler asked to be called again later.
    Snoozed,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// Its number. One that was not charged shares it with the next.
    pub(crate) number: i32,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) lease: Option<LeaseId>,
    pub(crate) from: Timestamp,
    /// Until now, if it has not ended.
    pub(crate) until: Timestamp,
    pub(crate) outcome: Outcome,
    /// Whether it counts.
    pub(crate) charged: bool,
    pub(crate) error: Option<String>,
    /// Since when nothing was heard of its worker.
    pub(crate) silent_since: Option<Timestamp>,
    /// Until when the running one's lease lasts.
    pub(crate) lease_until: Option<Timestamp>,
    /// When its lease was last renewed, if it was.
    pub(crate) renewed_at: Option<Timestamp>,
}

/// What a job does in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// It waits for its time, before its first attempt.
    Scheduled,
    /// It is due, and waits for a worker.
    Due,
    /// It waits before the first attempt that is known; since when it was due is not.
    Waiting,
    /// It waits after a failed attempt.
    BackOff,
    /// The same, until somebody moved it to now.
    BackOffCutShort,
    /// It waits because its handler asked for that.
    Snoozed,
    /// The attempt of this index runs.
    Running(usize),
    /// Attempts, and the waits between them, that were not read.
    NotRead,
}

/// A span of time in a job's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) what: What,
    pub(crate) from: Timestamp,
    /// Until now, if it goes on.
    pub(crate) until: Timestamp,
    pub(crate) goes_on: bool,
}

impl Phase {
    /// How long it is.
    pub(crate) fn length(&self) -> SignedDuration {
        self.until.duration_since(self.from)
    }
}

/// What happened to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timeline {
    /// One after the other, without gaps.
    pub(crate) phases: Vec<Phase>,
    /// The attempts.
    pub(crate) runs: Vec<Run>,
    /// When and how it ended.
    pub(crate) end: Option<(Timestamp, State)>,
    /// When it is due next, if it waits for its time.
    pub(crate) due_at: Option<Timestamp>,
}

/// Tells what happened.
pub(crate) fn timeline(known: &Known) -> Timeline {
    let job = known.job;
    let runs = runs(known);
    let end = job.finished_at.map(|at| (at, job.state));
    let mut phases = Phases { list: Vec::new(), at: job.created_at };
    if known.has_earlier {
        let until = runs.first().map_or(job.created_at, |run| run.from);
        phases.push(What::NotRead, until, false);
    }
    let mut earlier: Option<&Attempt> = None;
    for (index, run) in runs.iter().enumerate() {
        let is_first = !known.has_earlier && index == 0;
        phases.wait(earlier, is_first.then(|| first_due_at(known)).flatten(), run.from, Ends::WithAnAttempt);
        let goes_on = matches!(run.outcome, Outcome::Running | Outcome::Overdue);
        phases.push(What::Running(index), run.until, goes_on);
        earlier = known.attempts.get(index);
    }
    let waits = job.state == State::Queued;
    if waits {
        let until = known.now.max(phases.at);
        phases.wait(earlier, Some(job.next_run_at), until, Ends::NotYet);
    } else if let Some((at, _)) = end.filter(|(at, _)| *at > phases.at) {
        phases.wait(earlier, Some(job.next_run_at), at, Ends::WithTheJob);
    }
    let due_at = (waits && job.next_run_at > known.now).then_some(job.next_run_at);
    Timeline { phases: phases.list, runs, end, due_at }
}

/// When a job was first due: in its row until an attempt fails, which is the first to move it.
fn first_due_at(known: &Known) -> Option<Timestamp> {
    match known.attempts.first() {
        None => Some(known.job.next_run_at),
        Some(first) if first.outcome == "expired" || first.outcome == "lost" => Some(first.next_run_at),
        Some(first) if first.outcome == "released" && first.next_run_at <= first.started_at => Some(first.next_run_at),
        Some(_) => None,
    }
}

/// How a wait ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    WithAnAttempt,
    /// Cancelled.
    WithTheJob,
    NotYet,
}

/// Phases in the making.
struct Phases {
    list: Vec<Phase>,
    at: Timestamp,
}

impl Phases {
    /// The next phase. Clocks of a server that has failed over may go backwards; phases don't.
    fn push(&mut self, what: What, until: Timestamp, goes_on: bool) {
        let until = until.max(self.at);
        if until > self.at || goes_on || matches!(what, What::Running(_)) {
            self.list.push(Phase { what, from: self.at, until, goes_on });
        }
        self.at = until;
    }

    /// A wait until `until`, after the attempt `earlier` or before any, with the time at which the job was or is due.
    fn wait(&mut self, earlier: Option<&Attempt>, due_at: Option<Timestamp>, until: Timestamp, ends: Ends) {
        let goes_on = ends == Ends::NotYet;
        let (pause, due_at) = match earlier {
            None => (What::Scheduled, due_at),
            Some(earlier) => {
                let planned = earlier.next_run_at;
                let due_at = due_at.unwrap_or(planned);
                let was_moved = due_at < planned || planned > until && ends == Ends::WithAnAttempt;
                let pause = match earlier.outcome.as_str() {
                    "snoozed" => What::Snoozed,
                    _ if was_moved => What::BackOffCutShort,
                    _ => What::BackOff,
                };
                (pause, Some(due_at))
            }
        };
        let Some(due_at) = due_at else { return self.push(What::Waiting, until, goes_on) };
        if due_at > self.at {
            self.push(pause, due_at.min(until), goes_on && due_at >= until);
        }
        if due_at < until {
            self.push(What::Due, until, goes_on);
        }
    }
}

fn runs(known: &Known) -> Vec<Run> {
    let mut runs: Vec<Run> = known.attempts.iter().map(|attempt| past(known, attempt)).collect();
    runs.extend(last(known));
    runs
}

fn past(known: &Known, attempt: &Attempt) -> Run {
    let outcome = match attempt.outcome.as_str() {
        "expired" => Outcome::Expired,
        "lost" => Outcome::Lost,
        "released" => Outcome::Released,
        "snoozed" => Outcome::Snoozed,
        _ => Outcome::Failed,
    };
    let was_lost = matches!(outcome, Outcome::Expired | Outcome::Lost);
    let silent_since =
        was_lost.then(|| silent_since(known, Some(attempt.worker), attempt.started_at, attempt.ended_at)).flatten();
    Run {
        number: attempt.attempt,
        worker: Some(attempt.worker),
        lease: Some(attempt.lease_id),
        from: attempt.started_at,
        until: attempt.ended_at,
        outcome,
        charged: attempt.charged,
        error: attempt.error.clone(),
        silent_since,
        lease_until: None,
        renewed_at: None,
    }
}

/// The attempt that runs, or the one that ended the job.
fn last(known: &Known) -> Option<Run> {
    let job = known.job;
    let from = job.started_at.filter(|_| job.state != State::Queued)?;
    if known.attempts.iter().any(|attempt| attempt.started_at == from) {
        // Cancelled while it waited: the row still tells of the attempt before.
        return None;
    }
    let run = |outcome, until| Run {
        number: job.attempts,
        worker: known.ended_by.map(|(worker, _)| worker),
        lease: known.ended_by.map(|(_, lease)| lease),
        from,
        until,
        outcome,
        charged: true,
        error: None,
        silent_since: None,
        lease_until: None,
        renewed_at: None,
    };
    if let Some(lease) = job.lease {
        let is_over = lease.expires_at < known.now;
        let ttl = known.workers.get(&lease.owner).map(|host| host.lease_ttl);
        let renewed_at = ttl.and_then(|ttl| lease.expires_at.checked_sub(ttl).ok());
        // The claim sets the same time; what is not clearly later is no renewal.
        let renewed_at = renewed_at.filter(|at| at.duration_since(from) > SignedDuration::from_millis(500));
        return Some(Run {
            worker: Some(lease.owner),
            lease: Some(lease.id),
            silent_since: is_over.then_some(lease.expires_at),
            lease_until: Some(lease.expires_at),
            renewed_at,
            ..run(if is_over { Outcome::Overdue } else { Outcome::Running }, known.now)
        });
    }
    let until = job.finished_at?;
    let error = job.last_error.clone().filter(|_| job.state == State::Failed);
    let was_lost = matches!(job.reason.as_deref(), Some("crash_loop" | "worker_lost"));
    let outcome = match job.state {
        _ if was_lost && error.as_deref() == Some("the lease expired") => Outcome::Expired,
        _ if was_lost => Outcome::Lost,
        State::Succeeded => Outcome::Succeeded,
        State::Cancelled => Outcome::Cancelled,
        _ => Outcome::FailedForGood,
    };
    let worker = known.ended_by.map(|(worker, _)| worker);
    let silent_since = was_lost.then(|| silent_since(known, worker, from, until)).flatten();
    Some(Run { error, silent_since, ..run(outcome, until) })
}

/// Since when nothing was heard of a worker that was lost with an attempt; none if it is not known, or if it was heard of again.
fn silent_since(known: &Known, worker: Option<WorkerId>, from: Timestamp, until: Timestamp) -> Option<Timestamp> {
    let heard_of = known.workers.get(&worker?)?.heartbeat_at;
    (heard_of < until).then(|| heard_of.max(from))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use faultline_core::JobId;
    use faultline_store::read::Lease;
    use serde_json::value::RawValue;
    use uuid::Uuid;

    pub(crate) fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_772_366_400 + seconds).unwrap()
    }

    pub(crate) fn worker(number: u128) -> WorkerId {
        WorkerId(Uuid::from_u128(number))
    }

    pub(crate) fn job(state: State) -> Job {
        Job {
            id: JobId(Uuid::from_u128(7)),
            queue: "default".into(),
            kind: "demo.echo".into(),
            state,
            priority: 2,
            payload: RawValue::from_string("{}".into()).unwrap(),
            headers: None,
            key: None,
            attempts: 0,
            max_attempts: 3,
            crashes: 0,
            next_run_at: at(0),
            created_at: at(0),
            started_at: None,
            finished_at: None,
            lease: None,
            cancel_requested: false,
            timeout_ms: 3_600_000,
            backoff_base_ms: 1000,
            backoff_cap_ms: 600_000,
            retry_of: None,
            reason: None,
            last_error: None,
            result: None,
        }
    }

    pub(crate) fn attempt(number: i32, outcome: &str, from: i64, until: i64, due_again: i64) -> Attempt {
        Attempt {
            attempt: number,
            outcome: outcome.into(),
            charged: !matches!(outcome, "released" | "snoozed"),
            started_at: at(from),
            ended_at: at(until),
            next_run_at: at(due_again),
            lease_id: LeaseId(Uuid::from_u128(99)),
            worker: worker(u128::from(number.unsigned_abs())),
            error: (outcome == "failed").then(|| "boom".into()),
        }
    }

    pub(crate) fn running(mut job: Job, from: i64, lease_until: i64) -> Job {
        job.started_at = Some(at(from));
        job.lease = Some(Lease { id: LeaseId(Uuid::from_u128(98)), owner: worker(9), expires_at: at(lease_until) });
        job
    }

    pub(crate) fn ended(mut job: Job, from: Option<i64>, until: i64) -> Job {
        job.started_at = from.map(at);
        job.finished_at = Some(at(until));
        job
    }

    pub(crate) fn told(job: &Job, attempts: &[Attempt], heartbeats: &[(u128, i64)], now: i64) -> Timeline {
        let host = |heartbeat: i64| Holder {
            host: "host-1".into(),
            pid: 42,
            heartbeat_at: at(heartbeat),
            lease_ttl: SignedDuration::from_secs(15),
        };
        let workers = heartbeats.iter().map(|(id, heartbeat)| (worker(*id), host(*heartbeat))).collect();
        let ended_by = job.finished_at.and(job.started_at).map(|_| (worker(9), LeaseId(Uuid::from_u128(98))));
        timeline(&Known { job, attempts, has_earlier: false, ended_by, workers: &workers, now: at(now) })
    }

    /// What each phase is, and from when to when in seconds; `…` goes on.
    fn phases(timeline: &Timeline) -> Vec<String> {
        let seconds = |at: Timestamp| at.as_second() - 1_772_366_400;
        timeline
            .phases
            .iter()
            .map(|phase| {
                let what = match phase.what {
                    What::Running(index) => format!("{:?}", timeline.runs[index].outcome),
                    what => format!("{what:?}"),
                };
                let goes_on = if phase.goes_on { "…" } else { "" };
                format!("{what} {}-{}{goes_on}", seconds(phase.from), seconds(phase.until))
            })
            .collect()
    }

    #[test]
    fn a_job_that_just_succeeds_waits_then_runs() {
        let job = ended(Job { attempts: 1, next_run_at: at(3), ..job(State::Succeeded) }, Some(5), 9);
        let timeline = told(&job, &[], &[], 100);
        assert_eq!(phases(&timeline), ["Scheduled 0-3", "Due 3-5", "Succeeded 5-9"]);
        assert_eq!(timeline.end, Some((at(9), State::Succeeded)));
        assert_eq!((timeline.runs[0].number, timeline.runs[0].worker), (1, Some(worker(9))));
    }

    #[test]
    fn a_waiting_job_goes_on_waiting_for_its_time_or_for_a_worker() {
        let later = Job { next_run_at: at(60), ..job(State::Queued) };
        let timeline = told(&later, &[], &[], 20);
        assert_eq!(phases(&timeline), ["Scheduled 0-20…"]);
        assert_eq!(timeline.due_at, Some(at(60)));
        let timeline = told(&job(State::Queued), &[], &[], 20);
        assert_eq!((phases(&timeline), timeline.due_at), (vec!["Due 0-20…".to_owned()], None));
    }

    #[test]
    fn a_retried_job_backs_off_and_no_longer_tells_when_it_was_first_due() {
        let attempts = [attempt(1, "failed", 1, 2, 10), attempt(2, "snoozed", 12, 13, 30)];
        let job = running(Job { attempts: 2, ..job(State::Running) }, 31, 60);
        let timeline = told(&job, &attempts, &[], 40);
        let expected = [
            "Waiting 0-1",
            "Failed 1-2",
            "BackOff 2-10",
            "Due 10-12",
            "Snoozed 12-13",
            "Snoozed 13-30",
            "Due 30-31",
            "Running 31-40…",
        ];
        assert_eq!(phases(&timeline), expected);
        assert!(timeline.runs[0].charged && !timeline.runs[1].charged);
        assert_eq!(timeline.runs[0].error.as_deref(), Some("boom"));
    }

    #[test]
    fn a_lost_worker_is_silent_from_its_last_sign_of_life_to_the_recovery() {
        let attempts = [attempt(1, "lost", 10, 20, 0)];
        let queued = Job { attempts: 1, crashes: 1, ..job(State::Queued) };
        for (heartbeat, silent_since) in [(17, Some(17)), (5, Some(10)), (25, None)] {
            let timeline = told(&queued, &attempts, &[(1, heartbeat)], 22);
            // A reaped job keeps its place: it is due at once.
            assert_eq!(phases(&timeline), ["Due 0-10", "Lost 10-20", "Due 20-22…"]);
            assert_eq!(timeline.runs[0].silent_since, silent_since.map(at));
        }
        assert_eq!(told(&queued, &attempts, &[], 22).runs[0].silent_since, None);
    }

    #[test]
    fn a_lease_that_has_run_out_is_nobodys_from_then_on() {
        let job = running(Job { attempts: 1, ..job(State::Running) }, 1, 30);
        let timeline = told(&job, &[], &[(9, 15)], 33);
        assert_eq!(phases(&timeline), ["Due 0-1", "Overdue 1-33…"]);
        assert_eq!((timeline.runs[0].silent_since, timeline.runs[0].renewed_at), (Some(at(30)), Some(at(15))));
    }

    #[test]
    fn a_lease_that_was_never_renewed_says_nothing_of_renewals() {
        let job = running(Job { attempts: 1, ..job(State::Running) }, 1, 16);
        assert_eq!(told(&job, &[], &[(9, 1)], 5).runs[0].renewed_at, None);
    }

    #[test]
    fn a_crash_loop_ends_the_job_with_its_lost_worker() {
        let lost = Job {
            attempts: 1,
            reason: Some("crash_loop".into()),
            last_error: Some("the lease expired".into()),
            ..job(State::Failed)
        };
        let timeline = told(&ended(lost, Some(1), 20), &[], &[(9, 4)], 30);
        assert_eq!(phases(&timeline), ["Due 0-1", "Expired 1-20"]);
        assert_eq!(timeline.runs[0].silent_since, Some(at(4)));
    }

    #[test]
    fn a_job_that_was_cancelled_while_it_waited_has_no_last_attempt() {
        let attempts = [attempt(1, "failed", 1, 2, 50)];
        let cancelled = Job { attempts: 1, next_run_at: at(50), ..job(State::Cancelled) };
        for started_at in [None, Some(1)] {
            let timeline = told(&ended(cancelled.clone(), started_at, 9), &attempts, &[], 30);
            assert_eq!(phases(&timeline), ["Waiting 0-1", "Failed 1-2", "BackOff 2-9"], "{started_at:?}");
        }
    }

    #[test]
    fn a_back_off_that_an_operator_ended_says_so() {
        let attempts = [attempt(1, "failed", 1, 2, 600)];
        let moved = Job { attempts: 1, next_run_at: at(20), ..job(State::Queued) };
        assert_eq!(
            phases(&told(&moved, &attempts, &[], 25)),
            ["Waiting 0-1", "Failed 1-2", "BackOffCutShort 2-20", "Due 20-25…"]
        );
        let runs = running(Job { attempts: 2, ..job(State::Running) }, 21, 60);
        assert_eq!(phases(&told(&runs, &attempts, &[], 25))[2..], ["BackOffCutShort 2-21", "Running 21-25…"]);
    }

    #[test]
    fn phases_follow_on_each_other_even_if_the_clock_went_back() {
        let attempts = [attempt(1, "lost", 30, 20, 0), attempt(2, "failed", 5, 40, 41)];
        let job = ended(Job { attempts: 3, ..job(State::Succeeded) }, Some(35), 36);
        let timeline = told(&job, &attempts, &[], 10);
        for pair in timeline.phases.windows(2) {
            assert_eq!(pair[0].until, pair[1].from);
        }
        assert!(timeline.phases.iter().all(|phase| phase.until >= phase.from));
        assert_eq!(timeline.runs.len(), 3);
    }
}
