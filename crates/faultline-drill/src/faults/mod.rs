//! Faults: one file for each thing that they act on. Each has a beginning and, where it lasts, an end; several may last at once.

mod database;
mod disk;
mod network;
mod process;
mod replication;

pub use database::{Database, Outage, Strike};
pub use disk::DiskFull;
pub use network::{Network, Who};
pub use process::{Clock, Process, Signals, Version};
pub use replication::Replication;

use crate::DrillError;
use crate::stage::Stage;
use serde::Serialize;
use std::fmt;

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "on", rename_all = "kebab-case")]
pub enum Fault {
    /// On the database.
    Database(Database),
    /// On a disk of the database.
    DiskFull(DiskFull),
    /// On a worker or the API.
    Process(Process),
    /// On the network between a process and the database.
    Network(Network),
    /// On a primary and its standby.
    Replication(Replication),
}

impl Fault {
    /// Does it; `number` names it in the witnesses.
    pub(crate) async fn begin(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        match self {
            Self::Database(fault) => fault.begin(stage, number).await,
            Self::DiskFull(fault) => fault.begin(stage, number).await,
            Self::Process(fault) => fault.begin(stage, number).await,
            Self::Network(fault) => fault.begin(stage, number).await,
            Self::Replication(fault) => fault.begin(stage, number).await,
        }
    }

    /// Ends it.
    pub(crate) async fn end(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        match self {
            Self::Database(fault) => fault.end(stage, number).await,
            Self::DiskFull(fault) => fault.end(stage, number).await,
            Self::Process(fault) => fault.end(stage, number).await,
            Self::Network(fault) => fault.end(stage, number),
            Self::Replication(fault) => fault.end(stage, number).await,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(fault) => fault.fmt(f),
            Self::DiskFull(fault) => fault.fmt(f),
            Self::Process(fault) => fault.fmt(f),
            Self::Network(fault) => fault.fmt(f),
            Self::Replication(fault) => fault.fmt(f),
        }
    }
}
