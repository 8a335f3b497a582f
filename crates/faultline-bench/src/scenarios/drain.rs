//! How fast a queue of no-op jobs is worked off, every one leased, fenced and kept in the history.

use super::ways::{Part, Way, compare};
use crate::bench::Bench;
use crate::duty::Side::{ByHand, Faultline};
use crate::error::Result;
use crate::figure::{Figure, Outcome, Unit};

/// Jobs of one measurement.
const JOBS: u64 = 300_000;
/// Slots of a worker at its best, and the best batch by hand.
const BEST_SLOTS: usize = 2000;
const BEST_BATCH: usize = 1000;

const WAYS: [Way; 5] = [
    Way { what: "by hand, one process", side: ByHand, processes: 1, slots: BEST_BATCH, beside: None },
    Way {
        what: "one process, 2000 slots",
        side: Faultline,
        processes: 1,
        slots: BEST_SLOTS,
        beside: Some((0, Some(0.9))),
    },
    Way { what: "by hand, two processes", side: ByHand, processes: 2, slots: BEST_BATCH, beside: None },
    Way {
        what: "two processes, 2000 slots",
        side: Faultline,
        processes: 2,
        slots: BEST_SLOTS,
        beside: Some((2, Some(0.9))),
    },
    Way {
        what: "one process, 100 slots (the default)",
        side: Faultline,
        processes: 1,
        slots: faultline::DEFAULT_SLOTS,
        beside: Some((1, Some(0.5))),
    },
];

pub(super) async fn run(bench: &Bench<'_>) -> Result<Outcome> {
    let (jobs, bytes) = (bench.options.jobs(JOBS), bench.options.payload_bytes);
    let mut outcome = bench.outcome(format!(
        "{jobs} no-op jobs with payloads of {bytes} bytes, in the queue before the first process starts; from that start to the \
         last job's finish. Each is in the history once, succeeded. By hand a process has one connection, which finishes and \
         claims batches of 1000 in one round trip."
    ));
    compare(bench, &WAYS, jobs, Part::Whole, &mut outcome).await?;
    let wal = |figure: &Figure| figure.cost.and_then(|cost| cost.wal_bytes);
    outcome.figures.extend(outcome.figures.get(1).and_then(wal).map(|bytes| {
        Figure::new("WAL a job, from claim to history (one process)", Unit::Bytes, vec![bytes])
            .note("enqueue has its own")
    }));
    Ok(outcome)
}
