//! What the statements promise, in plain values.

use crate::command::{Asked, Command, How, Pair, Request};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Queued,
    Running {
        lease: usize,
        expired: bool,
    },
    /// In the history, with the lease that ended it.
    Ended {
        state: &'static str,
        lease: Option<usize>,
        reason: Option<&'static str>,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) request: Request,
    pub(crate) key: Option<u8>,
    pub(crate) retry_of: Option<usize>,
    pub(crate) successor: Option<usize>,
    pub(crate) place: Place,
    /// Due in an hour, and not at [`Job::order`].
    pub(crate) delayed: bool,
    /// Among the jobs that are due, the earlier in this order come first.
    pub(crate) order: usize,
    pub(crate) attempts: i32,
    pub(crate) crashes: i32,
    pub(crate) cancel_requested: bool,
    pub(crate) last_error: Option<&'static str>,
    /// Whether it has one.
    pub(crate) result: bool,
    pub(crate) log: Vec<Attempt>,
}

#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) attempt: i32,
    pub(crate) outcome: &'static str,
    pub(crate) charged: bool,
    pub(crate) lease: usize,
    pub(crate) error: Option<&'static str>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Reference {
    /// What the last command asks for.
    pub(crate) asked: Asked,
    /// What it must be answered.
    pub(crate) answer: String,
    pub(crate) jobs: BTreeMap<usize, Job>,
    /// The job and the request of a key, and how often it was asked for again.
    pub(crate) keys: BTreeMap<u8, (usize, Request, u32)>,
    /// How often a finished job was retried again, by job.
    pub(crate) retries: BTreeMap<usize, u32>,
    /// The worker of each lease.
    pub(crate) leases: Vec<u8>,
    pub(crate) paused: bool,
    pub(crate) requests: Vec<(usize, Request, Option<u8>)>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) next_job: usize,
    next_order: usize,
}

impl Reference {
    /// Names what a command means now, and does it.
    pub(crate) fn take(&mut self, command: &Command) {
        self.asked = self.name(command);
        self.answer = match self.asked.clone() {
            Asked::Nothing => String::new(),
            Asked::Enqueue { job, request, key, is_second_try } => self.enqueue(job, request, key, is_second_try),
            Asked::Claim { lease, limit, expired, .. } => self.claim(lease, limit, expired),
            Asked::Fall { lease, limit } => {
                let claimed = self.claim(lease, limit, true);
                format!("{claimed} {}", self.reap())
            }
            Asked::RecoverClaim { lease } => self.recover(lease),
            Asked::Renew { pairs } => self.renew(&pairs),
            Asked::Finish { ends } => {
                let answers: Vec<String> = ends.iter().map(|(pair, how)| self.finish(*pair, *how)).collect();
                answers.join(", ")
            }
            Asked::CompleteInTx { pair, commit } => self.complete_in_tx(pair, commit),
            Asked::Cancel { job } => self.cancel(job),
            Asked::Retry { job, successor } => self.retry(job, successor),
            Asked::Expire { pair } => self.expire(|id, lease, _| (id, lease) == pair),
            Asked::Reap { of } => {
                self.expire(|_, _, worker| Some(worker) == of);
                self.reap()
            }
            Asked::Pause => {
                self.paused = true;
                String::new()
            }
            Asked::Resume => std::mem::take(&mut self.paused).to_string(),
        };
    }

    fn order(&mut self) -> usize {
        self.next_order += 1;
        self.next_order
    }

    fn insert(&mut self, id: usize, request: Request, key: Option<u8>, retry_of: Option<usize>) {
        let order = self.order();
        let delayed = request.delayed && retry_of.is_none();
        let job = Job {
            request,
            key,
            retry_of,
            successor: None,
            place: Place::Queued,
            delayed,
            order,
            attempts: 0,
            crashes: 0,
            cancel_requested: false,
            last_error: None,
            result: false,
            log: Vec::new(),
        };
        self.jobs.insert(id, job);
    }

    fn enqueue(&mut self, id: usize, request: Request, key: Option<u8>, is_second_try: bool) -> String {
        if let Some((first, known, hits)) = key.and_then(|key| self.keys.get_mut(&key)) {
            *hits += 1;
            let (first, known) = (*first, *known);
            return match (known == request, is_second_try && first == id) {
                (true, true) => format!("created {first}"),
                (true, false) => format!("duplicate {first}"),
                (false, _) => format!("conflict {first}"),
            };
        }
        if !self.jobs.contains_key(&id) {
            self.insert(id, request, key, None);
            if let Some(key) = key {
                self.keys.insert(key, (id, request, 0));
            }
        }
        format!("created {id}")
    }

    /// Running jobs in the order in which they should start, with their attempts.
    fn claimed(&self, which: impl Fn(&Job) -> bool) -> Vec<(usize, i32)> {
        let mut found: Vec<(&usize, &Job)> = self.jobs.iter().filter(|(_, job)| which(job)).collect();
        found.sort_by_key(|(_, job)| (job.request.priority, job.order));
        found.into_iter().map(|(id, job)| (*id, job.attempts)).collect()
    }

    fn claim(&mut self, lease: usize, limit: usize, expired: bool) -> String {
        let mut due = self.claimed(|job| job.place == Place::Queued && !job.delayed);
        due.truncate(if self.paused { 0 } else { limit });
        for (id, attempts) in &mut due {
            let job = self.jobs.get_mut(id).unwrap();
            job.place = Place::Running { lease, expired };
            job.attempts += 1;
            *attempts += 1;
            self.pairs.push((*id, lease));
        }
        format!("{due:?}")
    }

    fn recover(&self, of: usize) -> String {
        format!("{:?}", self.claimed(|job| matches!(job.place, Place::Running { lease, .. } if lease == of)))
    }

    fn renew(&mut self, pairs: &[Pair]) -> String {
        let mut kept = Vec::new();
        for (id, of) in pairs {
            let Some(job) = self.jobs.get_mut(id) else { continue };
            if let Place::Running { lease, expired } = &mut job.place
                && lease == of
            {
                *expired = false;
                kept.push((*id, *of, job.cancel_requested));
            }
        }
        format!("{kept:?}")
    }

    /// What an attempt's own word has done, once it does not hold the lease any more.
    fn word(&self, (id, of): Pair) -> String {
        let Some(job) = self.jobs.get(&id) else { return "lost".into() };
        if let Place::Ended { state, lease, reason } = job.place
            && lease == Some(of)
            && !matches!(reason, Some("crash_loop" | "worker_lost"))
        {
            return state.into();
        }
        let is_word = |a: &Attempt| a.lease == of && matches!(a.outcome, "failed" | "released" | "snoozed");
        if job.log.iter().any(is_word) { "queued".into() } else { "lost".into() }
    }

    fn holds(&self, (id, of): Pair) -> bool {
        self.jobs.get(&id).is_some_and(|job| matches!(job.place, Place::Running { lease, .. } if lease == of))
    }

    fn finish(&mut self, pair: Pair, how: How) -> String {
        if !self.holds(pair) {
            return self.word(pair);
        }
        let order = self.order();
        let job = self.jobs.get_mut(&pair.0).unwrap();
        let ended = |state, reason| Place::Ended { state, lease: Some(pair.1), reason };
        let error = match how {
            How::Fail { .. } => Some("boom"),
            How::FailForGood => Some("bad"),
            How::Complete | How::Release { .. } | How::Snooze => None,
        };
        job.last_error = error.or(job.last_error);
        job.result = how == How::Complete;
        job.place = match how {
            How::Complete => ended("succeeded", None),
            _ if job.cancel_requested => ended("cancelled", Some("cancelled")),
            How::FailForGood => ended("failed", Some("fatal")),
            How::Fail { .. } if job.attempts >= job.request.max_attempts => ended("failed", Some("attempts_exhausted")),
            How::Fail { .. } | How::Release { .. } | How::Snooze => Place::Queued,
        };
        if job.place == Place::Queued {
            let (outcome, charged, error) = match how {
                How::Fail { .. } => ("failed", true, Some("boom")),
                How::Release { .. } => ("released", false, Some("drain")),
                _ => ("snoozed", false, None),
            };
            job.log.push(Attempt { attempt: job.attempts, outcome, charged, lease: pair.1, error });
            job.attempts -= i32::from(!charged);
            job.delayed = matches!(how, How::Fail { delayed: true } | How::Release { delayed: true } | How::Snooze);
            if matches!(how, How::Fail { delayed: false }) {
                job.order = order;
            }
        }
        job.cancel_requested = false;
        self.word(pair)
    }

    fn complete_in_tx(&mut self, pair: Pair, commit: bool) -> String {
        if !self.holds(pair) {
            return "FLT02".into();
        }
        if commit {
            self.finish(pair, How::Complete);
        }
        "done".into()
    }

    fn cancel(&mut self, id: usize) -> String {
        let Some(job) = self.jobs.get_mut(&id) else { return "Unknown".into() };
        match job.place {
            Place::Queued => {
                job.place = Place::Ended { state: "cancelled", lease: None, reason: Some("cancelled") };
                "Cancelled".into()
            }
            Place::Running { .. } => {
                job.cancel_requested = true;
                "Requested".into()
            }
            Place::Ended { .. } => "Finished".into(),
        }
    }

    fn retry(&mut self, id: usize, successor: usize) -> String {
        let order = self.order();
        let Some(job) = self.jobs.get_mut(&id) else { return "unknown".into() };
        match job.place {
            Place::Running { .. } => "running".into(),
            Place::Queued if job.delayed => {
                job.delayed = false;
                job.order = order;
                "moved to now".into()
            }
            Place::Queued => "already due".into(),
            Place::Ended { .. } => {
                let created = job.successor.is_none();
                let known = *job.successor.get_or_insert(successor);
                let request = job.request;
                *self.retries.entry(id).or_insert(0) += u32::from(!created);
                if created {
                    self.insert(successor, request, None, Some(id));
                }
                format!("successor {known}, created {created}")
            }
        }
    }

    fn expire(&mut self, which: impl Fn(usize, usize, u8) -> bool) -> String {
        for (id, job) in &mut self.jobs {
            if let Place::Running { lease, expired } = &mut job.place
                && which(*id, *lease, self.leases[*lease])
            {
                *expired = true;
            }
        }
        String::new()
    }

    /// All that a worker lost is judged together: charged is who fell most often, unless several fell once before.
    fn reap(&mut self) -> String {
        let fallen: Vec<(usize, usize, i32)> = self
            .jobs
            .iter()
            .filter_map(|(id, job)| match job.place {
                Place::Running { lease, expired: true } => Some((*id, lease, job.crashes)),
                _ => None,
            })
            .collect();
        let mut reaped = Vec::new();
        for (id, lease, crashes) in &fallen {
            let worker = self.leases[*lease];
            let beside = || fallen.iter().filter(|(_, other, _)| self.leases[*other] == worker).map(|(_, _, n)| n);
            let suspect = beside().max() == Some(crashes);
            let charged = suspect && (*crashes != 1 || beside().filter(|n| *n == crashes).count() == 1);
            let job = self.jobs.get_mut(id).unwrap();
            job.crashes += i32::from(suspect);
            job.last_error = Some("the lease expired");
            job.place = if job.cancel_requested {
                Place::Ended { state: "cancelled", lease: Some(*lease), reason: Some("worker_lost") }
            } else if charged && job.attempts >= job.request.max_attempts {
                Place::Ended { state: "failed", lease: Some(*lease), reason: Some("crash_loop") }
            } else {
                let attempt = job.attempts;
                job.log.push(Attempt { attempt, outcome: "expired", charged, lease: *lease, error: None });
                job.attempts -= i32::from(!charged);
                Place::Queued
            };
            job.cancel_requested = false;
            reaped.push((*id, if let Place::Ended { state, .. } = job.place { state } else { "queued" }));
        }
        format!("{reaped:?}")
    }
}
