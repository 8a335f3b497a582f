//! Many small workers on one queue, which meet on the same few rows.

use super::ways::{Part, Way, compare};
use crate::bench::Bench;
use crate::duty::Side::{ByHand, Faultline};
use crate::error::Result;
use crate::figure::Outcome;

/// Jobs of one measurement.
const JOBS: u64 = 200_000;

const WAYS: [Way; 4] = [
    Way { what: "by hand, 64 processes, batches of 10", side: ByHand, processes: 64, slots: 10, beside: None },
    Way { what: "64 processes, 10 slots", side: Faultline, processes: 64, slots: 10, beside: Some((0, None)) },
    Way { what: "by hand, 2 processes, batches of 500", side: ByHand, processes: 2, slots: 500, beside: None },
    Way { what: "2 processes, 500 slots", side: Faultline, processes: 2, slots: 500, beside: Some((2, None)) },
];

pub(super) async fn run(bench: &Bench<'_>) -> Result<Outcome> {
    let jobs = bench.options.jobs(JOBS);
    let mut outcome = bench.outcome(format!(
        "{jobs} no-op jobs; the rate is that of the second half, from the history's times, because 64 processes start one after the \
         other and the first have done many when the last are there. Costs are those of the whole."
    ));
    compare(bench, &WAYS, jobs, Part::SecondHalf, &mut outcome).await?;
    Ok(outcome)
}
