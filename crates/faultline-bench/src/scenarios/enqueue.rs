//! How fast jobs come in by the thousand, each thousand durably committed.

use crate::bench::Bench;
use crate::duty::NOOP;
use crate::error::{BenchError, Result};
use crate::figure::{Cost, Figure, Outcome, Unit};
use crate::ground::Room;
use crate::load::{ByHand, Load, new_jobs, rows, through_library};
use faultline::Client;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;

/// Jobs of one measurement.
const JOBS: u64 = 300_000;
/// Sessions at once.
const SESSIONS: [usize; 2] = [1, 2];

pub(super) async fn run(bench: &Bench<'_>) -> Result<Outcome> {
    let jobs = bench.options.jobs(JOBS);
    let bytes = bench.options.payload_bytes;
    let mut outcome = bench.outcome(format!(
        "{jobs} jobs with payloads of {bytes} bytes, a statement and a commit for each thousand; by hand insert … select from unnest \
         into a table with the same columns and the same two indexes."
    ));
    bench.plan(SESSIONS.len() * 2 * (bench.options.repeats as usize + 1));
    for sessions in SESSIONS {
        let words = if sessions == 1 { "one session" } else { "two sessions" };
        let names = [format!("by hand, {words}"), format!("library, {words}")];
        let (mut by_hand, mut own) = (Vec::new(), Vec::new());
        for repeat in 0..=bench.options.repeats {
            let jobs = if repeat == 0 { jobs / 10 } else { jobs };
            let hand = bench.measure(&names[0], async |room| by_hand_rate(bench, room, jobs, sessions).await).await?;
            let library =
                bench.measure(&names[1], async |room| library_rate(bench, room, jobs, sessions).await).await?;
            if repeat > 0 {
                by_hand.push(hand);
                own.push(library);
            }
        }
        let figure = |what: &String, measured: &[(f64, Cost)]| {
            let costs: Vec<Cost> = measured.iter().map(|(_, cost)| *cost).collect();
            Figure::new(what, Unit::JobsPerSecond, measured.iter().map(|(rate, _)| *rate).collect()).costing(&costs)
        };
        let ceiling = figure(&names[0], &by_hand);
        let own = figure(&names[1], &own).beside(&ceiling).at_least(0.8);
        outcome.figures.extend([ceiling, own]);
    }
    Ok(outcome)
}

async fn by_hand_rate(bench: &Bench<'_>, room: &Room, jobs: u64, sessions: usize) -> Result<(f64, Cost)> {
    let mut parts = Vec::new();
    for _ in 0..sessions {
        parts.push((
            Arc::new(ByHand::new(room).await?),
            Arc::new(rows(jobs / sessions as u64, bench.options.payload_bytes)),
        ));
    }
    // What was made before the clock runs is given up after it has stopped.
    let work = parts.clone().into_iter().map(|(hand, rows)| async move { hand.insert(NOOP, &rows).await });
    timed(bench, room, "by_hand", work).await
}

async fn library_rate(bench: &Bench<'_>, room: &Room, jobs: u64, sessions: usize) -> Result<(f64, Cost)> {
    let mut parts = Vec::new();
    for _ in 0..sessions {
        let client = Client::connect(&room.url).await?;
        let load = Load::now(jobs, bench.options.payload_bytes);
        parts.push((client.clone(), Arc::new(new_jobs(&client, jobs / sessions as u64, load)?)));
    }
    let work = parts.clone().into_iter().map(|(client, jobs)| async move { through_library(&client, &jobs).await });
    timed(bench, room, "faultline", work).await
}

/// Jobs a second from the first statement to the last answer, and what they cost the server.
async fn timed<F>(bench: &Bench<'_>, room: &Room, schema: &str, work: impl Iterator<Item = F>) -> Result<(f64, Cost)>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    bench.ground.settle().await?;
    let (wal, server) = (room.wal_bytes().await?, bench.ground.cpu());
    let began = Instant::now();
    let mut tasks: JoinSet<Result<()>> = work.collect();
    while let Some(done) = tasks.join_next().await {
        done.map_err(|_| BenchError::Process("an enqueue has panicked".into()))??;
    }
    let seconds = began.elapsed().as_secs_f64();
    let jobs = room.number(&format!("select count(*) from {schema}.jobs")).await?;
    let cpu = bench.ground.cpu().zip(server).map(|(now, then)| (now - then).as_secs_f64() * 1e6 / jobs);
    let wal = (room.wal_bytes().await? - wal) / jobs;
    let cost = Cost { wal_bytes: Some(wal), postgres_cpu_us: cpu, ..Cost::default() };
    Ok((jobs / seconds, cost))
}
