//! What a worker counts. The handles are looked up once for a queue, and once for a kind of it; with them a job costs a few
//! relaxed additions.

use crate::definitions as d;
use crate::family::{ByKind, Counters, Gauges, Histograms, MAX_QUEUES, Names, counters, gauge, gauges, histograms};
use crate::histogram::Histogram;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How the database ended an attempt by its worker's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum End {
    /// The job has succeeded.
    Completed,
    /// It is tried again.
    Failed,
    /// It has failed; its attempts are used up.
    AttemptsExhausted,
    /// It has failed by the handler's word.
    Fatal,
    /// It has failed: what its handler returned can't be stored.
    Unstorable,
    /// It was cancelled while it ran.
    Cancelled,
    /// The worker gave it back.
    Released,
    /// The handler wants to be called again later.
    Snoozed,
}

impl End {
    const ALL: [Self; 8] = [
        Self::Completed,
        Self::Failed,
        Self::AttemptsExhausted,
        Self::Fatal,
        Self::Unstorable,
        Self::Cancelled,
        Self::Released,
        Self::Snoozed,
    ];

    /// As which it is counted: the label `outcome`.
    pub fn outcome(self) -> &'static str {
        self.words()[0]
    }

    /// The labels `outcome` and `reason`; the second is the word in `job_events.reason`.
    fn words(self) -> [&'static str; 2] {
        match self {
            Self::Completed => ["succeeded", "completed"],
            Self::Failed => ["retried", "failed"],
            Self::AttemptsExhausted => ["failed", "attempts_exhausted"],
            Self::Fatal => ["failed", "fatal"],
            Self::Unstorable => ["failed", "unstorable"],
            Self::Cancelled => ["cancelled", "cancelled"],
            Self::Released => ["released", "released"],
            Self::Snoozed => ["snoozed", "snoozed"],
        }
    }

    fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::AttemptsExhausted | Self::Fatal | Self::Unstorable)
    }
}

/// What happened to a handler that failed, or why a job was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Cause {
    /// The handler returned an error.
    Error,
    /// It panicked.
    Panic,
    /// It took too long.
    Timeout,
    /// There is no handler for the kind.
    UnknownKind,
    /// It crashed workers before and waits until no other such job runs.
    Isolated,
    /// The worker shuts down.
    Shutdown,
    /// The lease may have ended before a renewal was answered, and the worker is strict.
    Overdue,
}

impl Cause {
    const FAILED: [Self; 3] = [Self::Error, Self::Panic, Self::Timeout];
    const RELEASED: [Self; 4] = [Self::UnknownKind, Self::Isolated, Self::Shutdown, Self::Overdue];

    /// As which it is counted: the label `cause`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::UnknownKind => "unknown_kind",
            Self::Isolated => "isolated",
            Self::Shutdown => "shutdown",
            Self::Overdue => "overdue",
        }
    }
}

/// The families of workers.
pub struct Workers {
    claimed: Counters,
    ended: Counters,
    failed: Counters,
    released: Counters,
    execution: Histograms,
    start_latency: Histograms,
    renewals: Counters,
    leases_lost: Counters,
    refused: Counters,
    slots: Gauges,
    slots_used: Gauges,
    claim_duration: Histograms,
    empty_claims: Counters,
    finish_backlog: Gauge,
    queues: Names,
    kinds: ByKind<KindMetrics>,
    /// What [`Workers::take_done`] has given away.
    taken: Mutex<BTreeMap<String, Done>>,
    /// Added to by each worker that starts; what is left of one that stopped is removed with the next look.
    leases: Arc<Mutex<Vec<Weak<Leases>>>>,
}

impl Workers {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        Self {
            claimed: counters(registry, &d::JOBS_CLAIMED),
            ended: counters(registry, &d::ATTEMPTS_ENDED),
            failed: counters(registry, &d::ATTEMPTS_FAILED),
            released: counters(registry, &d::ATTEMPTS_RELEASED),
            execution: histograms(registry, &d::EXECUTION),
            start_latency: histograms(registry, &d::START_LATENCY),
            renewals: counters(registry, &d::LEASE_RENEWALS),
            leases_lost: counters(registry, &d::LEASES_LOST),
            refused: counters(registry, &d::STALE_WRITES_REFUSED),
            slots: gauges(registry, &d::WORKER_SLOTS),
            slots_used: gauges(registry, &d::WORKER_SLOTS_USED),
            claim_duration: histograms(registry, &d::CLAIM_DURATION),
            empty_claims: counters(registry, &d::EMPTY_CLAIMS),
            finish_backlog: gauge(registry, &d::FINISH_BACKLOG),
            queues: Names::at_most(MAX_QUEUES),
            kinds: ByKind::new(),
            taken: Mutex::default(),
            leases: Arc::default(),
        }
    }

    /// The metrics of one queue. What is rare is reported as 0 from the start, so that its first rise is seen.
    pub fn queue(&self, queue: &str) -> QueueMetrics {
        let name = self.queues.admit(queue);
        QueueMetrics {
            renewals: self.renewals.of(&[name]),
            leases_lost: self.leases_lost.of(&[name]),
            refused: self.refused.of(&[name]),
            slots: self.slots.of(&[name]),
            slots_used: self.slots_used.of(&[name]),
            claim_duration: self.claim_duration.of(&[name]),
            empty_claims: self.empty_claims.of(&[name]),
        }
    }

    /// The metrics of one kind of a queue; keep them.
    pub fn kind(&self, queue: &str, kind: &str) -> Arc<KindMetrics> {
        self.kinds.of(queue, kind, |queue, kind| KindMetrics {
            claimed: self.claimed.of(&[queue, kind]),
            ended: End::ALL.map(|end| {
                let [outcome, reason] = end.words();
                self.ended.of(&[queue, kind, outcome, reason])
            }),
            failed: Cause::FAILED.map(|cause| self.failed.of(&[queue, kind, cause.word()])),
            released: Cause::RELEASED.map(|cause| self.released.of(&[queue, kind, cause.word()])),
            execution: self.execution.of(&[queue, kind]),
            start_latency: self.start_latency.of(&[queue, kind]),
        })
    }

    /// What handlers have brought about in each queue since this was last asked, by anybody: each piece of work is given away
    /// once. Queues without any are left out.
    pub fn take_done(&self) -> Vec<Done> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now: BTreeMap<String, Done> = BTreeMap::new();
        self.kinds.each(|queue, kind| now.entry(queue.to_owned()).or_insert_with(|| Done::nothing(queue)).add(kind));
        let news = now.values().map(|done| taken.get(&done.queue).map_or_else(|| done.clone(), |old| done.since(old)));
        let news = news.filter(|done| !done.is_nothing()).collect();
        *taken = now;
        news
    }

    /// Attempts that have ended and are not confirmed.
    pub fn finish_backlog(&self) -> &Gauge {
        &self.finish_backlog
    }

    /// The leases of a worker that starts; drop them when it has stopped.
    pub fn leases(&self, ttl: Duration) -> Arc<Leases> {
        let leases = Arc::new(Leases { ttl, renewed_at: Mutex::new(Instant::now()) });
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&leases));
        leases
    }

    /// Reads the margin of the worker that is worst off, whenever it is asked.
    pub(crate) fn margin(&self) -> Margin {
        Margin { leases: self.leases.clone() }
    }
}

/// What handlers brought about in one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The queue.
    pub queue: String,
    /// Jobs that succeeded.
    pub succeeded: u64,
    /// First attempts that started, by how long the job had been due: counts by [`d::LATENCY_S`], and beyond.
    pub start_latency: Vec<u64>,
    /// Handlers that ended, by how long they took: counts by [`d::LONG_S`], and beyond.
    pub execution: Vec<u64>,
}

impl Done {
    fn nothing(queue: &str) -> Self {
        let (start_latency, execution) = (vec![0; d::LATENCY_S.len() + 1], vec![0; d::LONG_S.len() + 1]);
        Self { queue: queue.to_owned(), succeeded: 0, start_latency, execution }
    }

    fn is_nothing(&self) -> bool {
        self.succeeded == 0 && self.start_latency.iter().chain(&self.execution).all(|count| *count == 0)
    }

    fn add(&mut self, kind: &KindMetrics) {
        self.succeeded += kind.ended[End::Completed as usize].get();
        let add = |sum: &mut Vec<u64>, more: Vec<u64>| sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        add(&mut self.start_latency, kind.start_latency.buckets());
        add(&mut self.execution, kind.execution.buckets());
    }

    fn since(&self, old: &Self) -> Self {
        let minus = |now: &[u64], old: &[u64]| now.iter().zip(old).map(|(now, old)| now - old).collect();
        Self {
            queue: self.queue.clone(),
            succeeded: self.succeeded - old.succeeded,
            start_latency: minus(&self.start_latency, &old.start_latency),
            execution: minus(&self.execution, &old.execution),
        }
    }
}

/// The metrics of one queue of a worker.
#[derive(Clone)]
pub struct QueueMetrics {
    /// Leases renewed.
    pub renewals: Counter,
    /// Handlers stopped because their lease was lost.
    pub leases_lost: Counter,
    /// Finishes refused because the lease was lost.
    pub refused: Counter,
    /// Jobs that may run at once.
    pub slots: Gauge,
    /// Handlers that run.
    pub slots_used: Gauge,
    /// How long answered claims took.
    pub claim_duration: Histogram,
    /// Claims that found nothing.
    pub empty_claims: Counter,
}

/// The metrics of one kind of a queue.
pub struct KindMetrics {
    claimed: Counter,
    ended: [Counter; 8],
    failed: [Counter; 3],
    released: [Counter; 4],
    execution: Histogram,
    start_latency: Histogram,
}

impl KindMetrics {
    /// A claim took a job. `waited` is how long it had been due, for a first attempt.
    pub fn claimed(&self, waited: Option<Duration>) {
        self.claimed.inc();
        if let Some(waited) = waited {
            self.start_latency.observe(waited);
        }
    }

    /// A handler ended after this long.
    pub fn ran(&self, duration: Duration) {
        self.execution.observe(duration);
    }

    /// The database has confirmed the end of an attempt.
    pub fn ended(&self, end: End, cause: Option<Cause>) {
        self.ended[end as usize].inc();
        let (causes, of) = if end.is_failure() {
            (&Cause::FAILED[..], &self.failed[..])
        } else if end == End::Released {
            (&Cause::RELEASED[..], &self.released[..])
        } else {
            return;
        };
        if let Some(at) = causes.iter().position(|known| Some(*known) == cause) {
            of[at].inc();
        }
    }
}

/// The leases of one worker.
#[derive(Debug)]
pub struct Leases {
    ttl: Duration,
    /// Set by each complete round of renewals.
    renewed_at: Mutex<Instant>,
}

impl Leases {
    /// All were renewed by a round that began at this instant, or there were none.
    pub fn renewed(&self, began: Instant) {
        *self.renewed_at.lock().unwrap_or_else(PoisonError::into_inner) = began;
    }

    fn margin_s(&self) -> f64 {
        let age = self.renewed_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        self.ttl.as_secs_f64() - age.as_secs_f64()
    }
}

/// The leases of all workers of this process.
#[derive(Debug)]
pub(crate) struct Margin {
    leases: Arc<Mutex<Vec<Weak<Leases>>>>,
}

impl Margin {
    /// None without a worker.
    pub(crate) fn seconds(&self) -> Option<f64> {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        leases.retain(|leases| leases.strong_count() > 0);
        leases.iter().filter_map(Weak::upgrade).map(|leases| leases.margin_s()).reduce(f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_handlers_did_is_given_away_once() {
        let workers = Workers::new(&mut Registry::default());
        let [a, b] = ["a", "b"].map(|kind| workers.kind("q", kind));
        workers.kind("idle", "k");
        a.claimed(Some(Duration::from_millis(2)));
        a.ran(Duration::from_millis(3));
        a.ended(End::Completed, None);
        b.ran(Duration::from_secs(7200));
        b.ended(End::Failed, Some(Cause::Error));
        let done = workers.take_done();
        assert_eq!(done.len(), 1);
        assert_eq!((done[0].queue.as_str(), done[0].succeeded), ("q", 1));
        assert_eq!(done[0].start_latency.iter().sum::<u64>(), 1);
        assert_eq!((done[0].execution[1], done[0].execution.last()), (1, Some(&1)));
        assert_eq!(workers.take_done(), []);
        b.ended(End::Completed, None);
        assert_eq!(workers.take_done()[0].succeeded, 1);
    }
}
