//! The jobs that this process holds, shared between the loops and the renewal thread.

use faultline_core::{JobId, LeaseId};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// Why a running handler has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Why {
    /// The lease is no longer held.
    LeaseLost = 1,
    /// Somebody cancelled the job.
    Cancelled = 2,
    /// The worker shuts down.
    Drain = 3,
}

/// The way to stop one handler; the first reason stays.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    token: CancellationToken,
    why: Arc<AtomicU8>,
}

impl Stop {
    pub(crate) fn new() -> Self {
        Self { token: CancellationToken::new(), why: Arc::new(AtomicU8::new(0)) }
    }

    fn stop(&self, why: Why) {
        // A later reason changes nothing.
        let _ = self.why.compare_exchange(0, why as u8, Ordering::AcqRel, Ordering::Acquire);
        self.token.cancel();
    }

    pub(crate) async fn stopped(&self) {
        self.token.cancelled().await;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.token.is_cancelled()
    }

    /// The reason, once [`Stop::stopped`] has resolved.
    pub(crate) fn why(&self) -> Why {
        match self.why.load(Ordering::Acquire) {
            2 => Why::Cancelled,
            3 => Why::Drain,
            _ => Why::LeaseLost,
        }
    }
}

struct Held {
    lease_id: LeaseId,
    queue: Arc<str>,
    stop: Stop,
    /// Set when the finish is on its way: a renewal that misses the row then says nothing.
    finishing: bool,
}

/// The jobs that this process holds. A job stays in here until its finish is answered, so that its lease is renewed as long.
#[derive(Default)]
pub(crate) struct Registry {
    held: Mutex<BTreeMap<JobId, Held>>,
}

impl Registry {
    fn held(&self) -> MutexGuard<'_, BTreeMap<JobId, Held>> {
        // No code that holds the lock can panic half-way through a change.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, id: JobId, lease_id: LeaseId, queue: Arc<str>) -> Stop {
        let stop = Stop::new();
        self.held().insert(id, Held { lease_id, queue, stop: stop.clone(), finishing: false });
        stop
    }

    /// The attempt is over for this process. Another lease of the same job stays.
    pub(crate) fn remove(&self, id: JobId, lease_id: LeaseId) {
        let mut held = self.held();
        if held.get(&id).is_some_and(|job| job.lease_id == lease_id) {
            held.remove(&id);
        }
    }

    /// The finish of the attempt is on its way.
    pub(crate) fn finishing(&self, id: JobId, lease_id: LeaseId) {
        if let Some(job) = self.held().get_mut(&id).filter(|job| job.lease_id == lease_id) {
            job.finishing = true;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.held().len()
    }

    /// Everything held, by queue.
    pub(crate) fn by_queue(&self) -> BTreeMap<Arc<str>, Vec<(JobId, LeaseId)>> {
        let mut queues: BTreeMap<Arc<str>, Vec<(JobId, LeaseId)>> = BTreeMap::new();
        for (id, job) in self.held().iter() {
            queues.entry(job.queue.clone()).or_default().push((*id, job.lease_id));
        }
        queues
    }

    /// The renewal did not find this lease. Answers whether a handler was stopped.
    pub(crate) fn lost(&self, id: JobId, lease_id: LeaseId) -> bool {
        let mut held = self.held();
        if held.get(&id).is_none_or(|job| job.lease_id != lease_id || job.finishing) {
            return false;
        }
        held.remove(&id).is_some_and(|job| {
            job.stop.stop(Why::LeaseLost);
            true
        })
    }

    /// Somebody cancelled the job.
    pub(crate) fn cancel(&self, id: JobId, lease_id: LeaseId) {
        if let Some(job) = self.held().get(&id).filter(|job| job.lease_id == lease_id && !job.finishing) {
            job.stop.stop(Why::Cancelled);
        }
    }

    /// The worker shuts down: stops what still runs.
    pub(crate) fn drain(&self) {
        for job in self.held().values().filter(|job| !job.finishing) {
            job.stop.stop(Why::Drain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faultline_core::JobId;

    fn ids() -> (JobId, LeaseId, LeaseId) {
        let mut rng = rand::rng();
        (JobId::new(0, &mut rng), LeaseId::new(&mut rng), LeaseId::new(&mut rng))
    }

    #[test]
    fn losing_an_old_lease_leaves_the_new_one_alone() {
        let (id, old, new) = ids();
        let registry = Registry::default();
        let stop = registry.insert(id, new, "q".into());
        assert!(!registry.lost(id, old));
        registry.remove(id, old);
        assert!(!stop.is_stopped() && registry.len() == 1);
    }

    #[test]
    fn a_finish_on_its_way_is_not_taken_for_a_lost_lease() {
        let (id, lease, _) = ids();
        let registry = Registry::default();
        let stop = registry.insert(id, lease, "q".into());
        registry.finishing(id, lease);
        assert!(!registry.lost(id, lease) && !stop.is_stopped());
    }

    #[test]
    fn the_first_reason_to_stop_stays() {
        let (id, lease, _) = ids();
        let registry = Registry::default();
        let stop = registry.insert(id, lease, "q".into());
        registry.cancel(id, lease);
        registry.drain();
        assert_eq!(stop.why(), Why::Cancelled);
    }
}
