//! Takes jobs for free slots: one loop for each queue.
//!
//! The loop claims as long as claims come back full, then waits for a hint (a notification, or the reaper's look that found
//! something due). Between claims it sweeps from the head of the queue about once a second, all workers together, and never
//! more than a twentieth of its time: a sweep finds what lies behind the floor, such as released or late-committed jobs.
//!
//! If the answer of a claim is lost, its jobs may be running under a lease that nobody renews. The loop claims nothing else
//! until it has found out; what it finds it runs. If the process dies instead, their leases run out.

use crate::link::Link;
use crate::run::Run;
use crate::worker::attempt::{self, Verdict};
use crate::worker::finish::Finisher;
use crate::worker::{Shared, Wake};
use faultline_core::LeaseId;
use faultline_store::finish::{Ending, Finish};
use faultline_store::lease::{ClaimedJob, Floors, claim, recover_claim};
use faultline_store::{Error, Plans, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Jobs that one statement claims at most.
const CLAIM_LIMIT: usize = 1000;
/// After a full claim, how long the loop lets slots gather until a quarter of them is free.
const GATHER: Duration = Duration::from_millis(5);
/// Between two sweeps of all workers together.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// A sweep may take one part in this many of the time.
const SWEEP_SHARE: u32 = 20;
/// Visible rows of each priority that the search for a lost claim covers, beyond what it claimed at most.
const RECOVER_BEYOND: i64 = 100_000;
/// How long a job of an unknown kind waits before it is offered again; for people to deploy the handler.
const UNKNOWN_KIND_DELAY: Duration = Duration::from_secs(30);
/// Crashes after which a job runs beside no other such job of this worker.
const ISOLATE_AFTER_CRASHES: i32 = 2;
/// How long a job waits that may not run beside another one.
const ISOLATION_DELAY: Duration = Duration::from_secs(2);
/// How long a draining worker tries to find out about a lost claim.
const LAST_RECOVERY: Duration = Duration::from_secs(5);

/// The loop of one queue.
struct Claimer {
    shared: Arc<Shared>,
    queue: Arc<str>,
    slots: usize,
    free: Arc<Semaphore>,
    link: Link,
    wake: Arc<Wake>,
    finisher: Finisher,
    floors: Floors,
    next_sweep: Instant,
    /// The lease and the floors of a claim whose answer was lost.
    unanswered: Option<(LeaseId, Floors)>,
}

/// Claims for one queue until the worker drains.
pub(crate) async fn run(shared: Arc<Shared>, queue: Arc<str>, slots: usize, finisher: Finisher) {
    let claimer = Claimer {
        link: Link::new(&shared.client, "claim", Plans::InOrder),
        wake: shared.wake[&queue].clone(),
        free: Arc::new(Semaphore::new(slots)),
        floors: Floors::head(),
        next_sweep: Instant::now(),
        unanswered: None,
        shared,
        queue,
        slots,
        finisher,
    };
    claimer.run().await;
}

impl Claimer {
    async fn run(mut self) {
        let drain = self.shared.drain.clone();
        let mut pause = self.link.pause();
        let mut more = true;
        while !drain.is_cancelled() {
            if !more && self.unanswered.is_none() {
                tokio::select! {
                    biased;
                    () = drain.cancelled() => break,
                    () = self.wake.hint.notified() => {}
                }
            }
            let Some(free) = self.free_slots(more).await else { break };
            match self.step(free, more).await {
                Ok(found_all) => {
                    more = found_all;
                    pause.reset();
                }
                Err(error) => {
                    let wait = pause.next();
                    tracing::warn!(queue = %self.queue, %error, ?wait, "could not claim; trying again");
                    more = true;
                    tokio::select! {
                        biased;
                        () = drain.cancelled() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
        self.recover_before_the_end().await;
    }

    /// Waits for free slots; after a full claim until some have gathered, so that claims stay large. `None` on drain.
    async fn free_slots(&self, gather: bool) -> Option<usize> {
        let drain = &self.shared.drain;
        tokio::select! {
            biased;
            () = drain.cancelled() => return None,
            permit = self.free.acquire() => drop(permit),
        }
        let wanted = u32::try_from((self.slots / 4).max(1)).unwrap_or(u32::MAX);
        if gather && self.free.available_permits() < wanted as usize {
            tokio::select! {
                biased;
                () = drain.cancelled() => return None,
                _ = self.free.acquire_many(wanted) => {}
                () = tokio::time::sleep(GATHER) => {}
            }
        }
        Some(self.free.available_permits().clamp(1, CLAIM_LIMIT))
    }

    /// One claim; answers whether there is likely more. `more` is the last answer.
    async fn step(&mut self, free: usize, more: bool) -> Result<bool> {
        if let Some((lease_id, floors)) = self.unanswered.clone() {
            let look_at = RECOVER_BEYOND.saturating_add(i64::try_from(self.slots).unwrap_or(i64::MAX));
            let queue = self.queue.clone();
            let found = self
                .link
                .call(async |session| recover_claim(session, &queue, lease_id, &floors, look_at).await)
                .await?;
            tracing::info!(queue = %self.queue, jobs = found.len(), "found out about a claim whose answer was lost");
            self.unanswered = None;
            self.start(found);
            return Ok(true);
        }
        // While claims come back full, something is always due; the sweep in its turn is enough then.
        let due = !more && self.wake.due.swap(false, Ordering::AcqRel);
        let began = Instant::now();
        let sweep = due || began >= self.next_sweep;
        let claimed = self.claim(free, if sweep { Floors::head() } else { self.floors.clone() }).await?;
        let was_full = claimed.len() >= free;
        self.floors.after(&claimed, sweep && was_full);
        if sweep {
            self.plan_sweep(began.elapsed());
        }
        self.start(claimed);
        Ok(was_full)
    }

    async fn claim(&mut self, limit: usize, floors: Floors) -> Result<Vec<ClaimedJob>> {
        let lease_id = self.shared.client.chance().draw(|mut random| LeaseId::new(&mut random));
        let (queue, owner, ttl) = (self.queue.clone(), self.shared.id, self.shared.lease_ttl);
        let answer =
            self.link.call(async |session| claim(session, &queue, lease_id, owner, ttl, limit, &floors).await).await;
        if let Err(Error::Indeterminate { .. }) = &answer {
            self.unanswered = Some((lease_id, floors));
        }
        answer
    }

    /// The more workers and the dearer the sweep, the longer until the next one of this worker.
    fn plan_sweep(&mut self, cost: Duration) {
        let workers = u32::try_from(self.wake.workers.load(Ordering::Relaxed).max(1)).unwrap_or(u32::MAX);
        let every = SWEEP_EVERY.max(cost * SWEEP_SHARE).saturating_mul(workers);
        self.next_sweep = Instant::now() + every.mul_f64(self.shared.client.chance().within(0.8..1.2));
    }

    fn start(&self, claimed: Vec<ClaimedJob>) {
        self.shared.counters.claimed.fetch_add(claimed.len() as u64, Ordering::Relaxed);
        for job in claimed {
            if self.shared.drain.is_cancelled() { self.give_back(&job) } else { self.start_one(job) }
        }
    }

    /// A draining worker starts nothing any more, whatever a late answer brings.
    fn give_back(&self, job: &ClaimedJob) {
        self.shared.registry.insert(job.id, job.lease_id, self.queue.clone());
        self.put_back(job, None, "the worker shut down".into());
    }

    fn start_one(&self, job: ClaimedJob) {
        let shared = &self.shared;
        let stop = shared.registry.insert(job.id, job.lease_id, self.queue.clone());
        let Some(handler) = shared.handlers.get(&job.kind).cloned() else {
            let reason = format!("this worker has no handler for kind {}", job.kind);
            tracing::warn!(job = %job.id, kind = job.kind, "no handler for this kind; the job is put back");
            return self.put_back(&job, Some(UNKNOWN_KIND_DELAY), reason);
        };
        let isolation = if job.crashes >= ISOLATE_AFTER_CRASHES {
            let Some(isolation) = Isolation::take(&shared.isolated) else {
                let reason = "it crashed its worker more than once and runs beside no other such job".to_owned();
                return self.put_back(&job, Some(ISOLATION_DELAY), reason);
            };
            Some(isolation)
        } else {
            None
        };
        // A recovered claim may exceed the slots for a moment.
        let permit = self.free.clone().try_acquire_owned().ok();
        let run = Run::new(job, self.queue.clone(), shared.id, shared.registry.clone(), stop);
        shared.handlers_running.spawn(run_one(
            shared.clone(),
            handler,
            run,
            self.finisher.clone(),
            (permit, isolation),
        ));
    }

    /// Without a delay the job keeps its place in the queue.
    fn put_back(&self, job: &ClaimedJob, delay: Option<Duration>, reason: String) {
        let delay = delay.map(|delay| delay.mul_f64(self.shared.client.chance().within(0.5..1.5)));
        let finish = Finish { id: job.id, lease_id: job.lease_id, ending: Ending::Release { delay, reason } };
        self.shared.registry.finishing(job.id, job.lease_id);
        let (finisher, queue) = (self.finisher.clone(), self.queue.clone());
        self.shared.handlers_running.spawn(async move { finisher.end(queue, finish).await });
    }

    /// A draining worker gives back what a lost claim may hold.
    async fn recover_before_the_end(&mut self) {
        let until = Instant::now() + LAST_RECOVERY;
        let mut pause = self.link.pause();
        while let Some((lease_id, floors)) = self.unanswered.clone() {
            let queue = self.queue.clone();
            let found = self
                .link
                .call(async |session| recover_claim(session, &queue, lease_id, &floors, RECOVER_BEYOND).await)
                .await;
            match found {
                Ok(found) => {
                    self.unanswered = None;
                    found.iter().for_each(|job| self.give_back(job));
                }
                Err(error) if Instant::now() >= until => {
                    tracing::warn!(%error, "a claim whose answer was lost stays unknown; its jobs will be recovered");
                    return;
                }
                Err(_) => tokio::time::sleep(pause.next()).await,
            }
        }
    }
}

/// One attempt with its finish. The slot is free again as soon as the handler has ended.
async fn run_one(
    shared: Arc<Shared>,
    handler: Arc<dyn attempt::Handler>,
    run: Run,
    finisher: Finisher,
    held: (Option<OwnedSemaphorePermit>, Option<Isolation>),
) {
    let (id, lease_id, queue) = (run.id(), run.lease_id(), Arc::<str>::from(run.queue()));
    let fraction = shared.client.chance().within(0.0..1.0);
    let verdict = attempt::run(&handler, run.clone(), fraction).await;
    shared.registry.finishing(id, lease_id);
    drop(held);
    match verdict {
        Verdict::End(ending) => finisher.end(queue, Finish { id, lease_id, ending }).await,
        Verdict::SeeTransaction => finisher.see_transaction(queue, &run, fraction).await,
        Verdict::Lost => {
            shared.counters.leases_lost.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(job = %id, lease = %lease_id, "the lease was lost; the handler was stopped");
        }
    }
}

/// The right to run a job that crashed its worker more than once: one at a time.
struct Isolation(Arc<AtomicBool>);

impl Isolation {
    fn take(isolated: &Arc<AtomicBool>) -> Option<Self> {
        let was_taken = isolated.swap(true, Ordering::AcqRel);
        (!was_taken).then(|| Self(isolated.clone()))
    }
}

impl Drop for Isolation {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
