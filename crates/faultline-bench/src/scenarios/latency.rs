//! From an enqueue on an idle system to the start of its handler, in another process.

use super::enqueue_http::{distribution, distributions};
use crate::bench::Bench;
use crate::crew::Crew;
use crate::duty::{Duty, NOOP, QUEUE, Side, TIMED, gathered, now_ns, percentile_ms};
use crate::error::Result;
use crate::figure::{Figure, Line, Outcome, Unit};
use crate::ground::Room;
use crate::load::ByHand;
use faultline::Client;
use hdrhistogram::Histogram;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use std::time::Duration;

/// Jobs of one measurement.
const JOBS: u64 = 300;
/// Jobs before them that open sessions and make plans.
pub(super) const WARM_UP: u64 = 20;
/// Between two jobs, so that each finds the system idle: a random time, since a fixed one could fall in with some period.
pub(super) const GAP_MS: std::ops::Range<u64> = 15..45;

pub(super) async fn run(bench: &Bench<'_>) -> Result<Outcome> {
    let jobs = if bench.options.quick { JOBS / 6 } else { JOBS };
    let mut outcome = bench.outcome(format!(
        "{jobs} single jobs on an idle system, 15 to 45 ms apart, from before the enqueue is sent to the start of the handler in \
         another process. By hand the insert and its NOTIFY are one transaction, and the listening process claims at once."
    ));
    bench.plan(2 * bench.options.repeats as usize);
    let (mut by_hand, mut own) = (Vec::new(), Vec::new());
    for _ in 0..bench.options.repeats {
        by_hand.push(
            bench.measure("by hand", async |room| measure(bench, room, Side::ByHandListening, jobs).await).await?,
        );
        own.push(bench.measure("library", async |room| measure(bench, room, Side::Faultline, jobs).await).await?);
    }
    for (percent, limit_ms) in [(50.0, Some(3.0)), (99.0, Some(10.0)), (100.0, None)] {
        let of = |what: &str, all: &[Histogram<u64>]| {
            let name = if percent < 100.0 { format!("{what}, p{percent:.0}") } else { format!("{what}, longest") };
            Figure::new(name, Unit::Milliseconds, all.iter().map(|one| percentile_ms(one, percent)).collect())
        };
        let floor = of("by hand", &by_hand);
        let figure = of("library", &own).beside(&floor);
        outcome.figures.push(floor);
        outcome.figures.push(match limit_ms {
            Some(limit_ms) => figure.below(limit_ms),
            None => figure,
        });
    }
    let lines = [("by hand", &by_hand, false), ("library", &own, true)]
        .into_iter()
        .filter_map(|(name, all, own)| Some(Line { name: name.to_owned(), own, points: distribution(all.last()?) }));
    outcome.plots.push(distributions("Enqueue to handler start (last repeat)", lines.collect()));
    Ok(outcome)
}

async fn measure(bench: &Bench<'_>, room: &Room, side: Side, jobs: u64) -> Result<Histogram<u64>> {
    let (client, hand) = (Client::connect(&room.url).await?, ByHand::new(room).await?);
    let mut crew = Crew::start(&bench.options.program, room, &Duty::new(side, faultline::DEFAULT_SLOTS), 1).await?;
    let enqueue = async |kind: &str| {
        let payload = timed_payload();
        match side {
            Side::Faultline => client.enqueue_raw(kind, payload).queue(QUEUE).await.map(drop).map_err(Into::into),
            Side::ByHand | Side::ByHandListening => hand.insert_and_notify(kind, &payload).await,
        }
    };
    for warming in 1..=WARM_UP {
        enqueue(NOOP).await?;
        crew.handled(warming).await?;
    }
    for _ in 0..jobs {
        tokio::time::sleep(Duration::from_millis(rand::random_range(GAP_MS))).await;
        enqueue(TIMED).await?;
    }
    crew.handled(WARM_UP + jobs).await?;
    let told = crew.dismiss().await?;
    Ok(gathered(told.ends.iter().flat_map(|end| &end.latencies)))
}

/// A payload that says when it was made.
pub(super) fn timed_payload() -> Box<RawValue> {
    to_raw_value(&json!({ "at_ns": now_ns() })).expect("a number is JSON")
}
