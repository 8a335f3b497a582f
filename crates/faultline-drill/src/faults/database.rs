//! Faults of the database as a whole.

use crate::DrillError;
use crate::database;
use crate::stage::Stage;
use faultline_check::witness::{FaultKind, Phase};
use faultline_cluster::{Cluster, ClusterError, Mode};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

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

/// A fault of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Database {
    /// Postgres is away.
    Outage {
        /// How.
        how: Outage,
    },
}

impl Database {
    pub(super) async fn begin(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        match self {
            Self::Outage { how } => {
                stage.log(number, Phase::Invoke, FaultKind::DatabaseDown, None)?;
                let away: fn(&mut Cluster) -> Result<(), ClusterError> = match how {
                    Outage::Fast => |cluster| cluster.stop(Mode::Fast),
                    Outage::Immediate => |cluster| cluster.stop(Mode::Immediate),
                    Outage::Kill => Cluster::kill,
                    Outage::Pause => Cluster::pause,
                    Outage::Backend => return kill_backend(stage).await,
                };
                stage.with_cluster(away).await
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
        }
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
        }
    }
}
