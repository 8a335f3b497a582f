//! The worker: claims jobs, runs their handlers, keeps their leases, ends them, and stops in order.
//!
//! One loop a file, each with a session of its own:
//! - [`claim`] takes jobs for free slots, one loop for each queue
//! - [`attempt`] runs one handler
//! - [`finish`] tells the database how attempts ended, in batches
//! - [`renew`] keeps leases on a thread of its own, listens for hints, and is the worker's presence
//! - [`crate::reaper`] looks after the queues
//!
//! A claimed job is in the [`registry`] from the claim's answer to its finish's answer, and renewed for as long.
//!
//! Every `select!` is biased, with what ends the loop first: nothing is claimed after the word to stop, and the same seed leads
//! to the same run (crates/faultline-sim).

mod attempt;
mod claim;
mod deadline;
mod finish;
mod isolation;
pub(crate) mod registry;
mod renew;
mod report;
mod rescue;

use crate::client::Client;
use crate::enqueue::{Job, Payload};
use crate::error::Error;
use crate::failure::Failure;
use crate::home::Home;
use crate::link::Pause;
use crate::reaper::{Reaper, TICK};
use crate::run::Run;
use attempt::{Handler, Handlers};
use faultline_core::{Invalid, WorkerId, job::check_name, limits};
use faultline_metrics::{Leases, QueueMetrics};
use faultline_store::presence::WorkerFacts;
use registry::Registry;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a lease lasts unless it is renewed. A crash is seen much earlier by the end of the worker's session; the lease
/// is what remains when the host or the network dies.
pub const DEFAULT_LEASE_TTL: Duration = Duration::from_secs(15);
/// Jobs of one queue that run at once.
pub const DEFAULT_SLOTS: usize = 100;
/// How long handlers may go on after the signal to stop.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(25);
/// The shortest lease: three renewals and a round trip must fit.
const MIN_LEASE_TTL: Duration = Duration::from_millis(300);
/// The longest lease.
const MAX_LEASE_TTL: Duration = Duration::from_secs(3600);
/// Jobs of one worker that run at once, at most: each is held in memory with its payload.
const MAX_SLOTS: usize = 100_000;
/// After the word to stop, how long a worker tries to find out about a lost claim. After the grace, how long stopped handlers may
/// take to reach their next await; then the last finishes to be told; then the loops to say goodbye.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Runs handlers for the jobs of some queues.
///
/// ```no_run
/// # use faultline::{Client, Failure, Job, Run, Worker};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Resize { image: String }
/// # impl Job for Resize { const KIND: &'static str = "resize"; }
/// # async fn example(faultline: Client) -> Result<(), faultline::Error> {
/// Worker::new(&faultline)
///     .queue("images", 8)
///     .on(|job: Resize, run: Run| async move {
///         if job.image.is_empty() {
///             return Err(Failure::fatal("there is no image"));
///         }
///         println!("attempt {} of {}", run.attempt(), run.id());
///         Ok(job.image.len()) // stored with the job as its result
///     })
///     .run_until(faultline::shutdown_signal())
///     .await?;
/// # Ok(())
/// # }
/// ```
pub struct Worker {
    client: Client,
    queues: Vec<(String, usize)>,
    handlers: Handlers,
    lease_ttl: Duration,
    grace: Duration,
    strict: bool,
}

/// What a worker did, from its start to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Jobs claimed.
    pub claimed: u64,
    /// Jobs that succeeded.
    pub succeeded: u64,
    /// Attempts that failed and are tried again.
    pub retried: u64,
    /// Jobs that failed for good.
    pub failed: u64,
    /// Jobs that were cancelled.
    pub cancelled: u64,
    /// Attempts given back or snoozed.
    pub put_back: u64,
    /// Leases lost: finishes that were refused and handlers that were stopped for it.
    pub leases_lost: u64,
}

/// The counters behind [`Summary`].
#[derive(Default)]
pub(crate) struct Counters {
    claimed: AtomicU64,
    succeeded: AtomicU64,
    retried: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    put_back: AtomicU64,
    leases_lost: AtomicU64,
}

impl Counters {
    fn summary(&self) -> Summary {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Summary {
            claimed: read(&self.claimed),
            succeeded: read(&self.succeeded),
            retried: read(&self.retried),
            failed: read(&self.failed),
            cancelled: read(&self.cancelled),
            put_back: read(&self.put_back),
            leases_lost: read(&self.leases_lost),
        }
    }
}

/// What all loops of one worker share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) id: WorkerId,
    pub(crate) lease_ttl: Duration,
    pub(crate) strict: bool,
    pub(crate) registry: Arc<Registry>,
    pub(crate) handlers: Handlers,
    pub(crate) counters: Counters,
    /// One for each queue.
    pub(crate) metrics: BTreeMap<Arc<str>, QueueMetrics>,
    pub(crate) leases: Arc<Leases>,
    /// Wakes the claim loop of a queue.
    pub(crate) wake: BTreeMap<Arc<str>, Arc<Wake>>,
    /// Cancelled when the worker must stop claiming: a signal, or an operator's word.
    pub(crate) drain: CancellationToken,
    pub(crate) handlers_running: TaskTracker,
    /// Whether a job that crashed its worker more than once runs here, in any queue.
    pub(crate) isolated: Arc<std::sync::atomic::AtomicBool>,
    /// The server that all loops keep to; set by the loop of the presence.
    pub(crate) home: Arc<Home>,
}

/// What the claim loop of one queue is told from outside.
#[derive(Default)]
pub(crate) struct Wake {
    /// There may be work right behind the floor.
    pub(crate) hint: Notify,
    /// There is work that a claim from the head finds.
    pub(crate) due: std::sync::atomic::AtomicBool,
    /// How many workers share the sweeps.
    pub(crate) workers: AtomicU64,
}

impl Wake {
    /// Wakes the claim loop for a claim from the head.
    pub(crate) fn sweep(&self) {
        self.due.store(true, Ordering::Release);
        self.hint.notify_one();
    }

    /// The same after a while, if that is before the next look, which sees it otherwise.
    pub(crate) fn sweep_in(self: &Arc<Self>, wait: Duration) {
        if wait < TICK {
            let wake = self.clone();
            tokio::spawn(async move {
                // A job due at a fraction of a millisecond is due with the next one.
                tokio::time::sleep(wait + Duration::from_millis(1)).await;
                wake.sweep();
            });
        }
    }
}

impl Worker {
    /// A worker without queues or handlers; without a [`Worker::queue`] it polls the queue `default`.
    pub fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            queues: Vec::new(),
            handlers: Handlers::default(),
            lease_ttl: DEFAULT_LEASE_TTL,
            grace: DEFAULT_GRACE,
            strict: false,
        }
    }

    /// Polls a queue, running up to `slots` of its jobs at once.
    #[must_use]
    pub fn queue(mut self, name: impl Into<String>, slots: usize) -> Self {
        self.queues.push((name.into(), slots));
        self
    }

    /// Handles one kind of job, decoded. A payload that doesn't fit the type fails the attempt.
    ///
    /// The handler's future is dropped at its next `.await` when the attempt takes longer than the job's time-out, the lease is
    /// lost (see also [`Worker::strict`]), the job is cancelled or the worker's grace ends. A panic fails the attempt. The value is stored as the job's result.
    #[must_use]
    pub fn on<J, T, F, Fut>(self, handler: F) -> Self
    where
        J: Job,
        T: Serialize + 'static,
        F: Fn(J, Run) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.handle(J::KIND, attempt::typed(handler))
    }

    /// Handles a kind that is only known at run time; the payload comes as JSON.
    #[must_use]
    pub fn on_kind<T, F, Fut>(self, kind: impl Into<String>, handler: F) -> Self
    where
        T: Serialize + 'static,
        F: Fn(Payload, Run) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.handle(kind, attempt::raw(handler))
    }

    /// Handles every kind that no other handler is for.
    #[must_use]
    pub fn on_any<T, F, Fut>(mut self, handler: F) -> Self
    where
        T: Serialize + 'static,
        F: Fn(Payload, Run) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.handlers.any = Some(attempt::raw(handler));
        self
    }

    fn handle(mut self, kind: impl Into<String>, handler: Arc<dyn Handler>) -> Self {
        self.handlers.by_kind.insert(kind.into(), handler);
        self
    }

    /// How long a lease lasts, 300 ms to one hour; renewed at a third of it. Give all workers of a database the same.
    #[must_use]
    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.lease_ttl = ttl;
        self
    }

    /// How long handlers may go on after the signal to stop; what is left then is given back, uncharged.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Whether a handler is stopped as soon as its lease may have ended for all that this worker knows: at its next `.await` after a
    /// whole lease time without an answered renewal, counted from before that renewal was sent, pauses of process and machine included.
    ///
    /// Without it, a handler goes on until the database says that the lease is lost: while nobody can be asked, two workers may so run one
    /// job. The fence keeps the second finish out either way. With it, they don't overlap beyond one step between two awaits,
    /// which is for effects elsewhere that can't be deduplicated. The price, and why it is off unless asked for: an outage that lasts
    /// longer than a lease stops every handler, though none would have lost its job; they are given back, uncharged, and run again.
    /// What a handler spawned, or a thread of its own, goes on: let that look at [`Run::is_lost`] or [`Run::lease_left`].
    /// A transaction that [`Run::complete_in`] was called on is left alone, since the fence decides about it.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Works until `shutdown` resolves or an operator asks this worker to drain; then claims nothing more, lets handlers end
    /// within the grace, gives the rest back uncharged, and says goodbye. Goes on through any outage of the database, and waits for
    /// the end of one that it is started in.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an ill-formed queue or kind, a number of slots or a lease time out of bounds; that of
    /// [`Client::check_schema`] when the database answers, but can't be used: its schema is missing or too old, say.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<Summary, Error> {
        let queues = self.checked_queues()?;
        tokio::pin!(shutdown);
        tokio::select! {
            biased;
            () = &mut shutdown => return Ok(Summary::default()),
            usable = self.until_usable() => usable?,
        }
        let grace = self.grace;
        let (facts, shared) = self.prepare(&queues);
        let stop_services = CancellationToken::new();
        let renewal = renew::start(shared.clone(), facts.clone(), stop_services.clone());
        let reaper = tokio::spawn(reap(shared.clone(), facts.queues.clone(), stop_services.clone()));
        let reports = tokio::spawn(report::run(shared.clone(), stop_services.clone()));
        let slots = queues.iter().map(|(_, slots)| slots).sum();
        let (finisher, finishing) = finish::start(shared.clone(), slots);
        let claims = TaskTracker::new();
        for (queue, slots) in &queues {
            claims.spawn(claim::run(shared.clone(), queue.clone(), *slots, finisher.clone()));
        }
        claims.close();
        tracing::info!(worker = %shared.id, queues = ?facts.queues, "the worker has started");

        tokio::select! {
            biased;
            () = &mut shutdown => {}
            () = shared.drain.cancelled() => {}
        }
        tracing::info!(worker = %shared.id, running = shared.registry.len(), "the worker drains");
        shared.drain.cancel();
        // A claim on its way is waited for beside the handlers, since its answer may be long in coming: the grace counts from here.
        let work = async {
            claims.wait().await;
            shared.handlers_running.close();
            let running = shared.registry.len();
            tracing::debug!(name: "draining", worker = %shared.id, running, "claims no more and waits for its handlers");
            shared.handlers_running.wait().await;
        };
        tokio::pin!(work);
        if tokio::time::timeout(grace, &mut work).await.is_err() {
            shared.registry.drain();
            // A handler that blocks its thread can't be stopped; its lease runs out.
            let _ = tokio::time::timeout(LAST_WORDS, work).await;
        }
        drop(finisher);
        if tokio::time::timeout(LAST_WORDS, finishing).await.is_err() {
            tracing::warn!(worker = %shared.id, "the last finishes could not be told; their jobs will be recovered");
        }
        stop_services.cancel();
        // All end by themselves within the time limit of their last statement.
        let _ = tokio::time::timeout(LAST_WORDS, async { tokio::join!(reaper, renewal, reports) }).await;
        let summary = shared.counters.summary();
        tracing::info!(worker = %shared.id, ?summary, "the worker has stopped");
        Ok(summary)
    }

    /// Waits while the database is away.
    async fn until_usable(&self) -> Result<(), Error> {
        let mut pause = Pause::new(self.client.chance());
        loop {
            match self.client.check_schema().await {
                Ok(_) => return Ok(()),
                Err(Error::Store(error)) if error.is_connection_fault() => {
                    let wait = pause.next();
                    tracing::warn!(%error, ?wait, "the worker cannot start yet; trying again");
                    tokio::time::sleep(wait).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn checked_queues(&self) -> Result<Vec<(Arc<str>, usize)>, Error> {
        let mut queues: Vec<(Arc<str>, usize)> = Vec::new();
        let default = [(limits::DEFAULT_QUEUE.to_owned(), DEFAULT_SLOTS)];
        for (name, slots) in if self.queues.is_empty() { &default[..] } else { &self.queues } {
            check_name("queue", name)?;
            if *slots == 0 || *slots > MAX_SLOTS {
                return Err(Invalid::new("slots", format!("must be 1 to {MAX_SLOTS}")).into());
            }
            if queues.iter().any(|(known, _)| **known == **name) {
                return Err(Invalid::new("queue", format!("{name} is named twice")).into());
            }
            queues.push((name.as_str().into(), *slots));
        }
        for kind in self.handlers.by_kind.keys() {
            check_name("kind", kind)?;
        }
        if !(MIN_LEASE_TTL..=MAX_LEASE_TTL).contains(&self.lease_ttl) {
            return Err(Invalid::new("lease_ttl", "must be 300ms to 1h").into());
        }
        Ok(queues)
    }

    fn prepare(self, queues: &[(Arc<str>, usize)]) -> (WorkerFacts, Arc<Shared>) {
        let id = self.client.chance().draw(|mut random| WorkerId::new(&mut random));
        #[cfg(feature = "mutants")]
        let id = if faultline_store::mutants::on("owner-is-host-name") { id_of_host() } else { id };
        let slots: usize = queues.iter().map(|(_, slots)| slots).sum();
        let facts = WorkerFacts {
            id,
            pid: i32::try_from(std::process::id()).unwrap_or(0),
            slots: i32::try_from(slots).unwrap_or(i32::MAX),
            lease_ttl: self.lease_ttl,
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            version: env!("CARGO_PKG_VERSION").into(),
            queues: queues.iter().map(|(name, _)| name.to_string()).collect(),
            kinds: self.handlers.kinds(),
            started_at: jiff::Timestamp::now(),
        };
        let metrics = self.client.metrics().workers();
        let shared = Shared {
            metrics: queues.iter().map(|(name, _)| (name.clone(), metrics.queue(name))).collect(),
            leases: metrics.leases(self.lease_ttl),
            client: self.client,
            id,
            lease_ttl: self.lease_ttl,
            strict: self.strict,
            registry: Arc::new(Registry::default()),
            handlers: self.handlers,
            counters: Counters::default(),
            wake: queues.iter().map(|(name, _)| (name.clone(), Arc::new(Wake::default()))).collect(),
            drain: CancellationToken::new(),
            handlers_running: TaskTracker::new(),
            isolated: Arc::default(),
            home: Arc::default(),
        };
        (facts, Arc::new(shared))
    }
}

#[cfg(feature = "mutants")]
fn id_of_host() -> WorkerId {
    let name = gethostname::gethostname().to_string_lossy().into_owned();
    let sum = name.bytes().fold(1u128, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    format!("{sum:032x}").parse().expect("32 hexadecimal digits are a UUID")
}

/// Looks after the worker's queues and wakes the claim loops of those that have work.
async fn reap(shared: Arc<Shared>, queues: Vec<String>, stop: CancellationToken) {
    let reaper = Reaper::of(&shared.client, queues, shared.home.clone()).lease_ttl(shared.lease_ttl);
    reaper
        .run(stop, |found| {
            for (queue, wake) in &shared.wake {
                wake.workers.store(found.workers.unsigned_abs().max(1), Ordering::Relaxed);
                if found.due.iter().any(|due| **due == **queue) {
                    wake.sweep();
                }
                if let Some((_, wait)) = found.next_due.iter().find(|(due, _)| **due == **queue) {
                    wake.sweep_in(*wait);
                }
            }
        })
        .await;
}
