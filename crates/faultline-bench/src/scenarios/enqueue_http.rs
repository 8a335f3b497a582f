//! Single enqueues over HTTP against a real `faultline serve`, each durably committed before its 201.

use crate::api::Api;
use crate::bench::Bench;
use crate::duty::{NOOP, QUEUE, latencies, percentile_ms};
use crate::error::{BenchError, Result};
use crate::figure::{Cost, Figure, Line, Outcome, Plot, Unit};
use crate::ground::Room;
use crate::http::Connection;
use crate::load::{ByHand, payload};
use crate::worker::mib;
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// How long each measurement lasts.
const LASTS: Duration = Duration::from_secs(4);

/// Connections at once, and the sessions by hand that they are compared with.
const WAYS: [(usize, usize); 3] = [(1, 1), (8, 8), (64, 32)];

struct Measured {
    rate: f64,
    latencies: Histogram<u64>,
    cost: Cost,
}

pub(super) async fn run(bench: &Bench<'_>) -> Result<Outcome> {
    let lasts = bench.options.duration(LASTS);
    let mut outcome = bench.outcome(format!(
        "POST /v1/jobs on connections that stay open, the next request when the last is answered, for {} s; by hand one insert and \
         one commit on as many sessions, prepared. Producers run on the same machine.",
        lasts.as_secs_f64()
    ));
    bench.plan(WAYS.len() * 2 * bench.options.repeats as usize);
    let mut lines = Vec::new();
    for (connections, sessions) in WAYS {
        let (hand_name, own_name) =
            (format!("by hand, {sessions} sessions"), format!("HTTP, {connections} connections"));
        let (mut by_hand, mut own) = (Vec::new(), Vec::new());
        for _ in 0..bench.options.repeats {
            by_hand
                .push(bench.measure(&hand_name, async |room| by_hand_rate(bench, room, sessions, lasts).await).await?);
            own.push(bench.measure(&own_name, async |room| http_rate(bench, room, connections, lasts).await).await?);
        }
        let ceiling = figure(&hand_name, &by_hand);
        let figure = figure(&own_name, &own).beside(&ceiling);
        outcome.figures.push(ceiling);
        outcome.figures.push(if connections == 64 {
            let met = figure.ratio.is_some_and(|ratio| ratio > 1.0);
            figure.budget("above it", met)
        } else {
            figure
        });
        for (name, measured, own) in [(hand_name, by_hand, false), (own_name, own, true)] {
            lines.extend(measured.last().map(|last| Line { name, own, points: distribution(&last.latencies) }));
        }
    }
    outcome.plots.push(distributions("Time to the durable answer (last repeat)", lines));
    Ok(outcome)
}

fn figure(what: &str, measured: &[Measured]) -> Figure {
    let mut all = latencies();
    measured.iter().for_each(|one| all += &one.latencies);
    let note = format!("answered in p50 {:.2} ms, p99 {:.2} ms", percentile_ms(&all, 50.0), percentile_ms(&all, 99.0));
    let costs: Vec<Cost> = measured.iter().map(|one| one.cost).collect();
    Figure::new(what, Unit::JobsPerSecond, measured.iter().map(|one| one.rate).collect()).costing(&costs).note(note)
}

/// Percentiles up to the last thousandth, against how many nines they have.
pub(super) fn distribution(latencies: &Histogram<u64>) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> =
        (0..=98).map(|percent| (f64::from(percent), percentile_ms(latencies, f64::from(percent)))).collect();
    points.extend((0..=20).map(|step| {
        let percent = 98.0 + f64::from(step) * 0.1;
        (percent, percentile_ms(latencies, percent))
    }));
    points
}

/// A plot of such.
pub(super) fn distributions(title: &str, lines: Vec<Line>) -> Plot {
    Plot { title: title.to_owned(), x: "percentile".to_owned(), y: "ms".to_owned(), log: true, lines }
}

async fn by_hand_rate(bench: &Bench<'_>, room: &Room, sessions: usize, lasts: Duration) -> Result<Measured> {
    let hands = try_join_all((0..sessions).map(|_| ByHand::new(room))).await?;
    let body = payload(bench.options.payload_bytes);
    let work = hands.into_iter().map(|hand| {
        let body = body.clone();
        tokio::spawn(async move {
            let (mut latencies, until) = (latencies(), Instant::now() + lasts);
            while Instant::now() < until {
                let began = Instant::now();
                hand.insert_one(NOOP, &body).await?;
                record(&mut latencies, began);
            }
            Ok(latencies)
        })
    });
    timed(bench, room, "by_hand", work).await
}

async fn http_rate(bench: &Bench<'_>, room: &Room, connections: usize, lasts: Duration) -> Result<Measured> {
    let api = Api::start(bench, room).await?;
    let open = try_join_all((0..connections).map(|_| Connection::open(api.address))).await?;
    let payload = payload(bench.options.payload_bytes);
    let body = format!("{{\"kind\":\"{NOOP}\",\"queue\":\"{QUEUE}\",\"payload\":{payload}}}");
    let work = open.into_iter().map(|mut connection| {
        let body = body.clone();
        tokio::spawn(async move {
            let (mut latencies, until) = (latencies(), Instant::now() + lasts);
            while Instant::now() < until {
                let began = Instant::now();
                let status = connection.post("/v1/jobs", &body).await?;
                if status != 201 {
                    return Err(BenchError::Void(format!("the API has answered {status}")));
                }
                record(&mut latencies, began);
            }
            Ok(latencies)
        })
    });
    let mut measured = timed(bench, room, "faultline", work).await?;
    let account = api.end().await?;
    #[expect(clippy::cast_precision_loss, reason = "numbers of jobs are far below what a float holds exactly")]
    let jobs = measured.latencies.len() as f64;
    measured.cost.worker_cpu_us = account.map(|account| account.cpu.as_secs_f64() * 1e6 / jobs);
    measured.cost.worker_peak_mib = account.map(|account| mib(account.peak_kib));
    Ok(measured)
}

fn record(latencies: &mut Histogram<u64>, began: Instant) {
    latencies.saturating_record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX).max(1));
}

/// Runs producers, and compares what they were told with what the table holds.
async fn timed(
    bench: &Bench<'_>,
    room: &Room,
    schema: &str,
    work: impl Iterator<Item = tokio::task::JoinHandle<Result<Histogram<u64>>>>,
) -> Result<Measured> {
    bench.ground.settle().await?;
    let (wal, server, began) = (room.wal_bytes().await?, bench.ground.cpu(), Instant::now());
    let mut all = latencies();
    for producer in work.collect::<Vec<_>>() {
        all += &producer.await.map_err(|_| BenchError::Process("a producer has panicked".into()))??;
    }
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "numbers of jobs are far below what a float holds exactly")]
    let jobs = all.len() as f64;
    let cpu = bench.ground.cpu().zip(server).map(|(now, then)| (now - then).as_secs_f64() * 1e6 / jobs);
    let wal_bytes = Some((room.wal_bytes().await? - wal) / jobs);
    let held = room.number(&format!("select count(*) from {schema}.jobs")).await?;
    if (held - jobs).abs() > 0.5 {
        return Err(BenchError::Void(format!("{jobs} enqueues were answered, {held} jobs are there")));
    }
    Ok(Measured {
        rate: jobs / seconds,
        latencies: all,
        cost: Cost { wal_bytes, postgres_cpu_us: cpu, ..Cost::default() },
    })
}
