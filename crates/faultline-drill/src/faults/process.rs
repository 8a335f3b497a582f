//! Faults of single processes: workers and the API.

use crate::DrillError;
use crate::orders::{Deed, Orders, Point};
use crate::stage::{End, Stage};
use faultline_check::witness::{FaultKind, Phase, Place};
use rustix::process::Signal;
use serde::Serialize;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// How long a killed process may take to be gone.
const DIE_LIMIT: Duration = Duration::from_secs(4);
/// How long a worker may take to come to a point: renewals come every five seconds by default, and only while jobs are held.
const REACH_LIMIT: Duration = Duration::from_secs(20);
/// Between two looks whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long requests gather in the API before it is killed.
const GATHER: Duration = Duration::from_millis(200);

/// A fault of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Process {
    /// SIGKILL of a worker, replaced at the end.
    Kill {
        /// Which.
        worker: usize,
    },
    /// The worker kills itself when it next comes to a point; replaced at the end.
    KillAt {
        /// Which.
        worker: usize,
        /// Where.
        point: Point,
    },
    /// SIGSTOP of a worker that holds jobs, SIGCONT at the end.
    Stop {
        /// Which.
        worker: usize,
    },
    /// The worker stops itself when it next comes to a point, SIGCONT at the end.
    StopAt {
        /// Which.
        worker: usize,
        /// Where.
        point: Point,
    },
    /// The thread that renews leases stands still until the end; all else in the worker goes on.
    HoldRenewals {
        /// Which.
        worker: usize,
    },
    /// SIGTERM of a worker that holds jobs, which is replaced when it has stopped.
    Terminate {
        /// Which.
        worker: usize,
        /// How often: once, or a second time while it waits for its handlers.
        signals: Signals,
    },
    /// SIGKILL of the API, replaced at the end.
    KillApi,
    /// The clock of a worker, or of the API, is moved, and set right at the end.
    MoveClock {
        /// Which worker; none: the API.
        worker: Option<usize>,
        /// How.
        clock: Clock,
    },
    /// SIGTERM of a worker, which is replaced by the other version.
    Exchange {
        /// Which.
        worker: usize,
        /// By which.
        version: Version,
    },
    /// Another version of the API starts beside the present one, which stops when requests go to its successor.
    ExchangeApi {
        /// Which.
        version: Version,
    },
}

/// How a clock is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// An hour ahead.
    Ahead,
    /// An hour behind.
    Behind,
    /// A fifth too fast.
    Fast,
    /// A fifth too slow.
    Slow,
}

/// One of the two programs of a rolling upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Version {
    /// That which was there before.
    Old,
    /// That which runs the drill.
    New,
}

/// How often a worker is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signals {
    /// Once.
    One,
    /// A second time, which means at once.
    Two,
}

impl Process {
    pub(super) async fn begin(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        match self {
            Self::Kill { worker } => {
                stage.aim(worker, true).await?;
                stage.workers[worker].end = End::Fault;
                stage.log(number, Phase::Invoke, FaultKind::Kill, Some(worker))?;
                stage.workers[worker].signal(Signal::KILL);
                stage.workers[worker].wait(DIE_LIMIT).await;
                Ok(())
            }
            Self::KillAt { worker, point } => {
                stage.aim(worker, point == Point::InShutdown).await?;
                stage.workers[worker].end = End::Fault;
                orders(stage, worker).give(point, Deed::Die)?;
                if point == Point::InShutdown {
                    stage.workers[worker].signal(Signal::TERM);
                }
                if let Some(at) = reached(stage, worker).await {
                    stage.log_at(number, FaultKind::Kill, worker, at)?;
                    stage.workers[worker].wait(DIE_LIMIT).await;
                }
                orders(stage, worker).withdraw()
            }
            Self::Stop { worker } => {
                stage.aim(worker, true).await?;
                stage.log(number, Phase::Invoke, FaultKind::Stop, Some(worker))?;
                stage.workers[worker].signal(Signal::STOP);
                Ok(())
            }
            Self::StopAt { worker, point } => hold(stage, number, worker, (point, Deed::Stop, FaultKind::Stop)).await,
            Self::HoldRenewals { worker } => {
                hold(stage, number, worker, (Point::InRenewal, Deed::Hold, FaultKind::RenewalsHeld)).await
            }
            Self::Terminate { worker, signals } => {
                stage.aim(worker, true).await?;
                let orders = orders(stage, worker);
                orders.give(Point::InShutdown, Deed::Tell)?;
                stage.terminate(worker, number)?;
                if signals == Signals::Two && reached(stage, worker).await.is_some() {
                    stage.terminate_again(worker);
                    stage.workers[worker].wait(DIE_LIMIT).await;
                }
                orders.withdraw()
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
            Self::MoveClock { worker, clock } => {
                let to = match clock {
                    Clock::Ahead => "+3600",
                    Clock::Behind => "-3600",
                    Clock::Fast => "+0 x1.2",
                    Clock::Slow => "+0 x0.8",
                };
                stage.launcher.set_clock(&name(stage, worker), to)?;
                let (name, owner) = (name(stage, worker), worker.and_then(|worker| stage.workers[worker].owner));
                stage.log_process(number, Phase::Invoke, FaultKind::ClockSkew, name, owner)
            }
            Self::Exchange { worker, version } => {
                stage.aim(worker, false).await?;
                stage.launch(version);
                stage.terminate(worker, number)
            }
            Self::ExchangeApi { version } => {
                stage.launch(version);
                stage.exchange_api().await
            }
        }
    }

    pub(super) async fn end(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        match self {
            Self::Kill { worker } => stage.replace(worker),
            Self::KillAt { worker, .. } => {
                // It may have come to the point when nobody looked any more. If it has not, the drill's requirements tell.
                if stage.workers[worker].ended() { stage.replace(worker) } else { Ok(()) }
            }
            Self::Stop { worker } => {
                stage.workers[worker].signal(Signal::CONT);
                stage.log(number, Phase::Ok, FaultKind::Stop, Some(worker))
            }
            Self::StopAt { worker, .. } => {
                orders(stage, worker).withdraw()?;
                stage.workers[worker].signal(Signal::CONT);
                stage.log(number, Phase::Ok, FaultKind::Stop, Some(worker))
            }
            Self::HoldRenewals { worker } => {
                orders(stage, worker).withdraw()?;
                stage.log(number, Phase::Ok, FaultKind::RenewalsHeld, Some(worker))
            }
            Self::KillApi => stage.replace_api().await,
            Self::MoveClock { worker, .. } => {
                stage.launcher.set_clock(&name(stage, worker), "+0")?;
                let (name, owner) = (name(stage, worker), worker.and_then(|worker| stage.workers[worker].owner));
                stage.log_process(number, Phase::Ok, FaultKind::ClockSkew, name, owner)
            }
            Self::Terminate { .. } | Self::Exchange { .. } | Self::ExchangeApi { .. } => Ok(()),
        }
    }
}

fn name(stage: &Stage, worker: Option<usize>) -> String {
    worker.map_or_else(|| stage.api.name.clone(), |worker| stage.workers[worker].name.clone())
}

fn orders(stage: &Stage, worker: usize) -> Orders {
    Orders::of(&stage.launcher.dir, &stage.workers[worker].name)
}

/// Waits until the worker has come to its point, or has ended otherwise.
async fn reached(stage: &mut Stage, worker: usize) -> Option<Place> {
    let (orders, limit) = (orders(stage, worker), Instant::now() + REACH_LIMIT);
    while Instant::now() < limit {
        // In this order: one that has ended writes nothing more.
        let ended = stage.workers[worker].ended();
        let place = orders.reached();
        if place.is_some() || ended {
            return place;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    None
}

/// Has a worker stand still at a point, as a whole or with one thread.
async fn hold(
    stage: &mut Stage,
    number: u64,
    worker: usize,
    (point, deed, kind): (Point, Deed, FaultKind),
) -> Result<(), DrillError> {
    stage.aim(worker, false).await?;
    orders(stage, worker).give(point, deed)?;
    match reached(stage, worker).await {
        Some(at) => stage.log_at(number, kind, worker, at),
        None => orders(stage, worker).withdraw(),
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { worker } => write!(f, "kill -9 of worker {worker}"),
            Self::KillAt { worker, point } => write!(f, "worker {worker} dies at {}", point.name()),
            Self::Stop { worker } => write!(f, "worker {worker} is stopped"),
            Self::StopAt { worker, point } => write!(f, "worker {worker} is stopped at {}", point.name()),
            Self::HoldRenewals { worker } => write!(f, "worker {worker} renews no leases"),
            Self::Terminate { worker, signals: Signals::One } => write!(f, "SIGTERM of worker {worker}"),
            Self::Terminate { worker, signals: Signals::Two } => write!(f, "SIGTERM of worker {worker}, twice"),
            Self::KillApi => write!(f, "kill -9 of the API"),
            Self::MoveClock { worker: Some(worker), clock } => write!(f, "the clock of worker {worker}: {clock:?}"),
            Self::MoveClock { worker: None, clock } => write!(f, "the clock of the API: {clock:?}"),
            Self::Exchange { worker, version } => write!(f, "worker {worker} is replaced by the {version:?} version"),
            Self::ExchangeApi { version } => write!(f, "the API is replaced by the {version:?} version"),
        }
    }
}
