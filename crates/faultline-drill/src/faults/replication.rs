//! Faults of a primary and its standby.

use crate::DrillError;
use crate::faults::Outage;
use crate::stage::Stage;
use faultline_check::witness::{FaultKind, Phase};
use serde::Serialize;
use std::fmt;

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
}

impl Replication {
    pub(super) async fn begin(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        match self {
            Self::Failover { how } => {
                stage.log(number, Phase::Invoke, FaultKind::Failover, None)?;
                stage.with_cluster(move |cluster| how.take(cluster)).await
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
            Self::Cut => Ok(()),
        }
    }
}

impl fmt::Display for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failover { how } => write!(f, "the primary is away ({how:?}), then the standby is promoted"),
            Self::Cut => write!(f, "the standby is cut off"),
        }
    }
}
