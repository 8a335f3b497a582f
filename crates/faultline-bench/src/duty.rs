//! What a worker process of the benchmark is told, and what it tells: lines of JSON on its standard output.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The queue of most measurements.
pub(crate) const QUEUE: &str = "bench";
/// A kind that does nothing.
pub(crate) const NOOP: &str = "bench.noop";
/// A kind that tells how long ago its payload's `at_ns` was.
pub(crate) const TIMED: &str = "bench.timed";
/// A kind that fails in its first attempt.
pub(crate) const FLAKY: &str = "bench.flaky";
/// The queue of handlers that wait, which has slots of its own.
pub(crate) const LONG_QUEUE: &str = "bench.long";
/// A kind that waits for its payload's `for_ms`.
pub(crate) const WAIT: &str = "bench.wait";
/// Latencies are kept from 1 µs to ten minutes, with three digits.
const LONGEST_US: u64 = 600_000_000;

/// Whose worker it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    /// Faultline's library.
    Faultline,
    /// The statements in `by_hand/`: finish the last batch and claim the next in one transaction and one round trip.
    ByHand,
    /// The same, woken by a notification.
    ByHandListening,
}

impl Side {
    /// The schema with its tables.
    pub(crate) fn schema(self) -> &'static str {
        if self == Self::Faultline { "faultline" } else { "by_hand" }
    }
}

/// What a worker process is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Duty {
    /// Whose worker it is.
    pub(crate) side: Side,
    /// Jobs at once; by hand, the jobs of a batch.
    pub(crate) slots: usize,
    /// Where it takes jobs from.
    pub(crate) queues: Vec<String>,
    /// Jobs of [`LONG_QUEUE`] at once; none if there are none of it.
    pub(crate) long_slots: Option<usize>,
}

impl Duty {
    /// One that takes from the queue of most measurements.
    pub(crate) fn new(side: Side, slots: usize) -> Self {
        Self { side, slots, queues: vec![QUEUE.to_owned()], long_slots: None }
    }
}

/// What a worker process tells.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    /// What it has done by now.
    Tick(Tick),
    /// Its last word.
    End(End),
}

/// What a process has done by now.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Tick {
    /// When, on the clock of [`now_ns`].
    pub(crate) at_ns: u64,
    /// Handlers that have run.
    pub(crate) handled: u64,
    /// Claims that were answered.
    pub(crate) claims: u64,
    /// How long those took together.
    pub(crate) claim_s: f64,
    /// Of the timed jobs since the last word: all but a hundredth began no later than this, µs. None: there were none.
    pub(crate) late_p99_us: Option<u64>,
}

/// A process's last word.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct End {
    /// Handlers that have run.
    pub(crate) handled: u64,
    /// Processor time, µs.
    pub(crate) cpu_us: Option<f64>,
    /// The most memory that was resident, MiB.
    pub(crate) peak_mib: Option<f64>,
    /// How long after its `at_ns` each timed job began: µs, and how many.
    pub(crate) latencies: Vec<(u64, u64)>,
}

/// The machine's monotonic clock, which all its processes share.
pub(crate) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// An empty histogram of latencies, in µs.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are constants in order")
}

/// Puts what processes have told into one histogram.
pub(crate) fn gathered<'a>(parts: impl IntoIterator<Item = &'a (u64, u64)>) -> Histogram<u64> {
    let mut all = latencies();
    for &(value, count) in parts {
        all.saturating_record_n(value, count);
    }
    all
}

/// A percentile in ms.
#[expect(clippy::cast_precision_loss, reason = "latencies are far below what a float holds exactly")]
pub(crate) fn percentile_ms(histogram: &Histogram<u64>, percent: f64) -> f64 {
    histogram.value_at_quantile(percent / 100.0) as f64 / 1000.0
}

/// A histogram as it is told.
pub(crate) fn told(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
}
