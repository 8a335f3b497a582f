//! Faults of the network between processes and the database, by the proxy of each process (`proxy`).

use crate::DrillError;
use crate::proxy::{Cut, Noise, Proxy, Statement, Way};
use crate::stage::Stage;
use faultline_check::witness::{FaultKind, Phase};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// How long a cut waits for its statement.
const HIT_LIMIT: Duration = Duration::from_secs(3);

/// Whose link it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// A worker's.
    Worker(usize),
    /// The API's.
    Api,
    /// Everybody's.
    All,
}

/// A fault of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Network {
    /// Nothing arrives, nothing is refused; what was sent arrives at the end.
    Partition {
        /// Whose link.
        who: Who,
        /// Which direction.
        way: Way,
    },
    /// New connections are refused, those that are open are reset.
    Refuse {
        /// Whose link.
        who: Who,
    },
    /// Late, lost and reset.
    Noise {
        /// Whose link.
        who: Who,
        /// How bad.
        noise: Noise,
    },
    /// The next such statement is cut.
    Cut {
        /// Whose link.
        who: Who,
        /// What is cut.
        statement: Statement,
        /// Where.
        cut: Cut,
        /// Whether nothing arrives from then on, to the end.
        then_hold: bool,
    },
    /// Notifications are swallowed, nothing else.
    Deaf {
        /// Whose link.
        who: Who,
    },
    /// Connections that listen die without anybody being told; new ones live.
    Silence {
        /// Whose link.
        who: Who,
    },
}

impl Network {
    fn who(self) -> Who {
        match self {
            Self::Partition { who, .. }
            | Self::Refuse { who }
            | Self::Noise { who, .. }
            | Self::Cut { who, .. }
            | Self::Deaf { who }
            | Self::Silence { who } => who,
        }
    }

    fn kind(self) -> FaultKind {
        match self {
            Self::Partition { .. } | Self::Refuse { .. } => FaultKind::Partition,
            Self::Noise { .. } | Self::Cut { .. } => FaultKind::FlakyNetwork,
            Self::Deaf { .. } | Self::Silence { .. } => FaultKind::Deaf,
        }
    }

    pub(super) async fn begin(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        if let Who::Worker(worker) = self.who() {
            let must_hold = matches!(self, Self::Partition { .. } | Self::Refuse { .. });
            stage.aim(worker, must_hold).await?;
        }
        self.log(stage, number, Phase::Invoke)?;
        for proxy in links(stage, self.who()) {
            match self {
                Self::Partition { way, .. } => proxy.hold(way),
                Self::Refuse { .. } => {
                    proxy.refuse(true);
                    proxy.reset();
                }
                Self::Noise { noise, .. } => proxy.disturb(Some(noise)),
                Self::Cut { statement, cut, then_hold, .. } => {
                    // Nothing to cut: then the drill misses what it requires.
                    proxy.cut_next(statement, cut, then_hold, HIT_LIMIT).await;
                }
                Self::Deaf { .. } => proxy.deafen(true),
                Self::Silence { .. } => proxy.silence_listeners(),
            }
        }
        Ok(())
    }

    pub(super) fn end(self, stage: &mut Stage, number: u64) -> Result<(), DrillError> {
        for proxy in links(stage, self.who()) {
            match self {
                Self::Partition { way, .. } => proxy.release(way),
                Self::Refuse { .. } => proxy.refuse(false),
                Self::Noise { .. } => proxy.disturb(None),
                Self::Cut { .. } => proxy.heal_cut(),
                Self::Deaf { .. } => proxy.deafen(false),
                Self::Silence { .. } => {}
            }
        }
        let swallowed: u64 = links(stage, self.who()).into_iter().map(Proxy::swallowed).sum();
        let missed = matches!(self, Self::Deaf { .. }) && swallowed == 0;
        self.log(stage, number, if missed { Phase::Fail } else { Phase::Ok })
    }

    fn log(self, stage: &mut Stage, number: u64, phase: Phase) -> Result<(), DrillError> {
        match self.who() {
            Who::Worker(worker) => stage.log(number, phase, self.kind(), Some(worker)),
            Who::Api => stage.log_process(number, phase, self.kind(), stage.api.name.clone(), None),
            Who::All => stage.log(number, phase, self.kind(), None),
        }
    }
}

fn links(stage: &Stage, who: Who) -> Vec<&Proxy> {
    let workers = stage.workers.iter().enumerate().filter(|(n, _)| who == Who::All || who == Who::Worker(*n));
    let api = (who == Who::All || who == Who::Api).then_some(&stage.api.link);
    workers.map(|(_, worker)| &worker.link).chain(api).flatten().collect()
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(worker) => write!(f, "worker {worker}"),
            Self::Api => write!(f, "the API"),
            Self::All => write!(f, "everybody"),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.who();
        match self {
            Self::Partition { way: Way::Both, .. } => write!(f, "no packets between {who} and Postgres"),
            Self::Partition { way: Way::ToDatabase, .. } => write!(f, "no packets from {who} to Postgres"),
            Self::Partition { way: Way::FromDatabase, .. } => write!(f, "no packets from Postgres to {who}"),
            Self::Refuse { .. } => write!(f, "connections of {who} are reset and refused"),
            Self::Noise { noise: Noise { lost_percent, .. }, .. } => {
                write!(f, "{lost_percent} % loss, late packets and resets for {who}")
            }
            Self::Cut { statement, cut, .. } => write!(f, "{statement:?} of {who} is cut ({cut:?})"),
            Self::Deaf { .. } => write!(f, "{who} gets no notifications"),
            Self::Silence { .. } => write!(f, "the listening session of {who} dies silently"),
        }
    }
}
