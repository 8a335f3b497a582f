//! Faults of disks: one fills up, and is cleared at the end.

use crate::DrillError;
use crate::stage::Stage;
use faultline_check::witness::{FaultKind, Phase};
use faultline_cluster::{Cluster, ClusterError, Disk};
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};

/// How long a server may take to notice that its log has no space, or to recover once it has.
const NOTICE_LIMIT: Duration = Duration::from_secs(20);
/// What it says since then.
const LOG_LINES: usize = 200;
/// Between two looks whether it has recovered.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Ends a segment of the log, so that the next write needs a new one.
const NEXT_SEGMENT: &str = "select pg_switch_wal() from pg_logical_emit_message(false, 'drill', 'x')";

/// A disk that is full; each needs a scene with small disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum DiskFull {
    /// That of the tables: what needs another page is refused.
    Tables,
    /// That of the write-ahead log: the server panics.
    Wal,
}

impl DiskFull {
    pub(super) async fn begin(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        stage.log(number, Phase::Invoke, FaultKind::DatabaseDown, None)?;
        match self {
            Self::Tables => stage.with_cluster(|cluster| cluster.fill(Disk::Tables)).await,
            Self::Wal => stage.with_cluster(panic).await,
        }
    }

    pub(super) async fn end(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        match self {
            Self::Tables => stage.with_cluster(|cluster| cluster.clear(Disk::Tables)).await?,
            Self::Wal => stage.with_cluster(recover).await?,
        }
        stage.log(number, Phase::Ok, FaultKind::DatabaseDown, None)
    }
}

/// Fills the disk and uses up the segments of the log that were prepared.
fn panic(cluster: &mut Cluster) -> Result<(), ClusterError> {
    cluster.fill(Disk::Wal)?;
    let begun = Instant::now();
    while begun.elapsed() < NOTICE_LIMIT {
        if cluster.psql("postgres", NEXT_SEGMENT).is_err() && cluster.log_tail(LOG_LINES).contains("PANIC:") {
            return Ok(());
        }
    }
    Err(ClusterError::Timeout { what: "panic without space for its log", limit_s: NOTICE_LIMIT.as_secs() })
}

/// Gives space; a server that gave up is started, one that has not recovers by itself.
fn recover(cluster: &mut Cluster) -> Result<(), ClusterError> {
    cluster.clear(Disk::Wal)?;
    let begun = Instant::now();
    loop {
        if cluster.postmaster_pid().is_none() {
            cluster.start_again()?;
        }
        match cluster.psql("postgres", "select 1") {
            Err(error) if begun.elapsed() > NOTICE_LIMIT => return Err(error),
            Err(_) => std::thread::sleep(LOOK_EVERY),
            Ok(_) => return Ok(()),
        }
    }
}

impl fmt::Display for DiskFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tables => write!(f, "the disk of the tables is full"),
            Self::Wal => write!(f, "the disk of the write-ahead log is full, and Postgres panics"),
        }
    }
}
