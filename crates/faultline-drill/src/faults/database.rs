//! Faults of the database as a whole.

use crate::DrillError;
use crate::database;
use crate::history::{Lines, wall_ns};
use crate::stage::Stage;
use faultline_check::witness::{FaultKind, FaultRecord, Phase};
use faultline_cluster::{Cluster, ClusterError, Mode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_util::task::AbortOnDropHandle;

/// Strikes of storms are numbered from here on, those of each storm apart.
const STRIKES: u64 = 1 << 32;
const MOST_STRIKES: u64 = 1 << 20;
/// How long Postgres may take to recover by itself.
const BACK_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How Postgres is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outage {
    /// Sessions are ended, then an orderly stop.
    Fast,
    /// At once, without a checkpoint.
    Immediate,
    /// SIGKILL of the postmaster.
    Kill,
    /// SIGKILL of one worker's backend, upon which Postgres ends every session and recovers.
    Backend,
    /// SIGSTOP of every process of Postgres: connections stay, nobody answers.
    Pause,
}

impl Outage {
    /// Takes Postgres away.
    pub(super) fn take(self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        match self {
            Self::Fast => cluster.stop(Mode::Fast),
            Self::Immediate => cluster.stop(Mode::Immediate),
            Self::Kill => cluster.kill(),
            Self::Pause => cluster.pause(),
            // Its backend is killed, and the cluster goes down and comes back by itself.
            Self::Backend => Ok(()),
        }
    }
}

/// A fault of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Database {
    /// Postgres is away.
    Outage {
        /// How.
        how: Outage,
    },
    /// A session holds a snapshot open, behind which nothing can be cleaned up.
    HeldSnapshot,
    /// The migrations are applied once more, by the newer program.
    Migrate,
    /// Sessions of random processes are ended or their statements cancelled, one every `every_ms` until the end.
    Storm {
        /// Which.
        strike: Strike,
        /// Between two.
        every_ms: u64,
        /// What the choice of sessions is computed from.
        seed: u64,
    },
}

/// What happens to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strike {
    /// `pg_cancel_backend`.
    Cancel,
    /// `pg_terminate_backend`.
    Terminate,
    /// Now this, now that.
    Either,
}

impl Database {
    pub(super) async fn begin(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        match self {
            Self::Outage { how } => {
                stage.log(number, Phase::Invoke, FaultKind::DatabaseDown, None)?;
                match how {
                    Outage::Backend => kill_backend(stage).await,
                    how => stage.with_cluster(move |cluster| how.take(cluster)).await,
                }
            }
            Self::HeldSnapshot => {
                let client = database::connect(&stage.launcher.url).await?;
                client
                    .batch_execute("begin isolation level repeatable read; select from faultline.jobs limit 1")
                    .await?;
                let hold = async move {
                    let _held = client;
                    std::future::pending::<()>().await;
                };
                stage.going_on.insert(number, AbortOnDropHandle::new(tokio::spawn(hold)));
                stage.log(number, Phase::Invoke, FaultKind::HeldSnapshot, None)
            }
            Self::Migrate => stage.launcher.migrate().await,
            Self::Storm { strike, every_ms, seed } => {
                let client = database::connect(&stage.launcher.url).await?;
                let every = Duration::from_millis(every_ms);
                let storm = storm(client, stage.nemesis.clone(), number, (strike, every), StdRng::seed_from_u64(seed));
                stage.going_on.insert(number, AbortOnDropHandle::new(tokio::spawn(storm)));
                Ok(())
            }
        }
    }

    pub(super) async fn end(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        match self {
            Self::Outage { how } => {
                match how {
                    Outage::Fast | Outage::Immediate | Outage::Kill => stage.with_cluster(Cluster::start_again).await?,
                    Outage::Pause => stage.with_cluster(Cluster::resume).await?,
                    Outage::Backend => back(stage).await?,
                }
                stage.log(number, Phase::Ok, FaultKind::DatabaseDown, None)
            }
            Self::HeldSnapshot => {
                stage.going_on.remove(&number);
                stage.log(number, Phase::Ok, FaultKind::HeldSnapshot, None)
            }
            Self::Migrate => Ok(()),
            Self::Storm { .. } => {
                stage.going_on.remove(&number);
                Ok(())
            }
        }
    }
}

/// Strikes until it is dropped; each strike is noted by itself.
async fn storm(client: Client, nemesis: Arc<Lines>, number: u64, how: (Strike, Duration), mut rng: StdRng) {
    for nth in 1.. {
        let cancel = match how.0 {
            Strike::Cancel => true,
            Strike::Terminate => false,
            Strike::Either => rng.random_bool(0.5),
        };
        let fault = STRIKES + number * MOST_STRIKES + nth;
        let (wall_ns, kind) = (wall_ns(), FaultKind::BackendKill);
        if database::strike(&client, cancel, rng.random()).await.unwrap_or(false) {
            let (phase, at) = (Phase::Invoke, None);
            let record = FaultRecord { fault, phase, kind, wall_ns, process: None, owner: None, at };
            nemesis.write(&record).expect("a log on the local disk can be written");
        }
        tokio::time::sleep(how.1).await;
    }
}

async fn kill_backend(stage: &Stage) -> Result<(), DrillError> {
    let client = database::connect(&stage.launcher.url).await?;
    let sql = "select pid from pg_stat_activity where application_name like '%claim%' order by backend_start limit 1";
    let pid = client.query_one(sql, &[]).await?.get(0);
    if let Some(pid) = Pid::from_raw(pid) {
        kill_process(pid, Signal::KILL).map_err(|error| DrillError::io("kill a backend")(error.into()))?;
    }
    Ok(())
}

/// Waits until the database takes connections again.
async fn back(stage: &Stage) -> Result<(), DrillError> {
    let end = Instant::now() + BACK_LIMIT;
    loop {
        match database::connect(&stage.launcher.url).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outage { how } => write!(f, "Postgres is away ({how:?})"),
            Self::HeldSnapshot => write!(f, "a snapshot is held"),
            Self::Migrate => write!(f, "the migrations are applied once more"),
            Self::Storm { strike, every_ms, .. } => write!(f, "{strike:?} of a session every {every_ms} ms"),
        }
    }
}
