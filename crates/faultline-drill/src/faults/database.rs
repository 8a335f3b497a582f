//! Faults of the database as a whole.

use crate::DrillError;
use crate::database;
use crate::history::{Lines, wall_ns};
use crate::stage::Stage;
use faultline_check::witness::{FaultKind, FaultRecord, Phase};
use faultline_cluster::{Cluster, ClusterError, Mode};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Client;
use tokio_util::task::AbortOnDropHandle;

/// Strikes of storms are numbered from here on, those of each storm apart.
const STRIKES: u64 = 1 << 32;
const MOST_STRIKES: u64 = 1 << 20;

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
                stage.with_cluster(move |cluster| how.take(cluster)).await
            }
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
            Self::Outage { .. } => {
                stage.with_cluster(Cluster::start_again).await?;
                stage.log(number, Phase::Ok, FaultKind::DatabaseDown, None)
            }
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
            let record = FaultRecord { fault, phase: Phase::Invoke, kind, wall_ns, process: None, owner: None };
            nemesis.write(&record).expect("a log on the local disk can be written");
        }
        tokio::time::sleep(how.1).await;
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outage { how } => write!(f, "Postgres is away ({how:?})"),
            Self::Storm { strike, every_ms, .. } => write!(f, "{strike:?} of a session every {every_ms} ms"),
        }
    }
}
