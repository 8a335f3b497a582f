//! Workers that a process misses, and since when.

use faultline_core::WorkerId;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Workers that every look since has missed. A memory of this process alone: a restart begins the grace again.
#[derive(Default)]
pub(super) struct Missed(BTreeMap<WorkerId, Instant>);

impl Missed {
    /// A look misses these, and nobody else any more.
    pub(super) fn see(&mut self, missing: &[WorkerId], now: Instant) {
        self.0.retain(|worker, _| missing.contains(worker));
        for worker in missing {
            self.0.entry(*worker).or_insert(now);
        }
    }

    /// Who has been missed for the whole of the grace.
    pub(super) fn for_all_of(&self, grace: Duration) -> impl Iterator<Item = WorkerId> {
        self.0.iter().filter(move |(_, since)| since.elapsed() >= grace).map(|(worker, _)| *worker)
    }

    /// When the next grace ends.
    pub(super) fn next_end(&self, grace: Duration, now: Instant) -> Option<Instant> {
        self.0.values().map(|since| *since + grace).filter(|end| *end > now).min()
    }

    /// How long a worker has been missed.
    pub(super) fn for_how_long(&self, worker: WorkerId) -> Option<Duration> {
        self.0.get(&worker).map(Instant::elapsed)
    }

    pub(super) fn forget_all(&mut self) {
        self.0.clear();
    }
}
