//! Enqueue, claim, renew, and finding a lost claim.

use super::{Job, Lease, Store, after};
use crate::log::Event;
use jiff::{SignedDuration, Timestamp};
use rand::RngExt;
use uuid::Uuid;

/// A new job as `enqueue.sql` gets it.
pub(super) struct New {
    pub(super) id: Uuid,
    pub(super) queue: String,
    pub(super) kind: String,
    pub(super) payload: String,
    pub(super) headers: Option<String>,
    pub(super) priority: i16,
    pub(super) delay_ms: i64,
    pub(super) run_at: Option<Timestamp>,
    pub(super) max_attempts: i32,
    pub(super) timeout_ms: i32,
    pub(super) backoff_base_ms: i32,
    pub(super) backoff_cap_ms: i32,
}

/// One floor: a priority and the last position claimed.
pub(super) type Floor = (i16, Timestamp, i32);

/// What a claim names besides its queue and floors.
pub(super) struct Claim {
    pub(super) lease: Uuid,
    pub(super) owner: Uuid,
    pub(super) ttl_ms: i64,
    pub(super) limit: usize,
}

impl Store {
    /// Answers the times of each job; an id that is taken refuses the whole batch.
    pub(super) fn enqueue(
        &mut self,
        new: Vec<New>,
        now: Timestamp,
    ) -> Result<Vec<(Uuid, Timestamp, Timestamp)>, String> {
        if let Some(taken) = new.iter().find(|job| self.jobs.contains_key(&job.id)) {
            return Err(format!("job {} exists", taken.id));
        }
        Ok((0..).zip(new).map(|(place, job)| self.insert(job, now + SignedDuration::from_micros(place))).collect())
    }

    fn insert(&mut self, new: New, now: Timestamp) -> (Uuid, Timestamp, Timestamp) {
        let due = after(now, new.delay_ms);
        let job = Job {
            id: new.id,
            queue: new.queue,
            kind: new.kind,
            priority: new.priority,
            created_at: now,
            next_run_at: new.run_at.map_or(due, |at| at.max(due)),
            tie: self.random.random_range(0..=i32::MAX),
            attempts: 0,
            max_attempts: new.max_attempts,
            crashes: 0,
            timeout_ms: new.timeout_ms,
            backoff_base_ms: new.backoff_base_ms,
            backoff_cap_ms: new.backoff_cap_ms,
            lease: None,
            is_cancel_requested: false,
            headers: new.headers,
            payload: new.payload,
        };
        let answer = (job.id, job.created_at, job.next_run_at);
        self.events.push(Event::Enqueued { job: job.id });
        self.jobs.insert(job.id, job);
        answer
    }

    pub(super) fn claim(&mut self, queue: &str, claim: &Claim, floors: &[Floor], now: Timestamp) -> Vec<Job> {
        let ids: Vec<Uuid> = floors
            .iter()
            .flat_map(|floor| {
                let behind = self.behind(queue, *floor, now);
                behind.into_iter().filter(|job| job.lease.is_none()).take(claim.limit).map(|job| job.id)
            })
            .take(claim.limit)
            .collect();
        let lease =
            Lease { id: claim.lease, owner: claim.owner, started_at: now, expires_at: after(now, claim.ttl_ms) };
        let mut claimed = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            job.attempts += 1;
            job.lease = Some(lease.clone());
            claimed.push(job.clone());
            self.events.push(Event::Claimed { job: id, lease: lease.id, attempt: job.attempts });
        }
        claimed
    }

    fn behind(&self, queue: &str, (priority, time, tie): Floor, now: Timestamp) -> Vec<&Job> {
        let mut due = self.due(queue, priority, now);
        due.retain(|job| (job.next_run_at, job.tie) > (time, tie));
        due
    }

    pub(super) fn recover_claim(
        &self,
        queue: &str,
        lease: Uuid,
        floors: &[Floor],
        look_at: usize,
        now: Timestamp,
    ) -> Vec<Job> {
        floors
            .iter()
            .flat_map(|floor| self.behind(queue, *floor, now).into_iter().take(look_at))
            .filter(|job| job.lease.as_ref().is_some_and(|held| held.id == lease))
            .cloned()
            .collect()
    }

    /// Answers what is still held, and whether its handler should stop.
    pub(super) fn renew(
        &mut self,
        queue: &str,
        pairs: &[(Uuid, Uuid)],
        ttl_ms: i64,
        now: Timestamp,
    ) -> Vec<(Uuid, Uuid, bool)> {
        let mut renewed = Vec::with_capacity(pairs.len());
        for (id, lease_id) in pairs {
            if self.held(queue, *id, *lease_id).is_none() {
                self.events.push(Event::NotRenewed { job: *id, lease: *lease_id });
                continue;
            }
            let Some(job) = self.jobs.get_mut(id) else { continue };
            let cancel = job.is_cancel_requested;
            let Some(lease) = &mut job.lease else { continue };
            let overdue_ms = now.duration_since(lease.expires_at).as_millis().max(0);
            lease.expires_at = lease.expires_at.max(after(now, ttl_ms));
            renewed.push((*id, *lease_id, cancel));
            self.events.push(Event::Renewed { job: *id, lease: *lease_id, overdue_ms });
        }
        renewed
    }

    /// What is held of these, and not locked by anybody here.
    pub(super) fn still_held(&self, queue: &str, pairs: &[(Uuid, Uuid)]) -> Vec<(Uuid, Uuid)> {
        pairs.iter().filter(|(id, lease)| self.held(queue, *id, *lease).is_some()).copied().collect()
    }

    /// `faultline.cancel`
    pub(super) fn cancel(&mut self, id: Uuid, now: Timestamp) -> &'static str {
        match self.jobs.get_mut(&id) {
            Some(job) if job.lease.is_some() => {
                job.is_cancel_requested = true;
                "cancelling"
            }
            Some(_) => {
                self.end(id, now, "cancelled", Some("cancelled".into()));
                "cancelled"
            }
            None if self.history.iter().any(|ended| ended.job.id == id) => "finished",
            None => "unknown",
        }
    }
}
