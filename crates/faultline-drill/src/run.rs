//! One drill from its cluster to its verdict.
//!
//! Setting the stage, load and faults, healing (every fault ends by itself), draining, the dump of the witnesses, the checker. If the
//! future is dropped in between, every process is killed with it; if this process is killed, its children and the
//! cluster's guard notice (`process.rs`, `faultline-cluster`).

use crate::DrillError;
use crate::catalogue::{Drill, Scene};
use crate::database::{self, NAME};
use crate::enqueuer::{DEADLINE, Enqueuer};
use crate::logs;
use crate::nemesis;
use crate::process::Launcher;
use crate::report::Report;
use crate::sampler;
use crate::schedule::plan;
use crate::stage::Stage;
use crate::worker::{self, Settings};
use faultline_check::witness::Run;
use faultline_cluster::{Cluster, ClusterError, Programs};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What is due must have ended this long after the last fault.
const DRAIN_LIMIT: Duration = Duration::from_secs(40);
/// Between two looks whether everything has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Sessions of all processes: workers and handlers, the API, the supervisor.
const MAX_CONNECTIONS: &str = "200";
/// How long a worker's session must be gone before its jobs are recovered.
const PRESENCE_GRACE: Duration = Duration::from_secs(2);
/// What the promise of the defaults allows from `kill -9` to the next claim.
const RECOVERY_BOUND: Duration = Duration::from_secs(4);

/// How to run drills.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program that is started as API and workers.
    pub program: PathBuf,
    /// What the schedule and the jobs are computed from.
    pub seed: u64,
    /// How long load and faults last; none: the drill's own.
    pub duration: Option<Duration>,
    /// Worker processes.
    pub workers: usize,
}

/// Runs one drill with its witnesses in `dir`, which must be empty; `tell` is given lines of progress.
///
/// # Errors
/// [`DrillError`] when the drill could not be carried out; [`DrillError::Interrupted`] once `stop` is cancelled.
pub async fn run(
    drill: &'static Drill,
    options: &Options,
    dir: &Path,
    stop: &CancellationToken,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Report, DrillError> {
    tokio::select! {
        report = carry_out(drill, options, dir, tell) => report,
        () = stop.cancelled() => Err(DrillError::Interrupted),
    }
}

async fn carry_out(
    drill: &'static Drill,
    options: &Options,
    dir: &Path,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Report, DrillError> {
    drill.needs.iter().try_for_each(|need| need.check())?;
    let duration = options.duration.unwrap_or(drill.duration);
    let steps = plan(drill, options.seed, duration, options.workers);
    for sub in ["history", "logs"] {
        std::fs::create_dir_all(dir.join(sub)).map_err(DrillError::io("create the directory of the witnesses"))?;
    }
    write_json(&dir.join("schedule.json"), &steps)?;
    tell(&format!("seed {}, {} faults planned", options.seed, steps.len()));
    let cluster = tokio::task::spawn_blocking(|| start_cluster(drill)).await;
    let cluster = cluster.map_err(|_| DrillError::Process("the start of the cluster has panicked".into()))??;
    let url = cluster.url(NAME);
    prepare(&url).await?;
    let launcher = Launcher {
        program: options.program.clone(),
        url: url.clone(),
        dir: dir.to_owned(),
        lease_ttl: drill.lease_ttl,
    };
    let (lease_ttl, Scene { slots, grace, memory_mib, .. }) = (drill.lease_ttl, drill.scene);
    write_json(&dir.join(worker::SETTINGS), &Settings { lease_ttl, slots, grace, memory_mib })?;
    let mut stage = Stage::set(Arc::new(Mutex::new(cluster)), launcher, options.workers, drill.scene.mortal).await?;
    tell(&format!("Postgres, the API and {} workers run", options.workers));

    let mut tasks = JoinSet::new();
    let shared_dir: Arc<Path> = dir.into();
    let sampled = CancellationToken::new();
    tasks.spawn(sampler::run(url.clone(), shared_dir.clone(), stage.api_seen.clone(), sampled.clone()));
    let mut load = JoinSet::new();
    let loaded = CancellationToken::new();
    let enqueuer = Arc::new(Enqueuer { drill, seed: options.seed, address: stage.address, next: AtomicU64::new(0) });
    for client in 0..drill.load.clients {
        load.spawn(enqueuer.clone().client(shared_dir.clone(), client, loaded.clone()));
    }

    let began = Instant::now();
    nemesis::carry_out(&mut stage, &steps, began, duration, tell).await?;
    loaded.cancel();
    finish(&mut load).await?;
    tell("healed; waiting until everything due has ended");
    if !drain(&mut stage, &url).await? {
        tell("not everything due has ended in time");
    }
    stage.look_for_exits()?;
    sampled.cancel();
    finish(&mut tasks).await?;
    let client = database::connect(&url).await?;
    let ended_us = database::dump(&client, dir).await?;
    let poison = database::poison(&client).await?;
    drop(client);
    stage.end().await;
    logs::refused_finishes(dir)?;
    write_json(&dir.join("run.json"), &Run { poison, ..settings(drill, options, ended_us) })?;
    Report::of(drill, options.seed, duration, options.workers, &steps, dir)
}

fn start_cluster(drill: &Drill) -> Result<Cluster, DrillError> {
    let lacking = |error: ClusterError| DrillError::Needs(format!("the PostgreSQL server programs: {error}"));
    let programs = Programs::find().map_err(lacking)?;
    let builder = Cluster::builder(programs).setting("max_connections", MAX_CONNECTIONS);
    let builder = drill.scene.settings.iter().fold(builder, |builder, (name, value)| builder.setting(name, value));
    let cluster = builder.start()?;
    cluster.psql("postgres", &format!("create database {NAME}"))?;
    Ok(cluster)
}

async fn prepare(url: &str) -> Result<(), DrillError> {
    let failed = |error: faultline::Error| DrillError::Process(format!("the migrations failed: {error}"));
    let library = faultline::Client::lazy(url).map_err(failed)?;
    library.migrate().await.map_err(failed)?;
    let client = database::connect(url).await?;
    client
        .batch_execute(
            "select faultline.audit_on();
             create schema drill;
             create table drill.effects (job uuid not null, lease uuid not null);",
        )
        .await?;
    Ok(())
}

/// Waits until nothing waits or runs; false when that takes too long.
async fn drain(stage: &mut Stage, url: &str) -> Result<bool, DrillError> {
    let client = database::connect(url).await?;
    let end = Instant::now() + DRAIN_LIMIT;
    while database::unfinished(&client).await? > 0 || stage.somebody_stops() {
        if Instant::now() > end {
            return Ok(false);
        }
        stage.watch().await?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(true)
}

/// Waits for every task; the first error ends the drill.
async fn finish(tasks: &mut JoinSet<Result<(), DrillError>>) -> Result<(), DrillError> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|error| DrillError::Process(format!("a part of the supervisor has failed: {error}")))??;
    }
    Ok(())
}

fn settings(drill: &Drill, options: &Options, ended_us: i64) -> Run {
    let us = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    let mut run = Run {
        drill: drill.name.to_owned(),
        seed: options.seed,
        ended_us,
        // It was given the time, whether it took it or not.
        drained: true,
        lease_ttl_us: us(drill.lease_ttl),
        presence_grace_us: us(PRESENCE_GRACE),
        holdoff_us: us(drill.lease_ttl),
        recovery_bound_us: us(RECOVERY_BOUND),
        enqueue_deadline_us: us(DEADLINE) + 1_000_000,
        backoff_base_us: 50_000,
        backoff_cap_us: 400_000,
        required: drill.required.iter().copied().collect(),
        ..Run::default()
    };
    (drill.settle)(&mut run);
    run
}

/// Writes a document into the directory of the witnesses.
pub(crate) fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), DrillError> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| DrillError::Witness(error.to_string()))?;
    std::fs::write(path, text).map_err(DrillError::io(format!("write {}", path.display())))
}
