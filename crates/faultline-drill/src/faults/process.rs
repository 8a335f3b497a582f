//! Faults of single processes: workers and the API.

use crate::DrillError;
use crate::process::order;
use crate::stage::Stage;
use faultline_check::witness::{FaultKind, Phase};
use rustix::process::Signal;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// How long a killed process may take to be gone.
const DIE_LIMIT: Duration = Duration::from_secs(4);
/// How long requests gather in the API before it is killed.
const GATHER: Duration = Duration::from_millis(200);

/// Where in a handler a worker kills itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KillPoint {
    /// The handler was called and has done nothing.
    HandlerStart,
    /// In the middle of its work.
    MidHandler,
    /// Its effect is written, its transaction is open.
    AfterEffect,
    /// The finish is done inside the transaction, which is not committed.
    FinishSent,
    /// The transaction was committed, the worker does not know yet.
    FinishAcknowledged,
}

impl KillPoint {
    pub(crate) const ALL: [Self; 5] =
        [Self::HandlerStart, Self::MidHandler, Self::AfterEffect, Self::FinishSent, Self::FinishAcknowledged];

    /// As it is written in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::HandlerStart => "handler-start",
            Self::MidHandler => "mid-handler",
            Self::AfterEffect => "after-effect",
            Self::FinishSent => "finish-sent",
            Self::FinishAcknowledged => "finish-acknowledged",
        }
    }
}

/// A fault of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Process {
    /// SIGKILL of a worker, replaced at the end.
    Kill {
        /// Which.
        worker: usize,
    },
    /// The worker kills itself when it next comes to a point; it has until the end for that, and is replaced soon after its death.
    KillAt {
        /// Which.
        worker: usize,
        /// Where.
        point: KillPoint,
    },
    /// SIGSTOP of a worker that holds jobs, SIGCONT at the end.
    Stop {
        /// Which.
        worker: usize,
    },
    /// SIGKILL of the API, replaced at the end.
    KillApi,
}

impl Process {
    pub(super) async fn begin(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        match self {
            Self::Kill { worker } => {
                stage.aim(worker, true).await?;
                stage.log(number, Phase::Invoke, FaultKind::Kill, Some(worker))?;
                stage.workers[worker].signal(Signal::KILL);
                stage.workers[worker].wait(DIE_LIMIT).await;
                Ok(())
            }
            Self::KillAt { worker, point } => {
                stage.aim(worker, false).await?;
                stage.workers[worker].ordered = true;
                let order = order(&stage.launcher.dir, &stage.workers[worker].name);
                std::fs::write(&order, point.name()).map_err(DrillError::io("write an order"))
            }
            Self::Stop { worker } => {
                stage.aim(worker, true).await?;
                stage.log(number, Phase::Invoke, FaultKind::Stop, Some(worker))?;
                stage.workers[worker].signal(Signal::STOP);
                Ok(())
            }
            Self::KillApi => {
                stage.api_seen.set(None);
                // Stopped first, so that it dies with requests that it has not answered.
                stage.api.signal(Signal::STOP);
                tokio::time::sleep(GATHER).await;
                stage.log_process(number, Phase::Invoke, FaultKind::Kill, stage.api.name.clone(), None)?;
                stage.api.signal(Signal::KILL);
                stage.api.wait(DIE_LIMIT).await;
                Ok(())
            }
        }
    }

    pub(super) async fn end(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        match self {
            Self::Kill { worker } => stage.replace(worker),
            Self::KillAt { worker, .. } => {
                // Whoever has died by now was replaced, and the successor has another name and no order.
                let order = order(&stage.launcher.dir, &stage.workers[worker].name);
                if order.exists() {
                    std::fs::remove_file(&order).map_err(DrillError::io("remove an order"))
                } else {
                    Ok(())
                }
            }
            Self::Stop { worker } => {
                stage.workers[worker].signal(Signal::CONT);
                stage.log(number, Phase::Ok, FaultKind::Stop, Some(worker))
            }
            Self::KillApi => stage.replace_api().await,
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { worker } => write!(f, "kill -9 of worker {worker}"),
            Self::KillAt { worker, point } => write!(f, "worker {worker} dies at {}", point.name()),
            Self::Stop { worker } => write!(f, "worker {worker} is stopped"),
            Self::KillApi => write!(f, "kill -9 of the API"),
        }
    }
}
