//! Many small workers on one queue, which meet on the same few rows.

use super::ways::{Way, compare};
use crate::bench::Bench;
use crate::duty::Side::{ByHand, Faultline};
use crate::error::Result;
use crate::figure::Outcome;

/// Jobs of one measurement.
const JOBS: u64 = 100_000;

const WAYS: [Way; 4] = [
    Way { what: "by hand, 64 processes, batches of 10", side: ByHand, processes: 64, slots: 10, beside: None },
    Way { what: "64 processes, 10 slots", side: Faultline, processes: 64, slots: 10, beside: Some((0, None)) },
    Way { what: "by hand, 2 processes, batches of 500", side: ByHand, processes: 2, slots: 500, beside: None },
    Way { what: "2 processes, 500 slots", side: Faultline, processes: 2, slots: 500, beside: Some((2, None)) },
];

pub(super) async fn run(bench: &Bench<'_>) -> Result<Outcome> {
    let jobs = bench.options.jobs(JOBS);
    let mut outcome =
        bench.outcome(format!("{jobs} no-op jobs, from the start of the first process to the last job's finish."));
    compare(bench, &WAYS, jobs, &mut outcome).await?;
    Ok(outcome)
}
