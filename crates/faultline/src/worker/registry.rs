//! The jobs that this process holds, shared between the loops and the renewal thread.

use crate::worker::deadline::{BootTime, Deadline};
use crate::worker::rescue::Sent;
use faultline_core::{JobId, LeaseId};
use futures_util::task::AtomicWaker;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Notify;

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
    /// Strict mode: the lease may have ended, for all that this process knows.
    Overdue = 4,
}

/// The way to stop one handler; the first reason stays. Every attempt has one: it is a single allocation, and whoever waits costs
/// the others nothing.
#[derive(Clone, Debug)]
pub(crate) struct Stop(Arc<Signal>);

#[derive(Debug)]
struct Signal {
    /// 0 while it may go on.
    why: AtomicU8,
    deadline: Deadline,
    /// The task of the attempt.
    attempt: AtomicWaker,
    /// Who else waits: handlers that want to hear of it.
    others: Notify,
}

impl Stop {
    fn new(deadline: Deadline) -> Self {
        Self(Arc::new(Signal { why: AtomicU8::new(0), deadline, attempt: AtomicWaker::new(), others: Notify::new() }))
    }

    pub(crate) fn deadline(&self) -> &Deadline {
        &self.0.deadline
    }

    /// Resolves, and stops the handler, when it is polled after the lease's local deadline. Nothing wakes it: polled before the handler
    /// in the same task, it keeps a handler that is woken by something else from going on.
    pub(crate) async fn overdue(&self) {
        std::future::poll_fn(|_| if self.deadline().is_over() { Poll::Ready(()) } else { Poll::Pending }).await;
        self.stop(Why::Overdue);
    }

    fn stop(&self, why: Why) {
        // A later reason changes nothing.
        let _ = self.0.why.compare_exchange(0, why as u8, Ordering::AcqRel, Ordering::Acquire);
        self.0.attempt.wake();
        self.0.others.notify_waiters();
    }

    /// Resolves when the handler is stopped, for the task of the attempt alone: there is room for one waker.
    pub(crate) async fn stops_attempt(&self) {
        std::future::poll_fn(|context| {
            if self.is_stopped() {
                return Poll::Ready(());
            }
            self.0.attempt.register(context.waker());
            // It may have been stopped before there was somebody to wake.
            if self.is_stopped() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The same for anybody else.
    pub(crate) async fn stopped(&self) {
        // Hears of what happens from here on.
        let notified = self.0.others.notified();
        if !self.is_stopped() {
            notified.await;
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.0.why.load(Ordering::Acquire) != 0
    }

    /// The reason, once [`Stop::stopped`] has resolved.
    pub(crate) fn why(&self) -> Why {
        match self.0.why.load(Ordering::Acquire) {
            2 => Why::Cancelled,
            3 => Why::Drain,
            4 => Why::Overdue,
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
    /// Claims whose jobs are not in `held` yet; one a queue at most.
    sent: Mutex<BTreeMap<LeaseId, Sent>>,
}

impl Registry {
    fn held(&self) -> MutexGuard<'_, BTreeMap<JobId, Held>> {
        // No code that holds the lock can panic half-way through a change.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A claim was answered. If an earlier lease of the same job is still in here, this one shows that it was lost, and no renewal
    /// asks for it any more: its handler is stopped.
    pub(crate) fn insert(&self, id: JobId, lease_id: LeaseId, queue: Arc<str>, deadline: Deadline) -> Stop {
        let stop = Stop::new(deadline);
        let earlier = self.held().insert(id, Held { lease_id, queue, stop: stop.clone(), finishing: false });
        if let Some(earlier) = earlier.filter(|job| job.lease_id != lease_id && !job.finishing) {
            earlier.stop.stop(Why::LeaseLost);
        }
        stop
    }

    /// A claim is sent. Its jobs may be held from here on.
    pub(crate) fn claim_sent(&self, sent: Sent) {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(sent.lease_id, sent);
    }

    /// What that claim held is known and inserted, or it held nothing.
    pub(crate) fn claim_known(&self, lease_id: LeaseId) {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).remove(&lease_id);
    }

    pub(crate) fn claims_sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Renews a job of a claim that the claim loop does not know of yet; when it does, it inserts the job itself.
    pub(crate) fn hold(&self, id: JobId, sent: &Sent, ttl: Duration) {
        let known = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains_key(&sent.lease_id) {
            let stop = Stop::new(Deadline::new(sent.at, ttl));
            let (lease_id, queue) = (sent.lease_id, sent.queue.clone());
            let held = Held { lease_id, queue, stop, finishing: false };
            // One of an earlier claim of ours is still to be told of its end.
            self.held().entry(id).or_insert(held);
        }
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

    /// A lease was renewed for `ttl`, as it was asked for then.
    pub(crate) fn renewed(&self, id: JobId, lease_id: LeaseId, asked: BootTime, ttl: Duration) {
        if let Some(job) = self.held().get(&id).filter(|job| job.lease_id == lease_id) {
            job.stop.deadline().renewed(asked, ttl);
        }
    }

    /// Strict mode: stops the handlers whose leases may have ended. What is finishing is left alone: its transaction may have been
    /// committed, and if not the fence decides.
    pub(crate) fn stop_overdue(&self) {
        for job in self.held().values().filter(|job| !job.finishing && job.stop.deadline().is_over()) {
            job.stop.stop(Why::Overdue);
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

    /// Those whose handlers run: no finish of theirs is on its way.
    pub(crate) fn running(&self, mut pairs: Vec<(JobId, LeaseId)>) -> Vec<(JobId, LeaseId)> {
        let held = self.held();
        pairs.retain(|(id, lease_id)| held.get(id).is_some_and(|job| job.lease_id == *lease_id && !job.finishing));
        pairs
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
    use futures_util::FutureExt;

    fn ids() -> (JobId, LeaseId, LeaseId) {
        let mut rng = rand::rng();
        (JobId::new(0, &mut rng), LeaseId::new(&mut rng), LeaseId::new(&mut rng))
    }

    fn later() -> Deadline {
        Deadline::new(BootTime::now(), Duration::from_secs(3600))
    }

    #[test]
    fn losing_an_old_lease_leaves_the_new_one_alone() {
        let (id, old, new) = ids();
        let registry = Registry::default();
        let stop = registry.insert(id, new, "q".into(), later());
        assert!(!registry.lost(id, old));
        registry.remove(id, old);
        assert!(!stop.is_stopped() && registry.len() == 1);
    }

    #[test]
    fn a_job_that_comes_back_under_another_lease_stops_its_earlier_handler() {
        let (id, old, new) = ids();
        let registry = Registry::default();
        let earlier = registry.insert(id, old, "q".into(), later());
        let current = registry.insert(id, new, "q".into(), later());
        assert!(earlier.is_stopped() && earlier.why() == Why::LeaseLost);
        assert!(!current.is_stopped() && registry.len() == 1);
    }

    #[test]
    fn a_finish_on_its_way_is_not_taken_for_a_lost_lease() {
        let (id, lease, _) = ids();
        let registry = Registry::default();
        let stop = registry.insert(id, lease, "q".into(), later());
        registry.finishing(id, lease);
        assert!(!registry.lost(id, lease) && !stop.is_stopped());
    }

    #[test]
    fn the_first_reason_to_stop_stays() {
        let (id, lease, _) = ids();
        let registry = Registry::default();
        let stop = registry.insert(id, lease, "q".into(), later());
        registry.cancel(id, lease);
        registry.drain();
        assert_eq!(stop.why(), Why::Cancelled);
    }

    #[tokio::test]
    async fn whoever_waits_for_a_stop_hears_of_it_before_and_after() {
        let (id, lease, _) = ids();
        let registry = Registry::default();
        let stop = registry.insert(id, lease, "q".into(), later());
        let mut attempt = std::pin::pin!(stop.stops_attempt());
        let mut others = [(); 2].map(|()| Box::pin(stop.stopped()));
        assert!(futures_util::poll!(attempt.as_mut()).is_pending());
        for other in &mut others {
            assert!(futures_util::poll!(other.as_mut()).is_pending());
        }
        let waiting = futures_util::future::join(attempt, futures_util::future::join_all(others));
        let ((), _) = tokio::join!(
            async { registry.drain() },
            tokio::time::timeout(Duration::from_secs(10), waiting).map(Result::unwrap)
        );
        stop.stops_attempt().await;
        stop.stopped().await;
    }

    #[test]
    fn only_handlers_whose_leases_may_have_ended_are_stopped_as_overdue() {
        let registry = Registry::default();
        let stop_of = |ttl| {
            let (id, lease, _) = ids();
            (id, lease, registry.insert(id, lease, "q".into(), Deadline::new(BootTime::now(), ttl)))
        };
        let ((.., over), (.., held)) = (stop_of(Duration::ZERO), stop_of(Duration::from_secs(3600)));
        let (id, lease, finishing) = stop_of(Duration::ZERO);
        registry.finishing(id, lease);
        let (id, lease, renewed) = stop_of(Duration::ZERO);
        registry.renewed(id, lease, BootTime::now(), Duration::from_secs(3600));
        registry.stop_overdue();
        assert!(over.is_stopped() && over.why() == Why::Overdue);
        assert!([held, finishing, renewed].iter().all(|stop| !stop.is_stopped()));
    }
}
