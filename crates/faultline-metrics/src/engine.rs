//! What enqueues, reapers and operators' calls count, and what became of answers that were lost.

use crate::definitions as d;
use crate::family::{ByKind, Counters, Histograms, MAX_QUEUES, Names, counters, histograms};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What became of an enqueue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueue {
    /// A new job.
    Created,
    /// The key's job.
    Duplicate,
    /// The key is another request's.
    Conflict,
}

/// What may be committed without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// An enqueue.
    Enqueue,
    /// A claim.
    Claim,
    /// The end of attempts.
    Finish,
}

impl Operation {
    const ALL: [Self; 3] = [Self::Enqueue, Self::Claim, Self::Finish];

    fn word(self) -> &'static str {
        match self {
            Self::Enqueue => "enqueue",
            Self::Claim => "claim",
            Self::Finish => "finish",
        }
    }
}

/// What became of a statement whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// It was committed.
    Happened,
    /// It was not.
    DidNotHappen,
    /// It was repeated in a way that does it once, and answered.
    Answered,
    /// Nobody found out.
    Unknown,
}

impl Resolution {
    fn word(self) -> &'static str {
        match self {
            Self::Happened => "happened",
            Self::DidNotHappen => "did_not_happen",
            Self::Answered => "answered",
            Self::Unknown => "unknown",
        }
    }
}

/// What an operator's call did to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// It ended a waiting job.
    Cancelled,
    /// It asked a running one to stop.
    CancelRequested,
    /// It made a waiting one due.
    Moved,
    /// It made the successor of an ended one.
    Enqueued,
}

impl Operator {
    const ALL: [Self; 4] = [Self::Cancelled, Self::CancelRequested, Self::Moved, Self::Enqueued];

    fn word(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::CancelRequested => "cancel_requested",
            Self::Moved => "moved",
            Self::Enqueued => "enqueued",
        }
    }
}

/// Words of `job_events.reason` for a reap, each with the states of the lease it comes with.
const REAPS: [(&str, &str); 6] = [
    ("expired", "expired"),
    ("lost", "lost"),
    ("expired", "crash_loop"),
    ("lost", "crash_loop"),
    ("expired", "worker_lost"),
    ("lost", "worker_lost"),
];

/// The families of the engine outside of workers.
pub struct EngineMetrics {
    enqueued: Counters,
    deduplicated: Counters,
    conflicts: Counters,
    operators: Counters,
    reaped: Counters,
    recovery: Histograms,
    indeterminate: Counters,
    resolved: Counters,
    kinds: ByKind<[Counter; 3]>,
    queues: Names,
    /// Queues that some reaper of this process looks after; all are reported as 0 before something is reaped.
    looked_after: Mutex<HashMap<String, Arc<[Counter; 6]>>>,
}

impl EngineMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            enqueued: counters(registry, &d::JOBS_ENQUEUED),
            deduplicated: counters(registry, &d::JOBS_DEDUPLICATED),
            conflicts: counters(registry, &d::ENQUEUE_CONFLICTS),
            operators: counters(registry, &d::OPERATOR_TRANSITIONS),
            reaped: counters(registry, &d::LEASES_REAPED),
            recovery: histograms(registry, &d::RECOVERY_DELAY),
            indeterminate: counters(registry, &d::INDETERMINATE),
            resolved: counters(registry, &d::INDETERMINATE_RESOLVED),
            kinds: ByKind::new(),
            queues: Names::at_most(MAX_QUEUES),
            looked_after: Mutex::default(),
        };
        for operation in Operation::ALL {
            metrics.indeterminate.of(&[operation.word()]);
            metrics.resolved.of(&[operation.word(), Resolution::Unknown.word()]);
        }
        for lease in ["expired", "lost"] {
            metrics.recovery.of(&[lease]);
        }
        for operator in Operator::ALL {
            metrics.operators.of(&[operator.word()]);
        }
        metrics
    }

    /// An enqueue was answered.
    pub fn enqueued(&self, queue: &str, kind: &str, answer: Enqueue) {
        self.enqueued_many(queue, kind, answer, 1);
    }

    /// So many of one kind were answered alike.
    pub fn enqueued_many(&self, queue: &str, kind: &str, answer: Enqueue, jobs: u64) {
        let counters = self.kinds.of(queue, kind, |queue, kind| {
            [&self.enqueued, &self.deduplicated, &self.conflicts].map(|family| family.of(&[queue, kind]))
        });
        let at = match answer {
            Enqueue::Created => 0,
            Enqueue::Duplicate => 1,
            Enqueue::Conflict => 2,
        };
        counters[at].inc_by(jobs);
    }

    /// The answer of a statement was lost.
    pub fn indeterminate(&self, operation: Operation) {
        self.indeterminate.of(&[operation.word()]).inc();
    }

    /// It became known, or will not.
    pub fn resolved(&self, operation: Operation, resolution: Resolution) {
        self.resolved.of(&[operation.word(), resolution.word()]).inc();
    }

    /// An operator's call changed a job.
    pub fn operated(&self, operator: Operator) {
        self.operators.of(&[operator.word()]).inc();
    }

    /// A reaper looks after these queues.
    pub fn looks_after(&self, queues: &[String]) {
        for queue in queues {
            self.reaps_of(queue);
        }
    }

    fn reaps_of(&self, queue: &str) -> Arc<[Counter; 6]> {
        let mut known = self.looked_after.lock().unwrap_or_else(PoisonError::into_inner);
        let name = self.queues.admit(queue);
        if let Some(found) = known.get(name) {
            return found.clone();
        }
        let made = Arc::new(REAPS.map(|(lease, reason)| self.reaped.of(&[name, lease, reason])));
        known.insert(name.to_owned(), made.clone());
        made
    }

    /// A lease was ended for its worker. `lease` and `reason` are the words of the statement, `after` is how long a job that
    /// was put back had been without a worker.
    pub fn reaped(&self, queue: &str, lease: &str, reason: &str, after: Option<Duration>) {
        if let Some(at) = REAPS.iter().position(|reap| *reap == (lease, reason)) {
            self.reaps_of(queue)[at].inc();
        }
        if let Some(after) = after {
            self.recovery.of(&[lease]).observe(after);
        }
    }
}
