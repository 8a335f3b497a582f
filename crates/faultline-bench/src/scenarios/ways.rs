//! Several ways to drain, measured in turn, each beside the one that is its ceiling.

use crate::bench::Bench;
use crate::drain::{Drain, Drained};
use crate::duty::Side;
use crate::error::Result;
use crate::figure::{Figure, Line, Outcome, Plot, Unit, median};
use crate::load::{Load, fill};

/// One way to drain.
pub(super) struct Way {
    pub(super) what: &'static str,
    pub(super) side: Side,
    pub(super) processes: usize,
    pub(super) slots: usize,
    /// Which way is its ceiling, and how much of it is to be reached.
    pub(super) beside: Option<(usize, Option<f64>)>,
}

/// Which part of a drain counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// From the start of the first process.
    Whole,
    /// When all processes have long been there.
    SecondHalf,
}

/// Measures every way in each repeat.
pub(super) async fn compare(
    bench: &Bench<'_>,
    ways: &[Way],
    jobs: u64,
    part: Part,
    outcome: &mut Outcome,
) -> Result<()> {
    let repeats = bench.options.repeats;
    bench.plan(ways.len() * (repeats as usize + 1));
    let mut drained: Vec<Vec<Drained>> = ways.iter().map(|_| Vec::new()).collect();
    for repeat in 0..=repeats {
        for (way, drained) in ways.iter().zip(&mut drained) {
            // The first round warms up: programs, files, the processor.
            let jobs = if repeat == 0 { (jobs / 10).max(1) } else { jobs };
            let one = bench.measure(way.what, async |room| {
                fill(room, way.side, Load::now(jobs, bench.options.payload_bytes)).await?;
                let half = (part == Part::SecondHalf).then_some(jobs / 2);
                Drain::all(way.side, way.processes, way.slots, jobs).run(bench, room, half).await
            });
            let one = one.await?;
            if repeat > 0 {
                drained.push(one);
            }
        }
    }
    for (way, drained) in ways.iter().zip(&drained) {
        let mut figure = figure(way.what, drained);
        if part == Part::SecondHalf {
            let rates = drained.iter().filter_map(|one| one.tail_rate).collect();
            figure = Figure { cost: figure.cost, ..Figure::new(way.what, Unit::JobsPerSecond, rates) };
        }
        outcome.figures.push(match way.beside {
            Some((ceiling, Some(share))) => figure.beside(&outcome.figures[ceiling]).at_least(share),
            Some((ceiling, None)) => figure.beside(&outcome.figures[ceiling]),
            None => figure,
        });
    }
    let last = ways.iter().zip(&drained).filter_map(|(way, drained)| Some((way.what, way.side, drained.last()?)));
    outcome.plots.extend(over_time(&last.collect::<Vec<_>>()));
    Ok(())
}

/// The rates of some drains with their costs.
pub(super) fn figure(what: &str, drained: &[Drained]) -> Figure {
    let rates = drained.iter().map(|one| one.rate).collect();
    let costs: Vec<_> = drained.iter().map(|one| one.cost).collect();
    let stop_s: Vec<f64> = drained.iter().map(|one| one.stop_s).collect();
    let note = format!("stopping took {:.0} ms more", median(&stop_s) * 1000.0);
    Figure::new(what, Unit::JobsPerSecond, rates).costing(&costs).note(note)
}

/// What is drawn of drains.
pub(super) fn over_time(drained: &[(&str, Side, &Drained)]) -> Vec<Plot> {
    let plot = |title: &str, y: &str, of: fn(&Drained) -> &Vec<(f64, f64)>| {
        let line = |(name, side, drained): &(&str, Side, &Drained)| Line {
            name: (*name).to_owned(),
            own: *side == Side::Faultline,
            points: of(drained).clone(),
        };
        let lines = drained.iter().map(line).collect();
        Plot { title: title.to_owned(), x: "seconds".to_owned(), y: y.to_owned(), log: false, lines }
    };
    vec![
        plot("Throughput over time (last repeat)", "jobs a second", |one| &one.throughput),
        plot("Duration of a claim over time; by hand with the finish in the same round trip", "ms", |one| &one.claims),
        plot("Dead rows of the hot table over time", "rows", |one| &one.dead),
    ]
}
