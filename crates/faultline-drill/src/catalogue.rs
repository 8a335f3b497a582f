//! The drills: what each does, under which load, and what must have happened in it.

use crate::DrillError;
use faultline_check::witness::Required;
use std::time::Duration;

/// How long a lease lasts where a drill waits for its end: short, so that a minute holds many of them.
const SHORT_LEASE: Duration = Duration::from_millis(1500);
/// The default of the workers, where a drill shows what the defaults promise.
const DEFAULT_LEASE: Duration = Duration::from_secs(15);

/// What is done to the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nemesis {
    KillWorker,
    DatabaseOutage,
    Zombie,
    DuplicateSubmission,
    FailingJobs,
}

/// One drill of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Drill {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does to the system, in a line.
    pub summary: &'static str,
    /// How long load and faults last unless told otherwise; starting, healing and draining come on top.
    pub duration: Duration,
    /// What must have happened, and how often at least; else the drill proved nothing.
    pub required: &'static [(Required, u64)],
    /// How long leases last.
    pub lease_ttl: Duration,
    pub(crate) nemesis: Nemesis,
    /// Clients that enqueue at once, each after the other's pause.
    pub(crate) clients: u64,
    /// Between two requests of one client.
    pub(crate) pause: Duration,
}

/// Every drill.
pub const DRILLS: &[Drill] = &[
    Drill {
        name: "kill-worker",
        summary: "SIGKILL of workers, at random and at five points inside handlers; replaced after a pause",
        duration: Duration::from_secs(16),
        required: &[(Required::Success, 10), (Required::Kill, 2), (Required::LostReap, 1), (Required::Recovery, 1)],
        lease_ttl: DEFAULT_LEASE,
        nemesis: Nemesis::KillWorker,
        clients: 2,
        pause: Duration::from_millis(100),
    },
    Drill {
        name: "database-outage",
        summary: "fast and immediate stop and SIGKILL of Postgres, for 0.3, 1, 3 and 10 lease times",
        duration: Duration::from_secs(32),
        required: &[(Required::Success, 10), (Required::Outage, 1), (Required::Renewal, 1)],
        lease_ttl: SHORT_LEASE,
        nemesis: Nemesis::DatabaseOutage,
        clients: 4,
        pause: Duration::from_millis(100),
    },
    Drill {
        name: "zombie",
        summary: "SIGSTOP of a worker past its leases, takeover by another, SIGCONT; also inside handlers' transactions",
        duration: Duration::from_secs(20),
        required: &[(Required::Success, 10), (Required::Reap, 1), (Required::RefusedZombie, 1)],
        lease_ttl: SHORT_LEASE,
        nemesis: Nemesis::Zombie,
        clients: 3,
        pause: Duration::from_millis(150),
    },
    Drill {
        name: "duplicate-submission",
        summary: "eight clients, one key at a time; other requests under the same key; the API and Postgres killed in between",
        duration: Duration::from_secs(14),
        required: &[
            (Required::Success, 5),
            (Required::DuplicateHit, 10),
            (Required::Conflict, 5),
            (Required::AmbiguousEnqueue, 1),
        ],
        lease_ttl: SHORT_LEASE,
        nemesis: Nemesis::DuplicateSubmission,
        clients: 8,
        pause: Duration::from_millis(20),
    },
    Drill {
        name: "failing-jobs",
        summary: "handlers that fail k times, panic, give up, take too long, or end with huge and NUL error texts",
        duration: Duration::from_secs(12),
        required: &[(Required::Success, 10), (Required::Retry, 5)],
        lease_ttl: SHORT_LEASE,
        nemesis: Nemesis::FailingJobs,
        clients: 2,
        pause: Duration::from_millis(80),
    },
];

/// The drills that names stand for; `fast` and `all` are every drill.
///
/// # Errors
/// [`DrillError::Unknown`] for a name that is none.
pub fn select(names: &[String]) -> Result<Vec<&'static Drill>, DrillError> {
    let mut chosen: Vec<&'static Drill> = Vec::new();
    for name in names {
        let found: Vec<_> = DRILLS.iter().filter(|d| d.name == name || name == "fast" || name == "all").collect();
        if found.is_empty() {
            return Err(DrillError::Unknown(name.clone()));
        }
        for drill in found {
            if !chosen.iter().any(|known| known.name == drill.name) {
                chosen.push(drill);
            }
        }
    }
    Ok(chosen)
}
