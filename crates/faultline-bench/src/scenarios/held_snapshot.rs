//! A drain while somebody's forgotten transaction keeps every dead row: what it costs after so many jobs.

use super::ways::over_time;
use crate::bench::Bench;
use crate::drain::{Drain, Drained};
use crate::duty::Side::{self, ByHand, Faultline};
use crate::error::Result;
use crate::figure::{Figure, Outcome, Unit};
use crate::load::{Load, fill};

/// Jobs that are worked off under the snapshot before the measured part.
const BEFORE: u64 = 200_000;
/// That part, as percent of those before: the more there are, the dearer and the rarer are looks from the head, and some of them belong into it.
const MEASURED_PERCENT: u64 = 30;

struct Way {
    what: &'static str,
    side: Side,
    slots: usize,
    /// Small batches are slow, and pile up dead entries for longer between two sweeps: a part of the jobs is enough.
    share: u64,
}

const WAYS: [Way; 3] = [
    Way { what: "by hand, batches of 500", side: ByHand, slots: 500, share: 1 },
    Way { what: "500 slots", side: Faultline, slots: 500, share: 1 },
    Way { what: "20 slots", side: Faultline, slots: 20, share: 4 },
];

pub(super) async fn run(bench: &Bench<'_>) -> Result<Outcome> {
    let before = bench.options.jobs(BEFORE);
    let measured = before * MEASURED_PERCENT / 100;
    let mut outcome = bench.outcome(format!(
        "One process. A repeatable-read snapshot is taken before the first job and held to the end; {before} jobs are worked off under it \
         (a quarter of that with 20 slots), then the rate of the following {measured} (or a quarter) is taken, from the history's times. \
         The ratio is to the same without a snapshot."
    ));
    bench.plan(WAYS.len() * 2 * bench.options.repeats as usize);
    let mut last: Vec<(String, Side, Drained)> = Vec::new();
    for way in &WAYS {
        let (before, measured) = (before / way.share, measured / way.share);
        let names = [format!("{}, no snapshot", way.what), format!("{}, snapshot held", way.what)];
        let mut drained: [Vec<Drained>; 2] = [Vec::new(), Vec::new()];
        for _ in 0..bench.options.repeats {
            for (held, drained) in [false, true].into_iter().zip(&mut drained) {
                let one = bench.measure(&names[usize::from(held)], async |room| {
                    let holder = room.another().await?;
                    if held {
                        let take = "begin isolation level repeatable read; select count(*) from faultline.jobs";
                        holder.batch_execute(take).await?;
                    }
                    fill(room, way.side, Load::now(before + measured, bench.options.payload_bytes)).await?;
                    Drain::all(way.side, 1, way.slots, before + measured).run(bench, room, Some(before)).await
                });
                drained.push(one.await?);
            }
        }
        let rates = |drained: &[Drained]| drained.iter().filter_map(|one| one.tail_rate).collect();
        let free = Figure::new(names[0].clone(), Unit::JobsPerSecond, rates(&drained[0]));
        let held = Figure::new(names[1].clone(), Unit::JobsPerSecond, rates(&drained[1])).beside(&free);
        outcome.figures.push(free);
        outcome.figures.push(if way.side == Faultline { held.at_least(0.9) } else { held });
        for (name, drained) in names.into_iter().zip(drained) {
            last.extend(drained.into_iter().next_back().map(|one| (name, way.side, one)));
        }
    }
    let last: Vec<_> = last.iter().map(|(name, side, one)| (name.as_str(), *side, one)).collect();
    outcome.plots = over_time(&last);
    Ok(outcome)
}
