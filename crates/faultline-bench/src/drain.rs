//! A queue that is worked off by processes: what most scenarios measure.
//!
//! The clock starts on the database before the first process does, and stops with the `finished_at` of the last job in the history, so
//! that start, connections and first plans are in it, and what the processes take to stop is told apart. Afterwards the history must hold
//! every job exactly once, succeeded in its first attempt (those that are made to fail once, in their second), or the measurement is void.

use crate::bench::Bench;
use crate::crew::{Crew, Told};
use crate::duty::{Duty, FLAKY, QUEUE, Side, Tick};
use crate::error::{BenchError, Result};
use crate::figure::{Cost, MOST_POINTS};
use crate::ground::Room;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Between two looks at the table.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Who drains, and how far.
#[derive(Clone, Copy)]
pub(crate) struct Drain {
    pub(crate) side: Side,
    pub(crate) processes: usize,
    /// Of each process; by hand the size of a batch.
    pub(crate) slots: usize,
    /// How many jobs are to be done; the processes may do some more before they stop.
    pub(crate) jobs: u64,
    /// Whether more wait than are to be done.
    pub(crate) leaves_some: bool,
    pub(crate) queues: &'static [&'static str],
}

/// What a drain was like.
pub(crate) struct Drained {
    /// Jobs a second, from the start of the first process to the last finish.
    pub(crate) rate: f64,
    /// The same, from the moment when so many were done as was asked for to the last.
    pub(crate) tail_rate: Option<f64>,
    pub(crate) cost: Cost,
    /// How long the slowest process took to stop after the last job.
    pub(crate) stop_s: f64,
    /// Jobs a second over time.
    pub(crate) throughput: Vec<(f64, f64)>,
    /// Claim duration over time, ms.
    pub(crate) claims: Vec<(f64, f64)>,
    /// Dead rows over time.
    pub(crate) dead: Vec<(f64, f64)>,
}

impl Drain {
    /// All of so many jobs.
    pub(crate) fn all(side: Side, processes: usize, slots: usize, jobs: u64) -> Self {
        Self { side, processes, slots, jobs, leaves_some: false, queues: &[QUEUE] }
    }

    /// Drains; `tail_after` jobs are done before the tail begins.
    pub(crate) async fn run(self, bench: &Bench<'_>, room: &Room, tail_after: Option<u64>) -> Result<Drained> {
        bench.ground.settle().await?;
        let schema = self.side.schema();
        let before = done(room, schema).await?;
        let (wal, server) = (room.wal_bytes().await?, bench.ground.cpu());
        let sampler = Sampler::start(room, schema).await?;
        let (began_at, began) = (clock(room).await?, Instant::now());
        let began_ns = crate::duty::now_ns();
        let queues = self.queues.iter().map(|&queue| queue.to_owned()).collect();
        let duty = Duty { queues, ..Duty::new(self.side, self.slots) };
        let mut crew = Crew::start(&bench.options.program, room, &duty, self.processes).await?;
        crew.handled(self.jobs).await?;
        let told = crew.dismiss().await?;
        let dead = sampler.end(began).await;
        let (wal, server) =
            (room.wal_bytes().await? - wal, bench.ground.cpu().zip(server).map(|(now, then)| now - then));
        let jobs = self.check(room, schema, before).await?;
        let seconds =
            room.number(&format!("select extract(epoch from max(finished_at)) from {schema}.job_history")).await?;
        let tail_rate = match tail_after {
            Some(after) => Some(tail_rate(room, schema, after, jobs).await?),
            None => None,
        };
        Ok(Drained {
            rate: jobs / (seconds - began_at),
            tail_rate,
            cost: cost(&told, wal / jobs, server.map(|cpu| cpu.as_secs_f64() * 1e6 / jobs), jobs),
            stop_s: told.stop_s,
            throughput: throughput(&told.ticks, began_ns),
            claims: claim_cost(&told.ticks, began_ns),
            dead,
        })
    }

    /// How many jobs were done, all of them well and once.
    async fn check(self, room: &Room, schema: &str, before: f64) -> Result<f64> {
        let sql = format!(
            "select count(*), count(distinct id), count(*) filter (where state = 'succeeded' and attempts = case kind when '{FLAKY}' then 2 else 1 end),
                    (select count(*) from {schema}.jobs where state = 'running')
               from {schema}.job_history"
        );
        let row = room.client.query_one(&sql, &[]).await?;
        let (all, different, well, running): (i64, i64, i64, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
        #[expect(clippy::cast_precision_loss, reason = "numbers of jobs are far below what a float holds exactly")]
        let (done, asked) = (all as f64 - before, self.jobs as f64);
        if all != different || all != well || running > 0 || done < asked || (!self.leaves_some && done > asked) {
            let text = format!(
                "of {asked} jobs {done} are in the history ({different} different ones of {all}, {well} of them succeeded in \
                 the attempt that they had to), and {running} are left running"
            );
            return Err(BenchError::Void(text));
        }
        Ok(done)
    }
}

fn cost(told: &Told, wal_bytes: f64, postgres_cpu_us: Option<f64>, jobs: f64) -> Cost {
    let cpu: Option<Vec<f64>> = told.ends.iter().map(|end| end.cpu_us).collect();
    let peak = told.ends.iter().map(|end| end.peak_mib).collect::<Option<Vec<f64>>>();
    Cost {
        wal_bytes: Some(wal_bytes),
        postgres_cpu_us,
        worker_cpu_us: cpu.map(|cpu| cpu.iter().sum::<f64>() / jobs),
        worker_peak_mib: peak.map(|peaks| peaks.into_iter().fold(0.0, f64::max)),
    }
}

async fn done(room: &Room, schema: &str) -> Result<f64> {
    room.number(&format!("select count(*) from {schema}.job_history")).await
}

async fn clock(room: &Room) -> Result<f64> {
    room.number("extract(epoch from clock_timestamp())").await
}

/// Jobs a second after the first so many.
async fn tail_rate(room: &Room, schema: &str, after: u64, jobs: f64) -> Result<f64> {
    let seconds = room
        .number(&format!(
            "select extract(epoch from max(finished_at) - min(finished_at)) from
                 (select finished_at from {schema}.job_history order by finished_at offset {after}) as tail"
        ))
        .await?;
    #[expect(clippy::cast_precision_loss, reason = "numbers of jobs are far below what a float holds exactly")]
    let after = after as f64;
    Ok((jobs - after) / seconds)
}

/// What all processes together did between two of the first one's words.
#[expect(clippy::cast_precision_loss, reason = "for a drawing")]
pub(crate) fn throughput(ticks: &[(usize, Tick)], began_ns: u64) -> Vec<(f64, f64)> {
    steps(ticks, began_ns).into_iter().map(|(at, step_s, jobs, _, _)| (at, jobs as f64 / step_s)).collect()
}

/// The mean duration of claims over time, ms.
#[expect(clippy::cast_precision_loss, reason = "for a drawing")]
fn claim_cost(ticks: &[(usize, Tick)], began_ns: u64) -> Vec<(f64, f64)> {
    let steps = steps(ticks, began_ns).into_iter().filter(|(_, _, _, claims, _)| *claims > 0);
    steps.map(|(at, _, _, claims, claim_s)| (at, claim_s * 1000.0 / claims as f64)).collect()
}

/// At what second, how long, and how many jobs, claims and seconds of claims there were in each step.
#[expect(clippy::cast_precision_loss, reason = "for a drawing")]
fn steps(ticks: &[(usize, Tick)], began_ns: u64) -> Vec<(f64, f64, u64, u64, f64)> {
    const STEP_NS: u64 = 200_000_000;
    let mut ticks = ticks.to_vec();
    ticks.sort_unstable_by_key(|(_, tick)| tick.at_ns);
    let Some(last) = ticks.last().map(|(_, tick)| tick.at_ns) else { return Vec::new() };
    let step_ns = STEP_NS.max(last.saturating_sub(began_ns) / MOST_POINTS);
    let mut latest = vec![Tick::default(); ticks.iter().map(|(number, _)| number + 1).max().unwrap_or(0)];
    let mut ticks = ticks.into_iter().peekable();
    let mut steps = Vec::new();
    let mut earlier = (0, 0, 0.0);
    for end in (began_ns + step_ns..=last + step_ns).step_by(usize::try_from(step_ns).unwrap_or(usize::MAX)) {
        while let Some((number, tick)) = ticks.next_if(|(_, tick)| tick.at_ns <= end) {
            latest[number] = tick;
        }
        let now = latest.iter().fold((0, 0, 0.0), |sum: (u64, u64, f64), tick| {
            (sum.0 + tick.handled, sum.1 + tick.claims, sum.2 + tick.claim_s)
        });
        let (from_s, step_s) = ((end - began_ns) as f64 / 1e9, (end.min(last) + step_ns - end) as f64 / 1e9);
        // The rest of the last step, of a few ms, says nothing.
        if step_s > 0.05 {
            steps.push((from_s, step_s, now.0 - earlier.0, now.1 - earlier.1, now.2 - earlier.2));
        }
        earlier = now;
    }
    steps
}

/// Looks at the hot table while something runs.
pub(crate) struct Sampler {
    stop: CancellationToken,
    looking: JoinHandle<Vec<(Instant, f64)>>,
}

impl Sampler {
    pub(crate) async fn start(room: &Room, schema: &str) -> Result<Self> {
        let client = room.another().await?;
        let sql = format!("select n_dead_tup from pg_stat_user_tables where relid = '{schema}.jobs'::regclass");
        let statement = client.prepare(&sql).await?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let looking = tokio::spawn(async move {
            let (mut seen, mut ticks) = (Vec::new(), tokio::time::interval(LOOK_EVERY));
            while !stopped.is_cancelled() {
                ticks.tick().await;
                if let Ok(row) = client.query_one(&statement, &[]).await {
                    #[expect(clippy::cast_precision_loss, reason = "for a drawing")]
                    seen.push((Instant::now(), row.get::<_, i64>(0) as f64));
                }
            }
            seen
        });
        Ok(Self { stop, looking })
    }

    /// What was seen, by seconds since `began`.
    pub(crate) async fn end(self, began: Instant) -> Vec<(f64, f64)> {
        self.stop.cancel();
        let seen = self.looking.await.unwrap_or_default();
        seen.into_iter().map(|(at, dead)| (at.saturating_duration_since(began).as_secs_f64(), dead)).collect()
    }
}
