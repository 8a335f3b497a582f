//! A drain with many more jobs waiting behind: due ones in `backlog`, future-dated ones in `scheduled`.

use super::ways::{figure, over_time};
use crate::bench::Bench;
use crate::drain::{Drain, Drained};
use crate::duty::Side::Faultline;
use crate::error::Result;
use crate::figure::Outcome;
use crate::ground::Room;
use crate::load::{Load, fill};
use std::time::Duration;

/// Jobs that are worked off in one measurement.
const JOBS: u64 = 200_000;
/// Jobs that wait behind them: few, many due, many that are due tomorrow.
const FEW: u64 = 10_000;
const MANY_DUE: u64 = 10_000_000;
const MANY_LATER: u64 = 1_000_000;
const LATER: Duration = Duration::from_secs(24 * 3600);
/// Of a worker at its best.
const SLOTS: usize = 2000;

/// A backlog of due jobs.
pub(super) async fn due(bench: &Bench<'_>) -> Result<Outcome> {
    let many = bench.options.scaled(MANY_DUE);
    let about = format!(
        "with {many} due jobs behind them, which were put there once; the first are worked off, repeat after repeat"
    );
    compare(bench, &about, Load::now(many, bench.options.payload_bytes)).await
}

/// A backlog of future-dated jobs.
pub(super) async fn scheduled(bench: &Bench<'_>) -> Result<Outcome> {
    let many = bench.options.scaled(MANY_LATER);
    let about = format!("with {many} jobs beside them that are due tomorrow");
    compare(bench, &about, Load { delay: LATER, ..Load::now(many, bench.options.payload_bytes) }).await
}

async fn compare(bench: &Bench<'_>, about: &str, behind: Load) -> Result<Outcome> {
    let jobs = bench.options.jobs(JOBS);
    let few = bench.options.scaled(FEW);
    let mut outcome = bench.outcome(format!(
        "About {jobs} no-op jobs by one process of {SLOTS} slots {about}, beside the same with {few} behind them. The rate is that of \
         all jobs that were finished until it stopped."
    ));
    bench.plan(2 * bench.options.repeats as usize + 1);
    let (few_behind, many_behind) = bench
        .measure("filling", async |room| {
            fill(room, Faultline, behind).await?;
            let (mut few_behind, mut many_behind) = (Vec::new(), Vec::new());
            for _ in 0..bench.options.repeats {
                let beside = bench.measure("few behind", async |room| {
                    fill(room, Faultline, Load::now(jobs + few, bench.options.payload_bytes)).await?;
                    drain(bench, room, jobs).await
                });
                few_behind.push(beside.await?);
                // Those that are due tomorrow stay; of the others there are enough.
                if !behind.delay.is_zero() {
                    fill(room, Faultline, Load::now(jobs + few, bench.options.payload_bytes)).await?;
                }
                many_behind.push(drain(bench, room, jobs).await?);
            }
            Ok((few_behind, many_behind))
        })
        .await?;
    let few_figure = figure("few behind", &few_behind);
    let many_figure = figure("many behind", &many_behind).beside(&few_figure).at_least(0.9);
    outcome.figures.extend([few_figure, many_figure]);
    let last = [("few behind", few_behind.last()), ("many behind", many_behind.last())];
    let last: Vec<_> = last.into_iter().filter_map(|(name, one)| Some((name, Faultline, one?))).collect();
    outcome.plots = over_time(&last);
    Ok(outcome)
}

async fn drain(bench: &Bench<'_>, room: &Room, jobs: u64) -> Result<Drained> {
    Drain { leaves_some: true, ..Drain::all(Faultline, 1, SLOTS, jobs) }.run(bench, room, None).await
}
