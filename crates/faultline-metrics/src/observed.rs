//! Gauges of the whole database, as the observer last saw it. They are left out once the look is too old: nothing stale is
//! shown as a fact.

use crate::definitions::{self as d, Definition};
use crate::family::{MAX_QUEUES, Names, OTHER, counter, split_unit};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Names of applications that are reported as holders; those beyond are [`OTHER`].
const MAX_APPLICATIONS: usize = 50;
/// The longest name of an application.
const MAX_NAME: usize = 64;

/// What one look found. A part that could not be read is none, and is left out.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The queues.
    pub queues: Option<Vec<ObservedQueue>>,
    /// Live workers.
    pub workers_alive: Option<i64>,
    /// Who holds the oldest snapshot, by seconds: empty when nobody does.
    pub oldest_xmin: Option<Vec<Holder>>,
    /// Dead rows by table.
    pub dead_rows: Vec<(String, i64)>,
    /// Days with a partition by table.
    pub partitions_ahead: Vec<(String, i64)>,
}

/// A queue.
#[derive(Debug, Clone, Default)]
pub struct ObservedQueue {
    /// Its name.
    pub name: String,
    /// Jobs that are due, scheduled, retrying, running.
    pub depth: [i64; 4],
    /// Whether there are more than were counted.
    pub bounded: bool,
    /// Since when the oldest due job is due.
    pub oldest_due_s: f64,
    /// Whether it is paused.
    pub paused: bool,
    /// Live workers that poll it.
    pub workers: i64,
}

/// Who holds back the removal of dead rows.
#[derive(Debug, Clone)]
pub struct Holder {
    /// What it is.
    pub holder: String,
    /// What it calls itself.
    pub application: String,
    /// Its age in seconds, where this is the oldest in these.
    pub age_s: Option<f64>,
    /// Its age in transactions, where this is the oldest in these.
    pub age_xids: Option<i64>,
}

const STATES: [&str; 4] = ["due", "scheduled", "retrying", "running"];

/// What the observer tells.
pub struct ObserverMetrics {
    last: Arc<Last>,
    failures: Counter,
}

pub(crate) struct Last {
    look: Mutex<Option<Look>>,
    applications: Names,
}

struct Look {
    at: Instant,
    valid_for: Duration,
    observed: Observed,
}

impl ObserverMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let last = Arc::new(Last { look: Mutex::new(None), applications: Names::at_most(MAX_APPLICATIONS) });
        registry.register_collector(Box::new(last.clone()));
        Self { last, failures: counter(registry, &d::OBSERVATION_FAILURES) }
    }

    /// Shows what a look has found, for as long as it is valid.
    pub fn saw(&self, observed: Observed, valid_for: Duration) {
        let observed = Observed { queues: observed.queues.map(within_bounds), ..observed };
        *self.last.look() = Some(Look { at: Instant::now(), valid_for, observed });
    }

    /// A part of a look could not be read.
    pub fn failed(&self) {
        self.failures.inc();
    }
}

/// The queues that are worst off, and all others as one.
fn within_bounds(mut queues: Vec<ObservedQueue>) -> Vec<ObservedQueue> {
    if queues.len() <= MAX_QUEUES {
        return queues;
    }
    queues.sort_unstable_by(|a, b| b.oldest_due_s.total_cmp(&a.oldest_due_s).then_with(|| a.name.cmp(&b.name)));
    let rest = queues.split_off(MAX_QUEUES);
    let mut other = ObservedQueue { name: OTHER.to_owned(), workers: i64::MAX, ..Default::default() };
    for queue in rest {
        for (sum, depth) in other.depth.iter_mut().zip(queue.depth) {
            *sum += depth;
        }
        other.bounded |= queue.bounded;
        other.oldest_due_s = other.oldest_due_s.max(queue.oldest_due_s);
        other.workers = other.workers.min(queue.workers);
    }
    queues.push(other);
    queues
}

impl Last {
    fn look(&self) -> std::sync::MutexGuard<'_, Option<Look>> {
        self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The application of a holder as a label: what sessions call themselves is theirs to choose.
    fn application(&self, name: &str) -> String {
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || " ._:/@-".contains(*c);
        let name: String = name.chars().take(MAX_NAME).map(|c| if is_plain(&c) { c } else { '_' }).collect();
        self.applications.admit(&name).to_owned()
    }
}

impl fmt::Debug for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Last").finish_non_exhaustive()
    }
}

impl Collector for Last {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let look = self.look();
        let Some(look) = look.as_ref() else { return Ok(()) };
        let age = look.at.elapsed();
        family(&mut encoder, &d::OBSERVATION_AGE, |gauges| gauges.add(&[], age.as_secs_f64()))?;
        if age > look.valid_for {
            return Ok(());
        }
        let seen = &look.observed;
        if let Some(queues) = &seen.queues {
            encode_queues(&mut encoder, queues)?;
        }
        if let Some(alive) = seen.workers_alive {
            family(&mut encoder, &d::WORKERS_ALIVE, |gauges| gauges.add(&[], number(alive)))?;
        }
        if let Some(holders) = &seen.oldest_xmin {
            self.encode_xmin(&mut encoder, holders)?;
        }
        for (definition, tables) in [(&d::DEAD_ROWS, &seen.dead_rows), (&d::PARTITIONS_AHEAD, &seen.partitions_ahead)] {
            family(&mut encoder, definition, |gauges| {
                tables.iter().try_for_each(|(table, value)| gauges.add(&[table], number(*value)))
            })?;
        }
        Ok(())
    }
}

impl Last {
    fn encode_xmin(&self, encoder: &mut DescriptorEncoder, holders: &[Holder]) -> fmt::Result {
        let none = Holder { holder: "none".into(), application: String::new(), age_s: Some(0.0), age_xids: Some(0) };
        type Age = fn(&Holder) -> Option<f64>;
        let ages: [(&'static Definition, Age); 2] = [
            (&d::OLDEST_XMIN_AGE, |holder| holder.age_s),
            (&d::OLDEST_XMIN_TRANSACTIONS, |holder| holder.age_xids.map(number)),
        ];
        for (definition, age) in ages {
            let oldest = holders.iter().find(|holder| age(holder).is_some()).unwrap_or(&none);
            let application = self.application(&oldest.application);
            let value = age(oldest).unwrap_or_default().max(0.0);
            family(encoder, definition, |gauges| gauges.add(&[&oldest.holder, &application], value))?;
        }
        Ok(())
    }
}

fn encode_queues(encoder: &mut DescriptorEncoder, queues: &[ObservedQueue]) -> fmt::Result {
    family(encoder, &d::QUEUE_DEPTH, |gauges| {
        queues.iter().try_for_each(|queue| {
            let mut depths = STATES.iter().zip(queue.depth);
            depths.try_for_each(|(state, depth)| gauges.add(&[&queue.name, state], number(depth)))
        })
    })?;
    type Value = fn(&ObservedQueue) -> f64;
    let values: [(&'static Definition, Value); 4] = [
        (&d::QUEUE_DEPTH_BOUNDED, |queue| f64::from(queue.bounded)),
        (&d::QUEUE_OLDEST_DUE_AGE, |queue| queue.oldest_due_s),
        (&d::QUEUE_PAUSED, |queue| f64::from(queue.paused)),
        (&d::QUEUE_WORKERS, |queue| number(queue.workers)),
    ];
    for (definition, value) in values {
        family(encoder, definition, |gauges| {
            queues.iter().try_for_each(|queue| gauges.add(&[&queue.name], value(queue)))
        })?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts of rows are below 2^53")]
fn number(count: i64) -> f64 {
    count as f64
}

/// The gauges of one definition.
pub(crate) struct Gauges<'a> {
    definition: &'static Definition,
    encoder: MetricEncoder<'a>,
}

impl Gauges<'_> {
    pub(crate) fn add(&mut self, values: &[&str], value: f64) -> fmt::Result {
        let labels: Vec<(&str, &str)> = self.definition.labels.iter().copied().zip(values.iter().copied()).collect();
        if labels.is_empty() {
            return self.encoder.encode_gauge(&value);
        }
        ConstGauge::new(value).encode(self.encoder.encode_family(&labels)?)
    }
}

/// Writes one family of gauges.
pub(crate) fn family(
    encoder: &mut DescriptorEncoder,
    definition: &'static Definition,
    add: impl FnOnce(&mut Gauges<'_>) -> fmt::Result,
) -> fmt::Result {
    let (name, unit) = split_unit(definition.name);
    let encoder = encoder.encode_descriptor(name, definition.help, unit.as_ref(), MetricType::Gauge)?;
    add(&mut Gauges { definition, encoder })
}
