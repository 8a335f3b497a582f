//! Faults of a primary and its standby.

use crate::DrillError;
use crate::faults::Outage;
use crate::ground;
use crate::stage::Stage;
use faultline_check::witness::{FaultKind, Phase};
use faultline_cluster::{Cluster, Mode};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Commits of the engine that wait for a standby. Handlers' own are not its business.
const WAITS: &str = "wait_event = 'SyncRep' and application_name not like '%handler%'";

/// A fault of replication; each needs a scene with a standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Replication {
    /// The primary is taken away; at the end the standby is promoted.
    Failover {
        /// How.
        how: Outage,
    },
    /// The standby receives nothing any more: what is acknowledged from now on exists once.
    Cut,
    /// The standby is stopped, and started at the end; a primary that waits for it acknowledges nothing meanwhile.
    StandbyAway,
    /// The same; then the primary is killed, and the standby comes back and is promoted.
    PrimaryLost,
    /// The standby is cut off, and at the end promoted: from then on there are two primaries.
    Split,
    /// Some sessions on the old primary end; each process opens them again on the side that it prefers.
    Scatter {
        /// How many of a hundred.
        percent: u8,
    },
    /// Every commit of the engine that waits for the standby stops to wait.
    CutWaits {
        /// By ending its session.
        terminate: bool,
    },
}

impl Replication {
    pub(super) async fn begin(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        match self {
            Self::Failover { how } => {
                stage.log(number, Phase::Invoke, FaultKind::Failover, None)?;
                stage.with_cluster(move |cluster| how.take(cluster)).await
            }
            Self::StandbyAway | Self::PrimaryLost => {
                stage.log(number, Phase::Invoke, FaultKind::CommitsHang, None)?;
                stage.with_standby(|standby| standby.stop(Mode::Fast)).await
            }
            Self::Split => {
                stage.log(number, Phase::Invoke, FaultKind::SplitBrain, None)?;
                stage.with_standby(|standby| standby.detach()).await
            }
            Self::Scatter { percent } => {
                let sql = format!(
                    "select count(pg_terminate_backend(pid)) from pg_stat_activity
                      where datname = current_database() and pid <> pg_backend_pid() and random() * 100 < {percent}"
                );
                stage.with_cluster(move |primary| primary.psql(ground::NAME, &sql).map(drop)).await?;
                stage.log(number, Phase::Invoke, FaultKind::BackendKill, None)
            }
            Self::CutWaits { terminate } => {
                let end = if terminate { "pg_terminate_backend" } else { "pg_cancel_backend" };
                let sql = format!("select count({end}(pid)) from pg_stat_activity where {WAITS}");
                let cut = Arc::new(AtomicBool::new(false));
                let seen = cut.clone();
                let call = move |primary: &mut Cluster| {
                    // One that is lost by now has no sessions.
                    if primary.postmaster_pid().is_some() {
                        seen.store(primary.psql("postgres", &sql)? != "0", Ordering::Relaxed);
                    }
                    Ok(())
                };
                stage.with_cluster(call).await?;
                // A fault that hit nobody was none.
                if cut.load(Ordering::Relaxed) {
                    stage.log(number, Phase::Invoke, FaultKind::BackendKill, None)?;
                }
                Ok(())
            }
            Self::Cut => {
                stage.with_standby(|standby| standby.detach()).await?;
                stage.log(number, Phase::Invoke, FaultKind::ReplicationCut, None)
            }
        }
    }

    pub(super) async fn end(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        match self {
            Self::Failover { .. } => {
                stage.with_standby(|standby| standby.promote()).await?;
                stage.log(number, Phase::Ok, FaultKind::Failover, None)
            }
            Self::StandbyAway => {
                stage.with_standby(Cluster::start_again).await?;
                stage.log(number, Phase::Ok, FaultKind::CommitsHang, None)
            }
            Self::PrimaryLost => {
                stage.with_cluster(Cluster::kill).await?;
                stage.with_standby(Cluster::start_again).await?;
                stage.with_standby(|standby| standby.promote()).await?;
                stage.log(number, Phase::Ok, FaultKind::CommitsHang, None)
            }
            Self::Split => stage.with_standby(|standby| standby.promote()).await,
            Self::Cut | Self::CutWaits { .. } | Self::Scatter { .. } => Ok(()),
        }
    }
}

impl fmt::Display for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failover { how } => write!(f, "the primary is away ({how:?}), then the standby is promoted"),
            Self::StandbyAway => write!(f, "the standby is away, and commits hang"),
            Self::PrimaryLost => write!(f, "the standby is away, and commits hang; then the primary is lost"),
            Self::Split => write!(f, "the standby is cut off, then promoted; the old primary lives on"),
            Self::Scatter { percent } => write!(f, "{percent} % of the sessions on the old primary end"),
            Self::CutWaits { terminate: false } => write!(f, "commits that wait are cancelled"),
            Self::CutWaits { terminate: true } => write!(f, "sessions whose commits wait are ended"),
            Self::Cut => write!(f, "the standby is cut off"),
        }
    }
}
