//! Producers and workers together at a given rate, for as long as is asked: does it keep up, and stay as it was?
//!
//! Each job has its own moment on a schedule that was laid down before; latencies count from that moment, whenever its enqueue was
//! really sent. A producer that is held up sends late, and every job that it held up counts as late (no coordinated omission).

use super::enqueue_http::{distribution, distributions};
use crate::accounts;
use crate::api::Api;
use crate::bench::Bench;
use crate::crew::Crew;
use crate::drain::{Sampler, throughput};
use crate::duty::{Duty, QUEUE, Side, TIMED, Tick, gathered, latencies, now_ns, percentile_ms};
use crate::error::{BenchError, Result};
use crate::figure::{Figure, Line, Outcome, Plot, Unit, median, thinned};
use crate::ground::Room;
use crate::http::Connection;
use crate::load::ByHand;
use crate::worker::mib;
use faultline::Client;
use hdrhistogram::Histogram;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use uuid::Uuid;

/// How long a measurement lasts.
const LASTS: Duration = Duration::from_secs(20);
/// By hand no longer than this: it is there to compare with, and an hour shall take an hour.
const BY_HAND_LASTS: Duration = Duration::from_secs(60);
/// Producers, each with its share of the rate, and how often each looks what is due. The last of Faultline's goes through the API.
const PRODUCERS: u32 = 4;
const TICK: Duration = Duration::from_millis(5);
/// Jobs of one statement at most.
const CHUNK: usize = 1000;
/// Worker processes, and the slots of each.
const WORKERS: usize = 2;
const SLOTS: usize = 500;
/// Between two looks at memory and sizes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

struct Measured {
    reached: f64,
    acknowledged: Histogram<u64>,
    started: Histogram<u64>,
    ticks: Vec<(usize, Tick)>,
    began_ns: u64,
    dead: Vec<(f64, f64)>,
    looks: Vec<Look>,
}

/// Memory and size at one moment.
struct Look {
    at_s: f64,
    worker_mib: f64,
    api_mib: f64,
    table_mib: f64,
}

pub(super) async fn run(bench: &Bench<'_>) -> Result<Outcome> {
    let (lasts, rate) = (bench.options.duration(LASTS), bench.options.rate);
    let mut outcome = bench.outcome(format!(
        "{rate} jobs a second for {} s from {PRODUCERS} producers, one of them through an API process, to {WORKERS} worker processes of {SLOTS} slots; \
         each latency counts from the job's own moment on the schedule. By hand producers insert in the same portions and notify apart, for {} s.",
        lasts.as_secs_f64(),
        lasts.min(BY_HAND_LASTS).as_secs_f64()
    ));
    bench.plan(2 * bench.options.repeats as usize);
    let (mut by_hand, mut own) = (Vec::new(), Vec::new());
    for _ in 0..bench.options.repeats {
        by_hand.push(
            bench
                .measure("by hand", async |room| {
                    measure(bench, room, Side::ByHandListening, lasts.min(BY_HAND_LASTS)).await
                })
                .await?,
        );
        own.push(bench.measure("library", async |room| measure(bench, room, Side::Faultline, lasts).await).await?);
    }
    let asked = Figure::new("asked for", Unit::JobsPerSecond, vec![f64::from(rate); own.len()]);
    let reached = own.iter().map(|one| one.reached).collect();
    let reached = Figure::new("library, finished", Unit::JobsPerSecond, reached).beside(&asked).at_least(0.99);
    outcome.figures.extend([asked, reached]);
    for (what, of) in [
        ("acknowledged", (|one| &one.acknowledged) as fn(&Measured) -> &Histogram<u64>),
        ("handler started", |one| &one.started),
    ] {
        for percent in [50.0, 99.0, 99.9] {
            let figure = |who: &str, all: &[Measured]| {
                let values = all.iter().map(|one| percentile_ms(of(one), percent)).collect();
                Figure::new(format!("{who}, {what}, p{percent}"), Unit::Milliseconds, values)
            };
            let floor = figure("by hand", &by_hand);
            let own = figure("library", &own).beside(&floor);
            outcome.figures.extend([floor, own]);
        }
    }
    outcome.figures.extend(flatness(&own));
    let (hand, own) = (by_hand.last(), own.last());
    outcome.plots = [hand.map(|one| ("by hand", one, false)), own.map(|one| ("library", one, true))]
        .into_iter()
        .flatten()
        .fold(empty_plots(), |plots, (name, one, own)| with_lines(plots, name, own, one));
    Ok(outcome)
}

/// What grows from the first third to the end, though the rate stays.
fn flatness(own: &[Measured]) -> Vec<Figure> {
    let early_and_late = |of: fn(&Look) -> f64| -> (Vec<f64>, Vec<f64>) {
        let ends = own.iter().filter_map(|one| Some((of(one.looks.get(one.looks.len() / 3)?), of(one.looks.last()?))));
        ends.unzip()
    };
    let figures = |what: &str, of: fn(&Look) -> f64| {
        let (early, late) = early_and_late(of);
        let early = Figure::new(format!("{what} after a third"), Unit::Mebibytes, early);
        let late = Figure::new(format!("{what} at the end"), Unit::Mebibytes, late).beside(&early);
        [early, late]
    };
    // Of each tenth of a second all but a hundredth started no later; the median of those.
    let late_ms = |third: usize| -> Vec<f64> { own.iter().map(|one| one.late_ms(third)).collect() };
    let early = Figure::new("p99 of a tenth of a second, first third", Unit::Milliseconds, late_ms(0));
    let late = Figure::new("p99 of a tenth of a second, last third", Unit::Milliseconds, late_ms(2)).beside(&early);
    [
        vec![early, late],
        figures("hot table with indexes", |look| look.table_mib).to_vec(),
        figures("memory of a worker", |look| look.worker_mib).to_vec(),
        figures("memory of the API", |look| look.api_mib).to_vec(),
    ]
    .concat()
}

impl Measured {
    /// All but a hundredth of each worker's tenth of a second started no later, ms; over time.
    #[expect(clippy::cast_precision_loss, reason = "latencies are far below what a float holds exactly")]
    fn late(&self) -> Vec<(f64, f64)> {
        let late = self.ticks.iter().filter_map(|(_, tick)| {
            let at_s = tick.at_ns.saturating_sub(self.began_ns) as f64 / 1e9;
            Some((at_s, tick.late_p99_us? as f64 / 1000.0))
        });
        let mut late: Vec<(f64, f64)> = late.collect();
        late.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        late
    }

    /// The median of those in a third of the time, counted from 0.
    fn late_ms(&self, third: usize) -> f64 {
        let late: Vec<f64> = self.late().into_iter().map(|(_, ms)| ms).collect();
        let length = late.len() / 3;
        median(&late[third * length..(third + 1) * length])
    }
}

fn empty_plots() -> Vec<Plot> {
    let over_time = |title: &str, y: &str| Plot {
        title: title.to_owned(),
        x: "seconds".to_owned(),
        y: y.to_owned(),
        log: false,
        lines: Vec::new(),
    };
    vec![
        distributions("From a job's moment to its handler's start (last repeat)", Vec::new()),
        distributions("From a job's moment to the durable answer (last repeat)", Vec::new()),
        over_time("Throughput over time", "jobs a second"),
        over_time("Handler starts over time: all but a hundredth of each tenth of a second", "ms"),
        over_time("Dead rows of the hot table over time", "rows"),
        over_time("Size of the hot table with its indexes", "MiB"),
        over_time("Memory of the largest worker", "MiB"),
        over_time("Memory of the API", "MiB"),
    ]
}

fn with_lines(mut plots: Vec<Plot>, name: &str, own: bool, one: &Measured) -> Vec<Plot> {
    let look = |of: fn(&Look) -> f64| thinned(&one.looks.iter().map(|look| (look.at_s, of(look))).collect::<Vec<_>>());
    let points = [
        distribution(&one.started),
        distribution(&one.acknowledged),
        throughput(&one.ticks, one.began_ns),
        thinned(&one.late()),
        thinned(&one.dead),
        look(|look| look.table_mib),
        look(|look| look.worker_mib),
        if own { look(|look| look.api_mib) } else { Vec::new() },
    ];
    for (plot, points) in plots.iter_mut().zip(points) {
        plot.lines.push(Line { name: name.to_owned(), own, points });
    }
    plots
}

async fn measure(bench: &Bench<'_>, room: &Room, side: Side, lasts: Duration) -> Result<Measured> {
    bench.ground.settle().await?;
    let schema = side.schema();
    let mut crew = Crew::start(&bench.options.program, room, &Duty::new(side, SLOTS), WORKERS).await?;
    let api = if side == Side::Faultline { Some(Api::start(bench, room).await?) } else { None };
    let sampler = Sampler::start(room, schema).await?;
    let (began, began_ns) = (Instant::now(), now_ns());
    let mut producers = JoinSet::new();
    for number in 0..PRODUCERS {
        let producer = Producer {
            client: Client::connect(&room.url).await?,
            hand: ByHand::new(room).await?,
            api: match &api {
                Some(api) if number == PRODUCERS - 1 => Some(Connection::open(api.address).await?),
                _ => None,
            },
            side,
            every: Duration::from_secs(1) * PRODUCERS / bench.options.rate,
            first: Duration::from_secs(1) * number / bench.options.rate,
            bytes: bench.options.payload_bytes,
        };
        producers.spawn(producer.run(lasts));
    }
    let (mut acknowledged, mut sent, mut looks) = (latencies(), 0, Vec::new());
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            biased;
            done = producers.join_next() => match done {
                Some(done) => {
                    let told = done.map_err(|_| BenchError::Process("a producer has panicked".into()))??;
                    sent += told.len();
                    acknowledged += &told;
                }
                None => break,
            },
            _ = ticks.tick() => looks.push(look(room, schema, &crew, api.as_ref(), began).await?),
        }
    }
    crew.handled(sent).await?;
    looks.push(look(room, schema, &crew, api.as_ref(), began).await?);
    let told = crew.dismiss().await?;
    if let Some(api) = api {
        api.end().await?;
    }
    let dead = sampler.end(began).await;
    let well = format!("select count(*) from {schema}.job_history where state = 'succeeded' and attempts = 1");
    let span = format!("select extract(epoch from max(finished_at) - min(created_at)) from {schema}.job_history");
    let (finished, first_to_last) = (room.number(&well).await?, room.number(&span).await?);
    #[expect(clippy::cast_precision_loss, reason = "numbers of jobs are far below what a float holds exactly")]
    if (finished - sent as f64).abs() > 0.5 {
        return Err(BenchError::Void(format!(
            "{sent} jobs were acknowledged, {finished} have succeeded in their first attempt"
        )));
    }
    Ok(Measured {
        reached: finished / first_to_last,
        acknowledged,
        started: gathered(told.ends.iter().flat_map(|end| &end.latencies)),
        ticks: told.ticks,
        began_ns,
        dead,
        looks,
    })
}

async fn look(room: &Room, schema: &str, crew: &Crew, api: Option<&Api>, began: Instant) -> Result<Look> {
    let bytes = room.number(&format!("select pg_total_relation_size('{schema}.jobs')")).await?;
    let resident = crew.pids().into_iter().filter_map(accounts::of).map(|account| account.resident_kib).max();
    let api = api.and_then(Api::account).map(|account| account.resident_kib);
    let (worker_mib, api_mib) = (mib(resident.unwrap_or(0)), mib(api.unwrap_or(0)));
    Ok(Look { at_s: began.elapsed().as_secs_f64(), worker_mib, api_mib, table_mib: bytes / f64::from(1 << 20) })
}

/// One who enqueues on a schedule.
struct Producer {
    client: Client,
    hand: ByHand,
    /// One that goes through the API.
    api: Option<Connection>,
    side: Side,
    every: Duration,
    first: Duration,
    bytes: usize,
}

impl Producer {
    /// Enqueues whatever is due, in as few statements as that takes; answers how late each was acknowledged.
    async fn run(mut self, lasts: Duration) -> Result<Histogram<u64>> {
        let (began, began_ns) = (Instant::now(), now_ns());
        let (first, every) = (self.first, self.every);
        let moment = |number: u32| first + every * number;
        let mut told = latencies();
        let mut next = 0;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while moment(next) < lasts {
            ticks.tick().await;
            let now = began.elapsed().min(lasts);
            while moment(next) < now {
                let due: Vec<u64> = (next..)
                    .map(moment)
                    .take_while(|at| *at < now)
                    .take(CHUNK)
                    .map(|at| began_ns + u64::try_from(at.as_nanos()).unwrap_or(u64::MAX))
                    .collect();
                self.enqueue(&due).await?;
                let answered = now_ns();
                due.iter().for_each(|at| told.saturating_record((answered.saturating_sub(*at) / 1000).max(1)));
                next += u32::try_from(due.len()).unwrap_or(u32::MAX);
            }
        }
        Ok(told)
    }

    async fn enqueue(&mut self, due: &[u64]) -> Result<()> {
        let pad = "x".repeat(self.bytes.saturating_sub(40));
        let payload =
            |at: &u64| to_raw_value(&json!({ "at_ns": at, "pad": pad })).expect("numbers and letters are JSON");
        if let Some(api) = &mut self.api {
            let job = |at| format!("{{\"kind\":\"{TIMED}\",\"queue\":\"{QUEUE}\",\"payload\":{}}}", payload(at));
            let jobs: Vec<String> = due.iter().map(job).collect();
            // Jobs that it refuses one by one are missing in the history.
            return match api.post("/v1/jobs/batch", &format!("{{\"jobs\":[{}]}}", jobs.join(","))).await? {
                200 => Ok(()),
                status => Err(BenchError::Void(format!("the API has answered {status}"))),
            };
        }
        if self.side == Side::Faultline {
            let job = |at| self.client.enqueue_raw(TIMED, payload(at)).queue(QUEUE).into_new_job();
            let jobs = due.iter().map(job).collect::<std::result::Result<Vec<_>, _>>()?;
            return crate::load::through_library(&self.client, &jobs).await;
        }
        let rows: Vec<(Uuid, Box<RawValue>)> = due.iter().map(|at| (Uuid::now_v7(), payload(at))).collect();
        self.hand.insert(TIMED, &rows).await?;
        self.hand.notify().await
    }
}
