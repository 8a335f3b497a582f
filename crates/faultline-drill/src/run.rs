//! One drill from its cluster to its verdict.
//!
//! The ground, setting the stage, load and faults, healing (every fault ends by itself), draining, the dump of the witnesses, the checker. If the
//! future is dropped in between, every process is killed with it; if this process is killed, its children and the
//! cluster's guard notice (`process.rs`, `faultline-cluster`).

use crate::DrillError;
use crate::catalogue::{DEFAULT_LEASE, Drill, Scene, Standby};
use crate::database;
use crate::enqueuer::{DEADLINE, Enqueuer};
use crate::ground::Ground;
use crate::guest::Visit;
use crate::logs;
use crate::needs;
use crate::nemesis;
use crate::old;
use crate::process::Launcher;
use crate::report::Report;
use crate::sampler::Sampler;
use crate::schedule::plan;
use crate::stage::Stage;
use crate::worker::{self, Settings};
use faultline_check::witness::Run;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What is due must have ended this long after the last fault.
const DRAIN_LIMIT: Duration = Duration::from_secs(40);
/// Between two looks whether everything has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a worker's session must be gone before its jobs are recovered.
const PRESENCE_GRACE: Duration = Duration::from_secs(2);
/// The name of this program where it takes the place of an older one.
pub(crate) const SAME_VERSION: &str = "the-same-version";
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
    /// Somebody's own database, already migrated, for drills that touch only their own processes; none: a private cluster.
    pub against: Option<String>,
    /// An older version of the program, for drills that have two work on one schema; none: this one in its place.
    pub old: Option<PathBuf>,
}

/// Runs one drill with its witnesses in `dir`, which must be empty; `tell` is given lines of progress.
///
/// # Errors
/// [`DrillError`] when the drill could not be carried out; [`DrillError::Interrupted`] once `stop` is cancelled.
pub async fn run(
    drill: &Drill,
    options: &Options,
    dir: &Path,
    stop: &CancellationToken,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Report, DrillError> {
    drill.needs.iter().try_for_each(|need| need.check())?;
    let mut drill = *drill;
    if options.against.is_some() {
        // The processes of a drill look after all queues: with shorter leases than the others they would hold off too little.
        drill.lease_ttl = drill.lease_ttl.max(DEFAULT_LEASE);
    }
    let set = async {
        match &options.against {
            None => Ground::private(&drill).await,
            Some(url) => Ground::against(url, &drill).await,
        }
    };
    let ground = tokio::select! {
        ground = set => ground?,
        () = stop.cancelled() => return Err(DrillError::Interrupted),
    };
    let report = tokio::select! {
        report = carry_out(drill, options, &ground, dir, tell) => report,
        () = stop.cancelled() => Err(DrillError::Interrupted),
    };
    ground.leave().await?;
    report
}

async fn carry_out(
    drill: Drill,
    options: &Options,
    ground: &Ground,
    dir: &Path,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Report, DrillError> {
    let duration = options.duration.unwrap_or(drill.duration);
    let steps = plan(&drill, options.seed, duration, options.workers);
    let leaves_one_behind = drill.scene.standby != Standby::None;
    let subs = ["history", "logs"].into_iter().map(|sub| dir.join(sub));
    for sub in subs.chain(leaves_one_behind.then(|| old::dir(dir))) {
        std::fs::create_dir_all(sub).map_err(DrillError::io("create the directory of the witnesses"))?;
    }
    write_json(&dir.join("schedule.json"), &steps)?;
    tell(&format!("seed {}, {} faults planned", options.seed, steps.len()));
    let (url, queue) = (ground.url.clone(), ground.queue.clone());
    let (program, lease_ttl) = (options.program.clone(), drill.lease_ttl);
    let access = ground.access(drill.scene.through, &dir.join("logs").join("pgbouncer.log")).await?;
    let is_split = drill.scene.standby == Standby::Split;
    let (newest, other) = (program.clone(), older(&drill, options, dir)?);
    let launcher = Launcher {
        program: other.clone().unwrap_or(program),
        newest,
        other,
        clocks: if drill.scene.clocks { Some(needs::moves_clocks()?) } else { None },
        url: url.clone(),
        other_url: if is_split { ground.standby_first.clone() } else { url.clone() },
        dir: dir.to_owned(),
        lease_ttl,
        access,
        seed: options.seed,
    };
    let Scene { slots, grace, strict, incarnations, memory_mib, sample_every: every, .. } = drill.scene;
    let told = Settings { lease_ttl, queue: queue.clone(), slots, grace, strict, incarnations, memory_mib };
    write_json(&dir.join(worker::SETTINGS), &told)?;
    let mut stage = Stage::set(ground, launcher, options.workers, drill.scene.mortal).await?;
    tell(&format!("the API and {} workers run on {}", options.workers, ground.shown()));

    let mut tasks = JoinSet::new();
    let shared_dir: Arc<Path> = dir.into();
    let sampled = CancellationToken::new();
    let sampler = Sampler {
        // The side that remains, as soon as there are two and it has to connect again.
        url: ground.standby_first.clone(),
        queue: queue.clone(),
        api: stage.api_seen.clone(),
        every,
        old: leaves_one_behind.then(|| ground.primary_url.clone()),
    };
    tasks.spawn(sampler.run(shared_dir.clone(), sampled.clone()));
    let mut load = JoinSet::new();
    let loaded = CancellationToken::new();
    let (seed, port, next) = (options.seed, stage.port.clone(), AtomicU64::new(0));
    let enqueuer = Arc::new(Enqueuer { drill, seed, port, queue: queue.clone(), next });
    for client in 0..drill.load.clients {
        load.spawn(enqueuer.clone().client(shared_dir.clone(), client, loaded.clone()));
    }

    if let Some(guest) = drill.guest {
        let (dir, stop) = (shared_dir.clone(), loaded.clone());
        load.spawn(guest(Visit { url: url.clone(), address: stage.address, queue: queue.clone(), dir, seed, stop }));
    }

    let began = Instant::now();
    nemesis::carry_out(&mut stage, &steps, began, duration, tell).await?;
    loaded.cancel();
    finish(&mut load).await?;
    tell("healed; waiting until everything due has ended");
    let mut drained = drain(&mut stage, &url, &queue).await?;
    if is_split {
        drained &= drain(&mut stage, &ground.standby_first, &queue).await?;
    }
    if !drained {
        tell("not everything due has ended in time");
    }
    stage.look_for_exits()?;
    sampled.cancel();
    finish(&mut tasks).await?;
    let client = database::connect(&ground.standby_first).await?;
    let ended_us = database::dump(&client, dir, &queue).await?;
    let deadlocks = database::deadlocks(&client).await?;
    let poison = database::poison(&client, &queue).await?;
    drop(client);
    stage.end().await;
    logs::read(dir)?;
    let settings = Run { deadlocks, poison, ..settings(&drill, options, ended_us) };
    write_json(&dir.join("run.json"), &settings)?;
    if leaves_one_behind {
        old::take(ground, &settings, dir).await?;
    }
    Report::of(&drill, options.seed, duration, options.workers, &steps, dir)
}

/// The older version, for drills with two; this one under another name if there is no other.
fn older(drill: &Drill, options: &Options, dir: &Path) -> Result<Option<PathBuf>, DrillError> {
    if !drill.scene.versions || options.old.is_some() {
        return Ok(options.old.clone().filter(|_| drill.scene.versions));
    }
    let same = dir.join(SAME_VERSION);
    std::os::unix::fs::symlink(&options.program, &same).map_err(DrillError::io("give the program another name"))?;
    Ok(Some(same))
}

/// Waits until nothing waits or runs; false when that takes too long.
async fn drain(stage: &mut Stage, url: &str, queue: &str) -> Result<bool, DrillError> {
    let client = database::connect(url).await?;
    let end = Instant::now() + DRAIN_LIMIT;
    while database::unfinished(&client, queue).await? > 0 || stage.somebody_stops() {
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
        reap_bound_us: us(drill.lease_ttl / 2) + 5_000_000,
        recovery_bound_us: us(RECOVERY_BOUND),
        enqueue_deadline_us: us(DEADLINE) + 1_000_000,
        backoff_base_us: 50_000,
        backoff_cap_us: 400_000,
        strict: drill.scene.strict,
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
