//! The ways in which an attempt ends by its worker's word.

use super::{Store, after};
use crate::log::Event;
use jiff::Timestamp;
use uuid::Uuid;

/// A job, its lease and the state that it is in now.
pub(super) type Moved = (Uuid, Uuid, &'static str);

/// An attempt that failed, as `fail.sql` gets it.
pub(super) struct Failed {
    pub(super) id: Uuid,
    pub(super) lease: Uuid,
    pub(super) delay_ms: i64,
    pub(super) is_fatal: bool,
    pub(super) reason: Option<String>,
}

/// An attempt that was given back, as `put_back.sql` gets it.
pub(super) struct Back {
    pub(super) id: Uuid,
    pub(super) lease: Uuid,
    pub(super) delay_ms: Option<i64>,
    pub(super) outcome: String,
}

impl Store {
    pub(super) fn complete(&mut self, queue: &str, pairs: &[(Uuid, Uuid)], now: Timestamp) -> Vec<(Uuid, Uuid)> {
        let held: Vec<(Uuid, Uuid)> = pairs.iter().filter(|pair| self.may_move(queue, **pair)).copied().collect();
        for (id, lease) in &held {
            self.end(*id, now, "succeeded", None);
            self.events.push(Event::Moved { job: *id, lease: *lease, state: "succeeded" });
        }
        held
    }

    pub(super) fn fail(&mut self, queue: &str, failed: Vec<Failed>, now: Timestamp) -> Vec<Moved> {
        let mut moved = Vec::with_capacity(failed.len());
        for Failed { id, lease, delay_ms, is_fatal, reason } in failed {
            if !self.may_move(queue, (id, lease)) {
                continue;
            }
            let job = &self.jobs[&id];
            let is_cancelled = job.is_cancel_requested;
            let state = if is_cancelled {
                self.end(id, now, "cancelled", Some("cancelled".into()));
                "cancelled"
            } else if is_fatal || job.attempts >= job.max_attempts {
                let reason = if is_fatal { reason } else { Some("attempts_exhausted".into()) };
                self.end(id, now, "failed", reason);
                "failed"
            } else {
                self.put(id, after(now, delay_ms), true, "failed");
                "queued"
            };
            self.events.push(Event::Moved { job: id, lease, state });
            moved.push((id, lease, state));
        }
        moved
    }

    pub(super) fn put_back(&mut self, queue: &str, backs: Vec<Back>, now: Timestamp) -> Vec<Moved> {
        let mut moved = Vec::with_capacity(backs.len());
        for Back { id, lease, delay_ms, outcome } in backs {
            if !self.may_move(queue, (id, lease)) {
                continue;
            }
            let job = &self.jobs[&id];
            let state = if job.is_cancel_requested {
                self.end(id, now, "cancelled", Some("cancelled".into()));
                "cancelled"
            } else {
                let next_run_at = delay_ms.map_or(job.next_run_at, |ms| after(now, ms));
                self.put(id, next_run_at, false, &outcome);
                "queued"
            };
            self.events.push(Event::Moved { job: id, lease, state });
            moved.push((id, lease, state));
        }
        moved
    }

    fn may_move(&mut self, queue: &str, (id, lease): (Uuid, Uuid)) -> bool {
        let is_held = self.held(queue, id, lease).is_some();
        if !is_held {
            self.events.push(Event::NotMoved { job: id, lease });
        }
        is_held
    }

    pub(super) fn finish_outcome(&self, pairs: &[(Uuid, Uuid)]) -> Vec<Moved> {
        let mut known = Vec::with_capacity(pairs.len());
        for (id, lease) in pairs {
            let holds = |job: &super::Job| job.lease.as_ref().is_some_and(|held| held.id == *lease);
            if self.jobs.get(id).is_some_and(holds) {
                known.push((*id, *lease, "running"));
            }
            for ended in self.history.iter().filter(|ended| ended.job.id == *id && holds(&ended.job)) {
                if !matches!(ended.reason.as_deref(), Some("crash_loop" | "worker_lost")) {
                    known.push((*id, *lease, ended.state));
                }
            }
            for attempt in self.attempts.iter().filter(|attempt| attempt.job == *id && attempt.lease == *lease) {
                if matches!(attempt.outcome.as_str(), "failed" | "released" | "snoozed") {
                    known.push((*id, *lease, "queued"));
                }
            }
        }
        known
    }
}
