//! A tiny world that writes witnesses: what a correct system would have left. Tests spoil them afterwards.
#![allow(dead_code, clippy::unwrap_used, reason = "each test binary uses its part, and fails by panicking")]

use faultline_check::witness::*;
use faultline_check::{Status, Verdict, Witnesses};
use std::collections::BTreeMap;
use uuid::Uuid;

/// When the world begins, microseconds since 1970.
pub(crate) const START_US: i64 = 1_700_000_000_000_000;
pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const LEASE_TTL: i64 = 2 * SECOND;
pub(crate) const MAX_ATTEMPTS: i32 = 5;

pub(crate) fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// The numbers of the violated invariants.
pub(crate) fn violated(verdict: &Verdict) -> Vec<u8> {
    verdict.violated().map(|outcome| outcome.number).collect()
}

pub(crate) fn status(verdict: &Verdict, number: u8) -> &Status {
    &verdict.outcomes.iter().find(|outcome| outcome.number == number).unwrap().status
}

/// A worker or another process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Process(pub(crate) u128);

impl Process {
    pub(crate) fn name(self) -> String {
        format!("process-{}", self.0)
    }

    pub(crate) fn owner(self) -> Uuid {
        id(1_000 + self.0)
    }
}

pub(crate) const API: Process = Process(0);

/// The world: a clock, the rows, and what is written down.
pub(crate) struct World {
    pub(crate) now_us: i64,
    pub(crate) rows: BTreeMap<Uuid, JobRow>,
    pub(crate) out: Witnesses,
    records: Vec<Record>,
    faults: Vec<FaultRecord>,
    next: u64,
    snapshots: u32,
}

impl World {
    pub(crate) fn new() -> Self {
        let run = Run {
            lease_ttl_us: LEASE_TTL,
            clock_tolerance_us: SECOND / 10,
            presence_grace_us: SECOND / 2,
            holdoff_us: LEASE_TTL,
            reap_bound_us: SECOND,
            recovery_bound_us: 4 * SECOND,
            claim_gap_bound_us: 2 * SECOND,
            enqueue_deadline_us: SECOND,
            shutdown_bound_us: 5 * SECOND,
            idle_in_transaction_bound_us: SECOND,
            drained: true,
            ..Run::default()
        };
        let some = Witnesses {
            run,
            events: Some(vec![]),
            effects_tx: Some(vec![]),
            effects_ext: Some(vec![]),
            samples: Some(vec![]),
            ..Witnesses::default()
        };
        Self {
            now_us: START_US,
            rows: BTreeMap::new(),
            out: some,
            records: vec![],
            faults: vec![],
            next: 0,
            snapshots: 0,
        }
    }

    pub(crate) fn wait(&mut self, us: i64) {
        self.now_us += us;
    }

    fn tick(&mut self) -> u64 {
        self.now_us += 1000;
        self.next += 1;
        self.next
    }

    // What processes write.

    pub(crate) fn record(&self, process: Process, action: Action, op: u64, phase: Phase) -> Record {
        Record {
            phase,
            op,
            process: process.name().into(),
            action,
            wall_ns: self.now_us * 1000,
            boot_ns: (self.now_us - START_US) * 1000,
            job: None,
            lease: None,
            owner: None,
            attempt: None,
            queue: None,
            key: None,
            fingerprint: None,
            effect_tx: false,
            jobs: vec![],
            deadline_boot_ns: None,
            contact_ns: None,
            of: None,
            sqlstate: None,
            answer: None,
        }
    }

    /// Writes beginning and end of an operation; `with` fills in both.
    pub(crate) fn operate(
        &mut self,
        process: Process,
        action: Action,
        phase: Phase,
        answer: Option<Answer>,
        with: impl Fn(&mut Record),
    ) -> u64 {
        let op = self.tick();
        let mut invoke = self.record(process, action, op, Phase::Invoke);
        with(&mut invoke);
        self.records.push(invoke);
        self.now_us += 500;
        let mut end = self.record(process, action, op, phase);
        with(&mut end);
        end.answer = answer;
        self.records.push(end);
        op
    }

    /// A finish or a renewal as its worker saw it.
    pub(crate) fn told(
        &mut self,
        who: Process,
        action: Action,
        phase: Phase,
        answer: Option<Answer>,
        held: (u128, u128),
    ) -> u64 {
        self.operate(who, action, phase, answer, |r| (r.job, r.lease) = (Some(id(held.0)), Some(id(held.1))))
    }

    // What the database does.

    fn event(&mut self, row: &JobRow, from: Option<State>, reason: &str, left: Option<&JobRow>) {
        let seq = i64::try_from(self.tick()).unwrap();
        let holder = left.unwrap_or(row);
        let event = Event {
            job: row.job,
            seq,
            at_us: self.now_us,
            from,
            to: Some(row.state),
            attempt: row.attempts,
            max_attempts: row.max_attempts,
            owner: holder.owner,
            lease: holder.lease,
            lease_expires_us: holder.lease_expires_us,
            next_run_us: row.next_run_us,
            reason: reason.to_owned().into(),
        };
        self.out.events.as_mut().unwrap().push(event);
        self.rows.insert(row.job, JobRow { event_seq: Some(seq), ..row.clone() });
    }

    pub(crate) fn insert(&mut self, job: u128, key: Option<&str>) {
        let row = JobRow {
            sample: 0,
            at_us: 0,
            job: id(job),
            state: State::Queued,
            attempts: 0,
            max_attempts: MAX_ATTEMPTS,
            lease: None,
            owner: None,
            lease_expires_us: None,
            started_us: None,
            next_run_us: self.now_us,
            created_us: self.now_us,
            queue: "q".to_owned(),
            key: key.map(str::to_owned),
            reason: None,
            has_error: false,
            event_seq: None,
        };
        self.event(&row, None, "enqueued", None);
    }

    /// A job, acknowledged.
    pub(crate) fn enqueue(&mut self, job: u128) {
        self.insert(job, None);
        self.operate(API, Action::Enqueue, Phase::Ok, Some(Answer::Created), |r| {
            (r.job, r.queue) = (Some(id(job)), Some("q".into()));
        });
    }

    /// A job whose handler writes an effect in its transaction, acknowledged.
    pub(crate) fn enqueue_with_effect(&mut self, job: u128) {
        self.insert(job, None);
        self.operate(API, Action::Enqueue, Phase::Ok, Some(Answer::Created), |r| {
            (r.job, r.effect_tx) = (Some(id(job)), true);
        });
    }

    /// An enqueue under a key and its answer; the caller says which job it names.
    pub(crate) fn keyed(&mut self, key: &str, fingerprint: &str, phase: Phase, answer: Answer, job: u128) {
        self.operate(API, Action::Enqueue, phase, Some(answer), |r| {
            (r.job, r.queue) = (Some(id(job)), Some("q".into()));
            (r.key, r.fingerprint) = (Some(key.into()), Some(fingerprint.into()));
        });
    }

    pub(crate) fn claim(&mut self, who: Process, jobs: &[u128], lease: u128) {
        for job in jobs {
            let mut row = self.rows[&id(*job)].clone();
            assert!(row.state == State::Queued && row.next_run_us <= self.now_us, "the world is correct");
            row.state = State::Running;
            row.attempts += 1;
            (row.lease, row.owner) = (Some(id(lease)), Some(who.owner()));
            row.started_us = Some(self.now_us + 1000);
            row.lease_expires_us = Some(self.now_us + 1000 + LEASE_TTL);
            self.event(&row, Some(State::Queued), "claimed", None);
        }
        let jobs: Vec<Uuid> = jobs.iter().map(|job| id(*job)).collect();
        self.operate(who, Action::Claim, Phase::Ok, None, |r| (r.lease, r.jobs) = (Some(id(lease)), jobs.clone()));
        for job in jobs {
            let op = self.tick();
            let mut start = self.record(who, Action::HandlerStart, op, Phase::Ok);
            (start.job, start.lease) = (Some(job), Some(id(lease)));
            self.records.push(start);
        }
    }

    pub(crate) fn renew(&mut self, who: Process, job: u128) {
        let mut row = self.rows[&id(job)].clone();
        row.lease_expires_us = row.lease_expires_us.max(Some(self.now_us + 1000 + LEASE_TTL));
        let lease = row.lease.unwrap().as_u128();
        self.event(&row, Some(State::Running), "renewed", None);
        self.told(who, Action::Renew, Phase::Ok, Some(Answer::Renewed), (job, lease));
    }

    /// A handler did its last step.
    pub(crate) fn handler(&mut self, who: Process, job: u128, answer: Answer) {
        let row = self.rows[&id(job)].clone();
        for (action, answer) in [(Action::HandlerStep, None), (Action::HandlerEnd, Some(answer))] {
            let op = self.tick();
            let mut record = self.record(who, action, op, Phase::Ok);
            (record.job, record.lease, record.answer) = (Some(row.job), row.lease, answer);
            record.deadline_boot_ns = Some((row.lease_expires_us.unwrap() - START_US) * 1000);
            self.records.push(record);
        }
    }

    /// `running -> to`, by whomever.
    pub(crate) fn leave(&mut self, job: u128, to: State, reason: &str, refund: i32, delay_us: i64) {
        let left = self.rows[&id(job)].clone();
        let mut row = left.clone();
        row.state = to;
        row.attempts -= refund;
        if to == State::Queued {
            (row.lease, row.owner, row.lease_expires_us, row.started_us) = (None, None, None, None);
            row.next_run_us = self.now_us + 1000 + delay_us;
        } else {
            row.lease_expires_us = None;
            row.reason = (to != State::Succeeded).then(|| reason.to_owned());
        }
        row.has_error = matches!(to, State::Failed) || row.has_error;
        self.event(&row, Some(left.state), reason, Some(&left));
    }

    /// A handler returned, its finish was accepted, and somebody said so.
    pub(crate) fn complete(&mut self, who: Process, job: u128) {
        let lease = self.rows[&id(job)].lease.unwrap().as_u128();
        self.handler(who, job, Answer::Returned);
        self.leave(job, State::Succeeded, "completed", 0, 0);
        self.told(who, Action::Finish, Phase::Ok, Some(Answer::Succeeded), (job, lease));
        let op = self.tick();
        let mut said = self.record(who, Action::Said, op, Phase::Ok);
        said.job = Some(id(job));
        self.records.push(said);
    }

    /// An attempt ended otherwise, by its holder's word.
    pub(crate) fn put_back(&mut self, who: Process, job: u128, reason: &str, refund: i32, delay_us: i64) {
        let lease = self.rows[&id(job)].lease.unwrap().as_u128();
        self.handler(who, job, Answer::Erred);
        self.leave(job, State::Queued, reason, refund, delay_us);
        self.told(who, Action::Finish, Phase::Ok, Some(Answer::Queued), (job, lease));
    }

    pub(crate) fn fail_for_good(&mut self, who: Process, job: u128) {
        let lease = self.rows[&id(job)].lease.unwrap().as_u128();
        self.handler(who, job, Answer::Erred);
        self.leave(job, State::Failed, "fatal", 0, 0);
        self.told(who, Action::Finish, Phase::Ok, Some(Answer::Failed), (job, lease));
    }

    pub(crate) fn reap(&mut self, who: Process, job: u128, reason: &str) {
        let row = &self.rows[&id(job)];
        assert!(reason == "lost" || row.lease_expires_us.unwrap() <= self.now_us, "the world is correct");
        if row.attempts >= row.max_attempts {
            self.leave(job, State::Failed, "crash_loop", 0, 0);
        } else {
            self.leave(job, State::Queued, reason, 0, -2000);
        }
        self.operate(who, Action::Reap, Phase::Ok, None, |r| {
            (r.jobs, r.contact_ns) = (vec![id(job)], Some(3 * LEASE_TTL * 1000));
        });
    }

    pub(crate) fn effect(&mut self, job: u128, inside: bool) {
        let effect = Effect { job: id(job), lease: self.rows[&id(job)].lease.unwrap() };
        let effects = if inside { &mut self.out.effects_tx } else { &mut self.out.effects_ext };
        effects.as_mut().unwrap().push(effect);
    }

    // What the supervisor sees.

    pub(crate) fn fault(&mut self, fault: u64, phase: Phase, kind: FaultKind, hit: Option<Process>) {
        self.tick();
        let (process, owner) = (hit.map(Process::name), hit.map(Process::owner));
        self.faults.push(FaultRecord { fault, phase, kind, wall_ns: self.now_us * 1000, process, owner, at: None });
    }

    pub(crate) fn sample(&mut self, sample: Sample) {
        self.out.samples.as_mut().unwrap().push(sample);
    }

    /// A snapshot of the rows, and a queue in which nothing is left to claim.
    pub(crate) fn snapshot(&mut self) {
        self.tick();
        self.snapshots += 1;
        let (sample, at_us) = (self.snapshots, self.now_us);
        let rows: Vec<JobRow> = self.rows.values().map(|row| JobRow { sample, at_us, ..row.clone() }).collect();
        for row in rows {
            self.sample(Sample::Job(row));
        }
        self.queue(0, 3);
    }

    pub(crate) fn queue(&mut self, claimable: u64, free_slots: u64) {
        let (sample, at_us) = (self.snapshots, self.now_us);
        self.sample(Sample::Queue(QueueSample { sample, at_us, queue: "q".to_owned(), claimable, free_slots }));
    }

    pub(crate) fn metrics(&mut self, process: Process, values: &[(&str, f64)]) {
        let (sample, at_us, process) = (self.snapshots, self.now_us, process.name());
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        self.sample(Sample::Metrics(MetricsSample { sample, at_us, process: process.clone(), answered: true, values }));
        self.sample(Sample::Health(HealthSample { sample, at_us, process, answered: true }));
    }

    /// The end: all rows, and everything that was written down.
    pub(crate) fn end(mut self) -> Witnesses {
        let at_us = self.now_us;
        self.out.run.ended_us = at_us;
        self.out.end = Some(self.rows.values().map(|row| JobRow { at_us, ..row.clone() }).collect());
        self.out.history = Some(operations(self.records));
        self.out.nemesis = Some(faults(self.faults));
        self.out
    }
}
