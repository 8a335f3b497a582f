//! Takes jobs for free slots: one loop for each queue.
//!
//! The loop claims as long as claims come back full, then waits for a hint (a notification, or the reaper's look that found
//! something due). Between claims it sweeps from the head of the queue about once a second, all workers together, and never
//! more than a twentieth of its time: a sweep finds what lies behind the floor, such as released or late-committed jobs.
//!
//! If the answer of a claim is lost, its jobs may be running under a lease that nobody renews. The loop claims nothing else
//! until it has found out; what it finds it runs. If the process dies instead, their leases run out.

use crate::link::{Link, Pause};
use crate::run::Run;
use crate::worker::attempt::{self, Verdict};
use crate::worker::deadline::{BootTime, Deadline};
use crate::worker::finish::{Ended, Finisher};
use crate::worker::rescue::Sent;
use crate::worker::{Shared, Wake};
use faultline_core::LeaseId;
use faultline_metrics::{Cause, Held, KindMetrics, MAX_KINDS, Operation, QueueMetrics, Resolution};
use faultline_store::finish::{Ending, Finish};
use faultline_store::lease::{ClaimedJob, Floors, claim, recover_claim};
use faultline_store::{Error, Plans, Result};
use rand::RngExt;
use std::collections::HashMap;
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
pub(crate) const RECOVER_BEYOND: i64 = 100_000;
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
    /// A claim whose answer was lost.
    unanswered: Option<Unanswered>,
    metrics: QueueMetrics,
    /// Looked up once for a kind.
    kinds: HashMap<String, Arc<KindMetrics>>,
}

/// A claim whose answer was lost.
#[derive(Clone)]
struct Unanswered {
    lease_id: LeaseId,
    floors: Floors,
    deadline: Deadline,
}

/// Claims for one queue until the worker drains.
pub(crate) async fn run(shared: Arc<Shared>, queue: Arc<str>, slots: usize, finisher: Finisher) {
    let claimer = Claimer {
        link: Link::new(shared.client.database().clone(), "claim", Plans::InOrder).at(shared.home.clone()),
        wake: shared.wake[&queue].clone(),
        free: Arc::new(Semaphore::new(slots)),
        floors: Floors::head(),
        next_sweep: Instant::now(),
        unanswered: None,
        metrics: shared.metrics[&queue].clone(),
        kinds: HashMap::new(),
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
        let _slots = Held::many(&self.metrics.slots, self.slots);
        let mut pause = Pause::new();
        let mut more = true;
        while !drain.is_cancelled() {
            if !more && self.unanswered.is_none() {
                tokio::select! {
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
            () = drain.cancelled() => return None,
            permit = self.free.acquire() => drop(permit),
        }
        let wanted = u32::try_from((self.slots / 4).max(1)).unwrap_or(u32::MAX);
        if gather && self.free.available_permits() < wanted as usize {
            tokio::select! {
                () = drain.cancelled() => return None,
                _ = self.free.acquire_many(wanted) => {}
                () = tokio::time::sleep(GATHER) => {}
            }
        }
        Some(self.free.available_permits().clamp(1, CLAIM_LIMIT))
    }

    /// One claim; answers whether there is likely more. `more` is the last answer.
    async fn step(&mut self, free: usize, more: bool) -> Result<bool> {
        if let Some(Unanswered { lease_id, floors, deadline }) = self.unanswered.clone() {
            let look_at = RECOVER_BEYOND.saturating_add(i64::try_from(self.slots).unwrap_or(i64::MAX));
            let queue = self.queue.clone();
            let found = self
                .link
                .call(async |session| recover_claim(session, &queue, lease_id, &floors, look_at).await)
                .await?;
            self.found_out(lease_id, &found);
            self.start(found, &deadline);
            self.shared.registry.claim_known(lease_id);
            return Ok(true);
        }
        // While claims come back full, something is always due; the sweep in its turn is enough then.
        let due = !more && self.wake.due.swap(false, Ordering::AcqRel);
        let began = Instant::now();
        let sweep = due || began >= self.next_sweep;
        let (lease_id, claimed, deadline) =
            self.claim(free, if sweep { Floors::head() } else { self.floors.clone() }).await?;
        let took = began.elapsed();
        self.metrics.claim_duration.observe(took);
        tracing::debug!(lease = %lease_id, jobs = claimed.len(), took_us = took.as_micros(), "claimed");
        if claimed.is_empty() {
            self.metrics.empty_claims.inc();
        }
        let was_full = claimed.len() >= free;
        self.floors.after(&claimed, sweep && was_full);
        if sweep {
            self.plan_sweep(began.elapsed());
        }
        self.start(claimed, &deadline);
        self.shared.registry.claim_known(lease_id);
        Ok(was_full)
    }

    async fn claim(&mut self, limit: usize, floors: Floors) -> Result<(LeaseId, Vec<ClaimedJob>, Deadline)> {
        let at = BootTime::now();
        let deadline = Deadline::new(at, self.shared.lease_ttl);
        let lease_id = LeaseId::new(&mut rand::rng());
        let registry = &self.shared.registry;
        registry.claim_sent(Sent { lease_id, queue: self.queue.clone(), floors: floors.clone(), at });
        let (queue, owner, ttl) = (self.queue.clone(), self.shared.id, self.shared.lease_ttl);
        let answer =
            self.link.call(async |session| claim(session, &queue, lease_id, owner, ttl, limit, &floors).await).await;
        match &answer {
            Ok(_) => {}
            Err(Error::Indeterminate { .. }) => {
                tracing::warn!(queue = %self.queue, lease = %lease_id, "the answer of a claim was lost");
                self.shared.client.metrics().engine().indeterminate(Operation::Claim);
                self.unanswered = Some(Unanswered { lease_id, floors, deadline: deadline.clone() });
            }
            Err(_) => self.shared.registry.claim_known(lease_id),
        }
        Ok((lease_id, answer?, deadline))
    }

    /// A claim whose answer was lost took these jobs.
    fn found_out(&mut self, lease_id: LeaseId, found: &[ClaimedJob]) {
        let jobs = found.len();
        tracing::info!(queue = %self.queue, lease = %lease_id, jobs, "found out about a claim whose answer was lost");
        self.unanswered = None;
        let resolution = if found.is_empty() { Resolution::DidNotHappen } else { Resolution::Happened };
        self.shared.client.metrics().engine().resolved(Operation::Claim, resolution);
    }

    fn kind(&mut self, kind: &str) -> Arc<KindMetrics> {
        if let Some(known) = self.kinds.get(kind) {
            return known.clone();
        }
        let found = self.shared.client.metrics().workers().kind(&self.queue, kind);
        if self.kinds.len() < MAX_KINDS {
            self.kinds.insert(kind.to_owned(), found.clone());
        }
        found
    }

    /// Counts the start of an attempt, and how long a first one had been due.
    fn count(&mut self, job: &ClaimedJob) -> Arc<KindMetrics> {
        let kind = self.kind(&job.kind);
        let is_first = job.attempt == 1 && job.crashes == 0;
        kind.claimed(is_first.then(|| job.claimed_at.duration_since(job.due_at).try_into().unwrap_or_default()));
        kind
    }

    /// The more workers and the dearer the sweep, the longer until the next one of this worker.
    fn plan_sweep(&mut self, cost: Duration) {
        let workers = u32::try_from(self.wake.workers.load(Ordering::Relaxed).max(1)).unwrap_or(u32::MAX);
        let every = SWEEP_EVERY.max(cost * SWEEP_SHARE).saturating_mul(workers);
        self.next_sweep = Instant::now() + every.mul_f64(rand::rng().random_range(0.8..1.2));
    }

    fn start(&mut self, claimed: Vec<ClaimedJob>, deadline: &Deadline) {
        self.shared.counters.claimed.fetch_add(claimed.len() as u64, Ordering::Relaxed);
        if let Some(first) = claimed.first() {
            let lease = first.lease_id;
            tracing::debug!(name: "claimed", queue = %self.queue, %lease, jobs = claimed.len(), "claimed");
        }
        for job in claimed {
            let kind = self.count(&job);
            self.start_one(job, kind, deadline.apart());
        }
    }

    fn start_one(&self, job: ClaimedJob, kind: Arc<KindMetrics>, deadline: Deadline) {
        let shared = &self.shared;
        let stop = shared.registry.insert(job.id, job.lease_id, self.queue.clone(), deadline);
        let Some(handler) = shared.handlers.get(&job.kind).cloned() else {
            let reason = format!("this worker has no handler for kind {}", job.kind);
            tracing::warn!(job = %job.id, kind = job.kind, "no handler for this kind; the job is put back");
            return self.put_back(&job, kind, UNKNOWN_KIND_DELAY, reason, Cause::UnknownKind);
        };
        let isolation = if job.crashes >= ISOLATE_AFTER_CRASHES {
            let Some(isolation) = Isolation::take(&shared.isolated) else {
                let reason = "it crashed its worker more than once and runs beside no other such job".to_owned();
                return self.put_back(&job, kind, ISOLATION_DELAY, reason, Cause::Isolated);
            };
            Some(isolation)
        } else {
            None
        };
        // A recovered claim may exceed the slots for a moment.
        let permit = self.free.clone().try_acquire_owned().ok();
        let run = Run::new(job, self.queue.clone(), shared.id, shared.registry.clone(), stop);
        let used = Held::new(&self.metrics.slots_used);
        let attempt = Attempt { shared: shared.clone(), handler, run, kind, finisher: self.finisher.clone() };
        shared.handlers_running.spawn(run_one(attempt, (permit, isolation, used)));
    }

    fn put_back(&self, job: &ClaimedJob, kind: Arc<KindMetrics>, delay: Duration, reason: String, cause: Cause) {
        let delay = Some(delay.mul_f64(rand::rng().random_range(0.5..1.5)));
        let finish = Finish { id: job.id, lease_id: job.lease_id, ending: Ending::Release { delay, reason } };
        self.shared.registry.finishing(job.id, job.lease_id);
        let ended = Ended { queue: self.queue.clone(), finish, kind, cause: Some(cause) };
        let finisher = self.finisher.clone();
        self.shared.handlers_running.spawn(async move { finisher.end(ended).await });
    }

    /// A draining worker gives back what a lost claim may hold.
    async fn recover_before_the_end(&mut self) {
        let until = Instant::now() + LAST_RECOVERY;
        let mut pause = Pause::new();
        while let Some(Unanswered { lease_id, floors, deadline }) = self.unanswered.clone() {
            let queue = self.queue.clone();
            let found = self
                .link
                .call(async |session| recover_claim(session, &queue, lease_id, &floors, RECOVER_BEYOND).await)
                .await;
            match found {
                Ok(found) => {
                    self.shared.registry.claim_known(lease_id);
                    self.found_out(lease_id, &found);
                    for job in found {
                        let kind = self.count(&job);
                        self.shared.registry.insert(job.id, job.lease_id, self.queue.clone(), deadline.apart());
                        self.put_back(&job, kind, Duration::ZERO, "the worker shut down".into(), Cause::Shutdown);
                    }
                }
                Err(error) if Instant::now() >= until => {
                    self.shared.client.metrics().engine().resolved(Operation::Claim, Resolution::Unknown);
                    tracing::warn!(%error, "a claim whose answer was lost stays unknown; its jobs will be recovered");
                    return;
                }
                Err(_) => tokio::time::sleep(pause.next()).await,
            }
        }
    }
}

/// What an attempt needs.
struct Attempt {
    shared: Arc<Shared>,
    handler: Arc<dyn attempt::Handler>,
    run: Run,
    kind: Arc<KindMetrics>,
    finisher: Finisher,
}

/// One attempt with its finish. The slot, which is `held`, is free again as soon as the handler has ended.
async fn run_one(attempt: Attempt, held: (Option<OwnedSemaphorePermit>, Option<Isolation>, Held)) {
    let Attempt { shared, handler, run, kind, finisher } = attempt;
    let (id, lease_id, queue) = (run.id(), run.lease_id(), Arc::<str>::from(run.queue()));
    let fraction = rand::rng().random_range(0.0..1.0);
    #[cfg(feature = "mutants")]
    let fraction = if faultline_store::mutants::on("no-jitter") { 1.0 } else { fraction };
    let began = Instant::now();
    let verdict = attempt::run(&handler, run.clone(), shared.strict, fraction).await;
    kind.ran(began.elapsed());
    shared.registry.finishing(id, lease_id);
    drop(held);
    match verdict {
        Verdict::End(ending, cause) => {
            finisher.end(Ended { queue, finish: Finish { id, lease_id, ending }, kind, cause }).await;
        }
        Verdict::SeeTransaction => finisher.see_transaction(&shared, queue, kind, &run, fraction).await,
        Verdict::Lost => {
            if let Some(metrics) = shared.metrics.get(&queue) {
                metrics.leases_lost.inc();
            }
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
