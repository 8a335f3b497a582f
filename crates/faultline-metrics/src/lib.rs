//! What the processes of Faultline count and measure, as OpenMetrics text.
//!
//! Counters are witnesses: they count what the database confirmed, in the process whose statement did it, and once. An answer
//! that was lost counts when it has become known. docs/metrics.md is written from [`definitions`].
//!
//! ```
//! use faultline_metrics::{Enqueue, Metrics};
//!
//! let metrics = Metrics::new();
//! metrics.engine().enqueued("default", "send_email", Enqueue::Created);
//! let text = metrics.encode();
//! assert!(text.contains(r#"faultline_jobs_enqueued_total{queue="default",kind="send_email"} 1"#));
//! assert!(text.ends_with("# EOF\n"));
//! ```
//!
//! **Architecture invariant:** nothing in here asks the database. What it says at a scrape lies in memory, so that an answer
//! comes within milliseconds while the database is away.

mod beside;
mod database;
pub mod definitions;
mod engine;
mod family;
mod histogram;
mod http;
mod observed;
mod worker;

pub use database::{Call, DatabaseMetrics, Held, PoolMetrics, SessionMetrics};
pub use engine::{EngineMetrics, Enqueue, Operation, Operator, Resolution};
pub use family::{MAX_KINDS, MAX_QUEUES, OTHER};
pub use histogram::Histogram;
pub use http::{HttpMetrics, UNKNOWN_ROUTE};
pub use observed::{Holder, Observed, ObservedQueue, ObserverMetrics};
pub use worker::{Cause, Done, End, KindMetrics, Leases, QueueMetrics, Workers};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Everything that one process counts and measures, with a registry of its own. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    engine: EngineMetrics,
    workers: Workers,
    database: DatabaseMetrics,
    http: HttpMetrics,
    observer: ObserverMetrics,
    /// What processes beside this one said last, by their names.
    beside: Mutex<BTreeMap<&'static str, String>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// The media type of [`Metrics::encode`].
    pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// All at 0.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let engine = EngineMetrics::new(&mut registry);
        let workers = Workers::new(&mut registry);
        let database = DatabaseMetrics::new(&mut registry);
        let http = HttpMetrics::new(&mut registry);
        let observer = ObserverMetrics::new(&mut registry);
        registry.register_collector(Box::new(workers.margin()));
        Self {
            inner: Arc::new(Inner { registry, engine, workers, database, http, observer, beside: Mutex::default() }),
        }
    }

    /// What enqueues, reapers and operators' calls count.
    pub fn engine(&self) -> &EngineMetrics {
        &self.inner.engine
    }

    /// What workers count.
    pub fn workers(&self) -> &Workers {
        &self.inner.workers
    }

    /// What is seen of the database.
    pub fn database(&self) -> &DatabaseMetrics {
        &self.inner.database
    }

    /// What the API counts.
    pub fn http(&self) -> &HttpMetrics {
        &self.inner.http
    }

    /// What is seen of the whole database.
    pub fn observer(&self) -> &ObserverMetrics {
        &self.inner.observer
    }

    /// Shows what a process beside this one says of itself, an OpenMetrics text, on the page of this one; its series get the
    /// label `process`. None when it has ended.
    pub fn show_beside(&self, process: &'static str, text: Option<String>) {
        let mut beside = self.inner.beside.lock().unwrap_or_else(PoisonError::into_inner);
        match text {
            Some(text) => beside.insert(process, text),
            None => beside.remove(process),
        };
    }

    /// All of it as OpenMetrics text, of the type [`Metrics::MEDIA_TYPE`]. Asks nobody.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.inner.registry).expect("a string takes everything");
        let beside = self.inner.beside.lock().unwrap_or_else(PoisonError::into_inner);
        beside.iter().fold(text, |text, (process, other)| beside::merge(&text, process, other))
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Collector for worker::Margin {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let Some(seconds) = self.seconds() else { return Ok(()) };
        observed::family(&mut encoder, &definitions::RENEWAL_MARGIN, |gauges| gauges.add(&[], seconds))
    }
}
