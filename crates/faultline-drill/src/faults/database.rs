//! Faults of the database as a whole.

use crate::DrillError;
use crate::stage::Stage;
use faultline_check::witness::{FaultKind, Phase};
use faultline_cluster::{Cluster, ClusterError, Mode};
use serde::Serialize;
use std::fmt;

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
}

impl Outage {
    /// Takes Postgres away.
    pub(super) fn take(self, cluster: &mut Cluster) -> Result<(), ClusterError> {
        match self {
            Self::Fast => cluster.stop(Mode::Fast),
            Self::Immediate => cluster.stop(Mode::Immediate),
            Self::Kill => cluster.kill(),
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
}

impl Database {
    pub(super) async fn begin(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        match self {
            Self::Outage { how } => {
                stage.log(number, Phase::Invoke, FaultKind::DatabaseDown, None)?;
                stage.with_cluster(move |cluster| how.take(cluster)).await
            }
        }
    }

    pub(super) async fn end(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        match self {
            Self::Outage { .. } => {
                stage.with_cluster(Cluster::start_again).await?;
                stage.log(number, Phase::Ok, FaultKind::DatabaseDown, None)
            }
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
