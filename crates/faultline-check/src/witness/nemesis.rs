use super::Phase;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use uuid::Uuid;

/// What was done to the system, or seen to happen to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// SIGKILL of a worker process.
    Kill,
    /// SIGSTOP of a worker process, until it continues.
    Stop,
    /// SIGTERM of a worker process.
    Terminate,
    /// A process ended by itself: not a fault that was injected, but one that was seen.
    Exited,
    /// The database was stopped, crashed, or out of disk.
    DatabaseDown,
    /// Another node became the primary.
    Failover,
    /// Sessions were cancelled or terminated.
    BackendKill,
    /// No packets, between one worker (`owner`) and the database or between all of them and it.
    Partition,
    /// Lost or late packets, cut answers.
    FlakyNetwork,
    /// Notifications did not arrive.
    Deaf,
    /// Clocks of processes were moved.
    ClockSkew,
    /// A standby received nothing any more, while everything else went on.
    ReplicationCut,
    /// A standby became a primary, and the old one lives on.
    SplitBrain,
    /// Commits waited for a standby that was not there.
    CommitsHang,
    /// A session held a snapshot open.
    HeldSnapshot,
    /// A worker's renewals were held back, while its handlers went on.
    RenewalsHeld,
}

/// Where exactly a process was when a fault hit it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The name of the point.
    pub point: String,
    /// The job that it was at; none where it was at several or at none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Uuid>,
    /// The lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Uuid>,
}

/// A line of `nemesis.jsonl`: `began`, and for what lasts also `ended` with the same `fault`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRecord {
    /// Pairs beginning and end.
    pub fault: u64,
    /// `invoke` when it began, `ok` when it ended.
    pub phase: Phase,
    /// What.
    pub kind: FaultKind,
    /// The supervisor's wall clock.
    pub wall_ns: i64,
    /// The process that was hit; none: the database or everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Its worker incarnation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Uuid>,
    /// Where it was then, if that was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Place>,
}

/// A fault from its beginning to its end.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// The process that was hit.
    pub process: Option<String>,
    /// Its worker incarnation; none: everybody.
    pub owner: Option<Uuid>,
    /// Where it was then, if that was chosen.
    pub at: Option<Place>,
    /// The supervisor's wall clock.
    pub began_us: i64,
    /// The same as the beginning for what does not last, none for what never ended.
    pub ended_us: Option<i64>,
    /// Whether there was nothing that it could act on.
    pub missed: bool,
}

impl Fault {
    /// Whether nobody can work while it lasts.
    pub fn is_outage(&self) -> bool {
        match self.kind {
            FaultKind::DatabaseDown | FaultKind::Failover | FaultKind::CommitsHang => true,
            FaultKind::Partition | FaultKind::Stop => self.owner.is_none() && self.process.is_none(),
            _ => false,
        }
    }

    /// Whether it can cost this worker its session or its leases.
    pub fn hits(&self, owner: Uuid) -> bool {
        let can = !matches!(self.kind, FaultKind::ClockSkew | FaultKind::HeldSnapshot | FaultKind::ReplicationCut);
        can && self.owner.is_none_or(|hit| hit == owner)
    }

    /// Whether it hit a process at this point.
    pub fn is_at(&self, point: &str) -> bool {
        self.at.as_ref().is_some_and(|at| at.point == point)
    }

    /// Whether it lasted at some moment between the two.
    pub fn overlaps(&self, from_us: i64, to_us: i64) -> bool {
        self.began_us <= to_us && self.ended_us.is_none_or(|ended| ended >= from_us)
    }
}

/// Folds the lines into faults. Kills, exits and failovers need no end.
pub fn faults(records: impl IntoIterator<Item = FaultRecord>) -> Vec<Fault> {
    let mut all: Vec<Fault> = Vec::new();
    let mut open: HashMap<u64, usize> = HashMap::new();
    for record in records {
        let at_us = record.wall_ns / 1000;
        if record.phase != Phase::Invoke
            && let Some(at) = open.remove(&record.fault)
        {
            all[at].ended_us = Some(at_us);
            all[at].missed = record.phase == Phase::Fail;
            continue;
        }
        let lasts =
            !matches!(record.kind, FaultKind::Kill | FaultKind::Exited | FaultKind::Terminate | FaultKind::BackendKill);
        open.insert(record.fault, all.len());
        all.push(Fault {
            kind: record.kind,
            process: record.process,
            owner: record.owner,
            at: record.at,
            began_us: at_us,
            ended_us: if lasts { None } else { Some(at_us) },
            missed: false,
        });
    }
    all
}
