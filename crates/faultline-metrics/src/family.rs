//! Families of one definition each, and the bound on the names of queues and kinds.

use crate::definitions::{Definition, Type};
use crate::histogram::Histogram;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock};

/// Names of queues that one process reports; the rest is [`OTHER`]. A queue is a few dozen series.
pub const MAX_QUEUES: usize = 100;
/// Pairs of queue and kind that one process reports; the kinds beyond are [`OTHER`]. Clients of the API choose both names.
pub const MAX_KINDS: usize = 200;
/// What stands for names beyond the bound. It can't be a name itself.
pub const OTHER: &str = "(other)";

pub(crate) type Labels = Vec<(&'static str, String)>;

/// A family with one metric for each combination of label values.
pub(crate) struct Many<M, C = fn() -> M> {
    definition: &'static Definition,
    family: Family<Labels, M, C>,
}

pub(crate) type Counters = Many<Counter>;
pub(crate) type Gauges = Many<Gauge>;
pub(crate) type Histograms = Many<Histogram, Bounds>;

impl<M: Clone, C: MetricConstructor<M>> Many<M, C> {
    /// The metric of these label values, in the order of the definition. Takes a lock: look it up once and keep it.
    pub(crate) fn of(&self, values: &[&str]) -> M {
        debug_assert_eq!(values.len(), self.definition.labels.len(), "{}", self.definition.name);
        let labels = self.definition.labels.iter().copied().zip(values.iter().map(|value| (*value).to_owned()));
        self.family.get_or_create_owned(&labels.collect())
    }
}

/// Makes histograms with the bounds of their definition.
#[derive(Clone)]
pub(crate) struct Bounds(&'static [f64]);

impl MetricConstructor<Histogram> for Bounds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0)
    }
}

pub(crate) fn counters(registry: &mut Registry, definition: &'static Definition) -> Counters {
    debug_assert_eq!(definition.type_, Type::Counter, "{}", definition.name);
    let family = Family::new_with_constructor(Counter::default as fn() -> Counter);
    register(registry, definition, family.clone());
    Many { definition, family }
}

pub(crate) fn gauges(registry: &mut Registry, definition: &'static Definition) -> Gauges {
    debug_assert_eq!(definition.type_, Type::Gauge, "{}", definition.name);
    let family = Family::new_with_constructor(Gauge::default as fn() -> Gauge);
    register(registry, definition, family.clone());
    Many { definition, family }
}

/// A counter without labels.
pub(crate) fn counter(registry: &mut Registry, definition: &'static Definition) -> Counter {
    debug_assert!(definition.type_ == Type::Counter && definition.labels.is_empty(), "{}", definition.name);
    let counter = Counter::default();
    register(registry, definition, counter.clone());
    counter
}

/// A gauge without labels.
pub(crate) fn gauge(registry: &mut Registry, definition: &'static Definition) -> Gauge {
    debug_assert!(definition.type_ == Type::Gauge && definition.labels.is_empty(), "{}", definition.name);
    let gauge = Gauge::default();
    register(registry, definition, gauge.clone());
    gauge
}

pub(crate) fn histograms(registry: &mut Registry, definition: &'static Definition) -> Histograms {
    let Type::Histogram(bounds) = definition.type_ else { unreachable!("{} is not a histogram", definition.name) };
    let family = Family::new_with_constructor(Bounds(bounds));
    register(registry, definition, family.clone());
    Many { definition, family }
}

fn register(
    registry: &mut Registry,
    definition: &Definition,
    metric: impl EncodeMetric + Debug + Send + Sync + 'static,
) {
    match split_unit(definition.name) {
        (name, Some(unit)) => registry.register_with_unit(name, definition.help, unit, metric),
        (name, None) => registry.register(name, definition.help, metric),
    }
}

/// The unit that a name ends in, as the text states it apart.
pub(crate) fn split_unit(name: &'static str) -> (&'static str, Option<Unit>) {
    name.strip_suffix("_seconds").map_or((name, None), |rest| (rest, Some(Unit::Seconds)))
}

/// What belongs to each queue and kind, up to the bounds.
pub(crate) struct ByKind<T> {
    known: RwLock<Known<T>>,
}

struct Known<T> {
    queues: HashMap<String, HashMap<String, Arc<T>>>,
    pairs: usize,
}

impl<T> ByKind<T> {
    pub(crate) fn new() -> Self {
        Self { known: RwLock::new(Known { queues: HashMap::new(), pairs: 0 }) }
    }

    /// What belongs to the pair, made by `make` from the names to report when it is first asked for. Allocates only then.
    pub(crate) fn of(&self, queue: &str, kind: &str, make: impl FnOnce(&str, &str) -> T) -> Arc<T> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.queues.get(queue).and_then(|kinds| kinds.get(kind)) {
            return found.clone();
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let full = known.queues.len() >= MAX_QUEUES;
        let queue = if full && !known.queues.contains_key(queue) { OTHER } else { queue };
        let kind = if known.pairs >= MAX_KINDS { OTHER } else { kind };
        known.pairs += 1;
        let Known { queues, .. } = &mut *known;
        let kinds = queues.entry(queue.to_owned()).or_default();
        kinds.entry(kind.to_owned()).or_insert_with(|| Arc::new(make(queue, kind))).clone()
    }

    /// Every pair's queue, as it is reported, with what belongs to the pair.
    pub(crate) fn each(&self, mut see: impl FnMut(&str, &T)) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        for (queue, kinds) in &known.queues {
            kinds.values().for_each(|one| see(queue, one));
        }
    }
}

/// Names up to a bound.
pub(crate) struct Names {
    seen: RwLock<HashSet<String>>,
    most: usize,
}

impl Names {
    pub(crate) fn at_most(most: usize) -> Self {
        Self { seen: RwLock::new(HashSet::new()), most }
    }

    /// The name itself, or [`OTHER`] when there are too many.
    pub(crate) fn admit<'n>(&self, name: &'n str) -> &'n str {
        if self.seen.read().unwrap_or_else(PoisonError::into_inner).contains(name) {
            return name;
        }
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(name) || seen.len() < self.most {
            seen.insert(name.to_owned());
            return name;
        }
        OTHER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_queues_beyond_the_bounds_share_a_name() {
        let by_kind = ByKind::new();
        let name = |queue: &str, kind: &str| (*by_kind.of(queue, kind, |q, k| format!("{q}/{k}"))).clone();
        for kind in 0..MAX_KINDS {
            assert_eq!(name("q", &kind.to_string()), format!("q/{kind}"));
        }
        assert_eq!(name("q", "one more"), "q/(other)");
        assert_eq!(name("q", "0"), "q/0");
        for queue in 1..MAX_QUEUES {
            assert_eq!(name(&queue.to_string(), "0"), format!("{queue}/(other)"));
        }
        assert_eq!(name("one more", "0"), "(other)/(other)");
        assert_eq!(name("and another", "1"), "(other)/(other)");
    }
}
