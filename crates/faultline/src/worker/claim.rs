//! Takes jobs for free slots: one loop for each queue.
//!
//! The loop claims as long as claims come back full, then waits for a hint (a notification, or the reaper's look that found
//! something due). Between claims it sweeps from the head of the queue about once a second, all workers together, and never
//! more than a fiftieth of its time: a sweep finds what lies behind the floor, such as released or late-committed jobs.
//!
//! If the answer of a claim is lost, its jobs may be running under a lease that nobody renews. The loop claims nothing else
//! until it has found out; what it finds it runs. If the process dies instead, their leases run out.

use crate::link::Link;
use crate::run::Run;
use crate::worker::attempt::{self, Verdict};
use crate::worker::deadline::{BootTime, Deadline};
use crate::worker::finish::{Ended, Finisher};
use crate::worker::isolation::{ISOLATE_AFTER_CRASHES, ISOLATION_DELAY, Isolation};
use crate::worker::rescue::Sent;
use crate::worker::{LAST_WORDS, Shared, Wake};
use faultline_core::LeaseId;
use faultline_metrics::{Cause, Held, KindMetrics, MAX_KINDS, Operation, QueueMetrics, Resolution};
use faultline_store::finish::{Ending, Finish};
use faultline_store::lease::{ClaimedJob, Floors, LATE, claim, recover_claim};
use faultline_store::{Error, Plans, Result};
use faultline_trace::{Batch, Deed, TraceContext};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::{Instrument, Span};

/// Jobs that one statement claims at most.
const CLAIM_LIMIT: usize = 1000;
/// After a full claim, how long the loop lets slots gather unless all are free sooner: a claim has a price of its own, however few jobs it
/// brings, and slots that gather stand empty.
const GATHER: Duration = Duration::from_millis(2);
/// Between two sweeps of all workers together.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// A sweep may take one part in this many of the time: under a snapshot that was forgotten open it passes the entries of every job that has
/// ended since, and nothing is claimed meanwhile.
const SWEEP_SHARE: u32 = 50;
/// Visible rows of each priority that the search for a lost claim covers, beyond what it claimed at most.
pub(crate) const RECOVER_BEYOND: i64 = 100_000;
/// How long a job of an unknown kind waits before it is offered again; for people to deploy the handler.
const UNKNOWN_KIND_DELAY: Duration = Duration::from_secs(30);

/// How a trace names the outcome of an attempt whose lease was lost.
pub(crate) const LEASE_LOST: &str = "lease_lost";

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
    deadline: Arc<Deadline>,
}

/// Claims for one queue until the worker drains.
pub(crate) async fn run(shared: Arc<Shared>, queue: Arc<str>, slots: usize, finisher: Finisher) {
    let claimer = Claimer {
        link: Link::new(&shared.client, "claim", Plans::InOrder).at(shared.home.clone()),
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
                    tracing::warn!(queue = %self.queue, worker = %self.shared.id, %error, ?wait, "could not claim; trying again");
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
        let all = self.slots.min(CLAIM_LIMIT);
        if gather && self.free.available_permits() < all {
            tokio::select! {
                biased;
                () = drain.cancelled() => return None,
                _ = self.free.acquire_many(u32::try_from(all).unwrap_or(u32::MAX)) => {}
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
            self.start(found, &deadline).await;
            self.shared.registry.claim_known(lease_id);
            return Ok(true);
        }
        // While claims come back full, something is always due; the sweep in its turn is enough then.
        let due = !more && self.wake.due.swap(false, Ordering::AcqRel);
        let (began, batch) = (Instant::now(), Batch::begin());
        let sweep = due || began >= self.next_sweep;
        let (lease_id, claimed, deadline) =
            self.claim(free, if sweep { Floors::head() } else { self.floors.clone() }).await?;
        let took = began.elapsed();
        self.metrics.claim_duration.observe(took);
        let (jobs, took_us, worker) = (claimed.len(), took.as_micros(), self.shared.id);
        tracing::debug!(name: "claimed", queue = %self.queue, lease = %lease_id, %worker, jobs, took_us, "claimed");
        if claimed.is_empty() {
            self.metrics.empty_claims.inc();
        } else {
            let contexts = claimed.iter().map(|job| TraceContext::of_headers(job.headers.as_deref()));
            batch.done(Deed::Claim, &self.queue, worker, jobs, contexts);
        }
        let was_full = claimed.len() >= free;
        self.floors.after(&claimed, sweep && was_full, LATE);
        if sweep {
            self.plan_sweep(began.elapsed());
        }
        self.start(claimed, &deadline).await;
        self.shared.registry.claim_known(lease_id);
        Ok(was_full)
    }

    async fn claim(&mut self, limit: usize, floors: Floors) -> Result<(LeaseId, Vec<ClaimedJob>, Arc<Deadline>)> {
        let at = BootTime::now();
        let deadline = Arc::new(Deadline::new(at, self.shared.lease_ttl));
        let lease_id = self.shared.client.chance().draw(|mut random| LeaseId::new(&mut random));
        let registry = &self.shared.registry;
        registry.claim_sent(Sent { lease_id, queue: self.queue.clone(), floors: floors.clone(), at });
        let (queue, owner, ttl) = (self.queue.clone(), self.shared.id, self.shared.lease_ttl);
        let answer =
            self.link.call(async |session| claim(session, &queue, lease_id, owner, ttl, limit, &floors).await).await;
        match &answer {
            Ok(_) => {}
            Err(Error::Indeterminate { .. }) => {
                tracing::warn!(queue = %self.queue, lease = %lease_id, worker = %self.shared.id, "the answer of a claim was lost");
                self.shared.client.metrics().engine().indeterminate(Operation::Claim);
                self.unanswered = Some(Unanswered { lease_id, floors, deadline: deadline.clone() });
            }
            Err(_) => self.shared.registry.claim_known(lease_id),
        }
        Ok((lease_id, answer?, deadline))
    }

    /// A claim whose answer was lost took these jobs.
    fn found_out(&mut self, lease_id: LeaseId, found: &[ClaimedJob]) {
        let (jobs, worker) = (found.len(), self.shared.id);
        tracing::info!(queue = %self.queue, lease = %lease_id, %worker, jobs, "found out about a claim whose answer was lost");
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
        self.next_sweep = Instant::now() + every.mul_f64(self.shared.client.chance().within(0.8..1.2));
    }

    async fn start(&mut self, claimed: Vec<ClaimedJob>, deadline: &Deadline) {
        self.shared.counters.claimed.fetch_add(claimed.len() as u64, Ordering::Relaxed);
        if self.shared.drain.is_cancelled() {
            return self.give_back_unstarted(claimed, deadline);
        }
        let (suspects, others): (Vec<_>, Vec<_>) =
            claimed.into_iter().partition(|job| job.crashes >= ISOLATE_AFTER_CRASHES);
        for job in others {
            let kind = self.count(&job);
            self.start_one(job, kind, deadline.apart(), None);
        }
        if !suspects.is_empty() {
            self.start_suspect(suspects, deadline).await;
        }
    }

    /// A draining worker starts nothing any more, whatever a late answer brings. The jobs keep their places in the queue.
    fn give_back_unstarted(&mut self, claimed: Vec<ClaimedJob>, deadline: &Deadline) {
        for job in claimed {
            let kind = self.count(&job);
            self.shared.registry.insert(job.id, job.lease_id, self.queue.clone(), deadline.apart());
            self.put_back(&job, kind, None, "the worker shut down".into(), Cause::Shutdown);
        }
    }

    /// Of jobs that crashed their workers more than once, one may run. The others are given back before it starts: it may take
    /// with it whatever this worker holds by then.
    async fn start_suspect(&mut self, mut suspects: Vec<ClaimedJob>, deadline: &Deadline) {
        let mut chosen =
            Isolation::take(&self.shared.isolated).and_then(|isolation| Some((suspects.pop()?, isolation)));
        if !self.give_back(suspects, deadline).await
            && let Some((job, isolation)) = chosen.take()
        {
            // Nobody has heard of it. All wait.
            drop(isolation);
            self.give_back(vec![job], deadline).await;
        }
        if let Some((job, isolation)) = chosen {
            let kind = self.count(&job);
            self.start_one(job, kind, deadline.apart(), Some(isolation));
        }
    }

    /// Whether the database knows of it; otherwise it is told later.
    async fn give_back(&mut self, jobs: Vec<ClaimedJob>, deadline: &Deadline) -> bool {
        let mut ended = Vec::with_capacity(jobs.len());
        for job in jobs {
            let kind = self.count(&job);
            self.shared.registry.insert(job.id, job.lease_id, self.queue.clone(), deadline.apart());
            let reason = "it crashed its worker more than once and runs beside no other such job".to_owned();
            ended.push(self.release(&job, kind, Some(ISOLATION_DELAY), reason, Cause::Isolated));
        }
        ended.is_empty() || self.finisher.end_now(&self.shared, &self.queue, ended).await
    }

    fn start_one(&self, job: ClaimedJob, kind: Arc<KindMetrics>, deadline: Deadline, isolation: Option<Isolation>) {
        let shared = &self.shared;
        let stop = shared.registry.insert(job.id, job.lease_id, self.queue.clone(), deadline);
        let Some(handler) = shared.handlers.get(&job.kind).cloned() else {
            let reason = format!("this worker has no handler for kind {}", job.kind);
            let (queue, worker) = (&self.queue, shared.id);
            tracing::warn!(job = %job.id, kind = job.kind, %queue, %worker, "no handler for this kind; the job is put back");
            return self.put_back(&job, kind, Some(UNKNOWN_KIND_DELAY), reason, Cause::UnknownKind);
        };
        // A recovered claim may exceed the slots for a moment.
        let permit = self.free.clone().try_acquire_owned().ok();
        let run = Run::new(job, self.queue.clone(), shared.id, shared.registry.clone(), stop);
        let used = Held::new(&self.metrics.slots_used);
        let attempt = Attempt { shared: shared.clone(), handler, run, kind, finisher: self.finisher.clone() };
        shared.handlers_running.spawn(run_one(attempt, (permit, isolation, used)));
    }

    fn put_back(
        &self,
        job: &ClaimedJob,
        kind: Arc<KindMetrics>,
        delay: Option<Duration>,
        reason: String,
        cause: Cause,
    ) {
        let (ended, finisher) = (self.release(job, kind, delay, reason, cause), self.finisher.clone());
        self.shared.handlers_running.spawn(async move { finisher.end(ended).await });
    }

    /// What is to be told of a job that does not run here. Without a delay it keeps its place in the queue.
    fn release(
        &self,
        job: &ClaimedJob,
        kind: Arc<KindMetrics>,
        delay: Option<Duration>,
        reason: String,
        cause: Cause,
    ) -> Ended {
        let delay = delay.map(|delay| delay.mul_f64(self.shared.client.chance().within(0.5..1.5)));
        let finish = Finish { id: job.id, lease_id: job.lease_id, ending: Ending::Release { delay, reason } };
        self.shared.registry.finishing(job.id, job.lease_id);
        Ended { queue: self.queue.clone(), finish, kind, cause: Some(cause), span: Span::none() }
    }

    /// A draining worker gives back what a lost claim may hold.
    async fn recover_before_the_end(&mut self) {
        let until = Instant::now() + LAST_WORDS;
        let mut pause = self.link.pause();
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
                    self.give_back_unstarted(found, &deadline);
                }
                Err(error) if Instant::now() >= until => {
                    self.shared.client.metrics().engine().resolved(Operation::Claim, Resolution::Unknown);
                    let (queue, worker) = (&self.queue, self.shared.id);
                    tracing::warn!(%queue, lease = %lease_id, %worker, %error, "a claim whose answer was lost stays unknown; its jobs will be recovered");
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

/// One attempt with its finish. The slot, which is `held`, is free again as soon as the finish is in line, which it is at once unless
/// the line is full: where finishes are slower than claims, that is what keeps the loop from claiming without bound.
async fn run_one(attempt: Attempt, held: (Option<OwnedSemaphorePermit>, Option<Isolation>, Held)) {
    let Attempt { shared, handler, run, kind, finisher } = attempt;
    let (id, lease_id, queue) = (run.id(), run.lease_id(), run.queue_name().clone());
    let fraction = shared.client.chance().within(0.0..1.0);
    #[cfg(feature = "mutants")]
    let fraction = if faultline_store::mutants::on("no-jitter") { 1.0 } else { fraction };
    let span = attempt::span(&run);
    let began = Instant::now();
    let verdict = attempt::run(&handler, run.clone(), shared.strict, fraction).instrument(span.clone()).await;
    kind.ran(began.elapsed());
    shared.registry.finishing(id, lease_id);
    match verdict {
        Verdict::End(ending, cause) => {
            finisher.end(Ended { queue, finish: Finish { id, lease_id, ending }, kind, cause, span }).await;
            drop(held);
        }
        Verdict::SeeTransaction => {
            drop(held);
            // Rare, and larger than all the rest of the task.
            Box::pin(finisher.see_transaction(&shared, queue, kind, &run, fraction, span)).await;
        }
        Verdict::Lost => {
            if let Some(metrics) = shared.metrics.get(&queue) {
                metrics.leases_lost.inc();
            }
            shared.counters.leases_lost.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(parent: &span, job = %id, lease = %lease_id, "the lease was lost; the handler was stopped");
            faultline_trace::ended(
                &span,
                &faultline_trace::Ended { outcome: LEASE_LOST, error: Some((LEASE_LOST, "the lease was lost")) },
            );
        }
    }
}
