//! Handlers that wait for minutes in one worker: do their leases hold, does its memory, and do short jobs beside them start as soon as
//! they do alone?

use super::enqueue_http::{distribution, distributions};
use super::latency::{GAP_MS, WARM_UP, timed_payload};
use crate::accounts;
use crate::bench::Bench;
use crate::crew::{Crew, Told};
use crate::duty::{Duty, LONG_QUEUE, NOOP, QUEUE, Side, TIMED, Tick, WAIT, gathered, percentile_ms};
use crate::error::{BenchError, Result};
use crate::figure::{Figure, Line, Outcome, Plot, Unit, thinned};
use crate::ground::Room;
use crate::load::through_library;
use crate::worker::mib;
use faultline::{Client, DEFAULT_SLOTS};
use hdrhistogram::Histogram;
use serde_json::json;
use serde_json::value::to_raw_value;
use std::time::{Duration, Instant};

/// Handlers that wait.
const LONG: u64 = 5000;
/// How long each waits: long enough for a lease to be renewed again and again.
const LASTS: Duration = Duration::from_secs(30);
/// Short jobs alone need no longer than this.
const ALONE: Duration = Duration::from_secs(30);
/// What the long ones have to start, and to end.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// Between two looks at memory and leases.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What must be left of a lease of 15 s that is renewed each 5 s.
const LEAST_LEFT_MS: f64 = 5000.0;

struct Measured {
    started: Histogram<u64>,
    claim_ms: f64,
    peak_mib: f64,
    cpu_percent: f64,
    looks: Vec<Look>,
}

struct Look {
    at_s: f64,
    resident_mib: f64,
    /// The least that is left of a long job's lease.
    left_ms: f64,
}

pub(super) async fn run(bench: &Bench<'_>) -> Result<Outcome> {
    let lasts = bench.options.duration(LASTS);
    let long = bench.options.scaled(LONG);
    let mut outcome = bench.outcome(format!(
        "One process with {DEFAULT_SLOTS} slots for short jobs and {LONG} for long ones: {long} handlers wait for {} s. Meanwhile single \
         short jobs, 15 to 45 ms apart, each from before its enqueue is sent to the start of its handler, beside the same without long \
         ones. Every long job must succeed in its first attempt.",
        lasts.as_secs_f64()
    ));
    bench.plan(2 * bench.options.repeats as usize);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..bench.options.repeats {
        alone.push(
            bench.measure("short jobs alone", async |room| measure(bench, room, 0, lasts.min(ALONE)).await).await?,
        );
        let what = format!("beside {long} that wait");
        beside.push(bench.measure(&what, async |room| measure(bench, room, long, lasts).await).await?);
    }
    for (percent, limit_ms) in [(50.0, 3.0), (99.0, 10.0)] {
        let of = |what: &str, all: &[Measured]| {
            let values = all.iter().map(|one| percentile_ms(&one.started, percent)).collect();
            Figure::new(format!("short jobs {what}, p{percent:.0}"), Unit::Milliseconds, values)
        };
        let floor = of("alone", &alone);
        let figure = of("beside", &beside).beside(&floor).below(limit_ms);
        outcome.figures.extend([floor, figure]);
    }
    let of = |what: &str, unit, all: &[Measured], of: fn(&Measured) -> f64| {
        Figure::new(what, unit, all.iter().map(of).collect())
    };
    let floor = of("mean claim, short jobs alone", Unit::Milliseconds, &alone, |one| one.claim_ms);
    let claims = of("mean claim beside", Unit::Milliseconds, &beside, |one| one.claim_ms).beside(&floor);
    let memory = of("memory of the worker alone, at most", Unit::Mebibytes, &alone, |one| one.peak_mib);
    let processor: Vec<String> = beside.iter().map(|one| format!("{:.1}", one.cpu_percent)).collect();
    let with_long = of("memory of the worker beside, at most", Unit::Mebibytes, &beside, |one| one.peak_mib)
        .beside(&memory)
        .note(format!("{} % of a processor", processor.join(", ")));
    let left = of("least left of a lease", Unit::Milliseconds, &beside, |one| {
        one.looks.iter().map(|look| look.left_ms).fold(f64::INFINITY, f64::min)
    });
    let met = left.low > LEAST_LEFT_MS;
    let left = left.budget(format!("above {}", Unit::Milliseconds.show(LEAST_LEFT_MS)), met);
    outcome.figures.extend([floor, claims, memory, with_long, left]);
    outcome.plots.extend(plots(alone.last(), beside.last()));
    Ok(outcome)
}

fn plots(alone: Option<&Measured>, beside: Option<&Measured>) -> Vec<Plot> {
    let started = [("alone", alone, false), ("beside long ones", beside, true)]
        .into_iter()
        .filter_map(|(name, one, own)| Some(Line { name: name.to_owned(), own, points: distribution(&one?.started) }));
    let over_time = |title: &str, y: &str, of: fn(&Look) -> f64| {
        let points: Vec<_> = beside.iter().flat_map(|one| &one.looks).map(|look| (look.at_s, of(look))).collect();
        let line = Line { name: "beside long ones".to_owned(), own: true, points: thinned(&points) };
        Plot { title: title.to_owned(), x: "seconds".to_owned(), y: y.to_owned(), log: false, lines: vec![line] }
    };
    vec![
        distributions("Short jobs: enqueue to handler start (last repeat)", started.collect()),
        over_time("Memory of the worker", "MiB", |look| look.resident_mib),
        over_time("Least left of a long job's lease", "ms", |look| look.left_ms),
    ]
}

async fn measure(bench: &Bench<'_>, room: &Room, long: u64, lasts: Duration) -> Result<Measured> {
    let client = Client::connect(&room.url).await?;
    let duty = Duty {
        long_slots: Some(usize::try_from(LONG).unwrap_or(usize::MAX)),
        ..Duty::new(Side::Faultline, DEFAULT_SLOTS)
    };
    let mut crew = Crew::start(&bench.options.program, room, &duty, 1).await?;
    let enqueue = async |kind: &str| client.enqueue_raw(kind, timed_payload()).queue(QUEUE).await;
    for warming in 1..=WARM_UP {
        enqueue(NOOP).await?;
        crew.handled(warming).await?;
    }
    let began = Instant::now();
    let payload = to_raw_value(&json!({ "for_ms": u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX) }));
    let payload = payload.expect("a number is JSON");
    let job = |_| client.enqueue_raw(WAIT, payload.clone()).queue(LONG_QUEUE).into_new_job();
    through_library(&client, &(0..long).map(job).collect::<std::result::Result<Vec<_>, _>>()?).await?;
    count(
        room,
        &format!("select count(*) from faultline.jobs where queue = '{LONG_QUEUE}' and state = 'running'"),
        long,
    )
    .await?;
    let cpu = || crew.pids().first().copied().and_then(accounts::of).map(|account| account.cpu);
    let (cpu_before, short_began) = (cpu(), Instant::now());
    let (mut short, mut looks) = (0, Vec::new());
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    while began.elapsed() < lasts {
        tokio::select! {
            biased;
            _ = ticks.tick() => looks.push(look(room, &crew, began).await?),
            () = tokio::time::sleep(Duration::from_millis(rand::random_range(GAP_MS))) => {
                enqueue(TIMED).await?;
                short += 1;
            }
        }
    }
    let cpu = cpu().zip(cpu_before).map_or(f64::NAN, |(after, before)| (after - before).as_secs_f64());
    let cpu_percent = cpu * 100.0 / short_began.elapsed().as_secs_f64();
    crew.handled(WARM_UP + short).await?;
    // A long job that lost its lease runs again, and has more than one attempt or a crash behind it then.
    let well = format!(
        "select count(*) from faultline.job_history where queue = '{LONG_QUEUE}' and state = 'succeeded' and attempts = 1 and crashes = 0"
    );
    count(room, &well, long).await?;
    let told = crew.dismiss().await?;
    Ok(Measured {
        started: gathered(told.ends.iter().flat_map(|end| &end.latencies)),
        claim_ms: claim_ms(&told),
        peak_mib: told.ends.iter().filter_map(|end| end.peak_mib).fold(0.0, f64::max),
        cpu_percent,
        looks,
    })
}

/// Waits until a query counts so many.
async fn count(room: &Room, sql: &str, wanted: u64) -> Result<()> {
    let until = Instant::now() + LIMIT;
    loop {
        let found = room.number(sql).await?;
        #[expect(clippy::cast_precision_loss, reason = "numbers of jobs are far below what a float holds exactly")]
        if (found - wanted as f64).abs() < 0.5 {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(BenchError::Void(format!("{found} of {wanted} after {} s: {sql}", LIMIT.as_secs())));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn look(room: &Room, crew: &Crew, began: Instant) -> Result<Look> {
    let left = format!(
        "select coalesce(min(extract(epoch from lease_expires_at - clock_timestamp())), 'infinity') * 1000
           from faultline.jobs where queue = '{LONG_QUEUE}' and state = 'running'"
    );
    let left_ms = room.number(&left).await?;
    let resident = crew.pids().into_iter().filter_map(accounts::of).map(|account| account.resident_kib).max();
    Ok(Look { at_s: began.elapsed().as_secs_f64(), resident_mib: mib(resident.unwrap_or(0)), left_ms })
}

/// The mean duration of a claim over the whole measurement.
#[expect(clippy::cast_precision_loss, reason = "numbers of claims are far below what a float holds exactly")]
fn claim_ms(told: &Told) -> f64 {
    let Tick { claims, claim_s, .. } = told.ticks.last().map(|(_, tick)| *tick).unwrap_or_default();
    claim_s * 1000.0 / claims as f64
}
