//! What a drill is, and the list of all.

use crate::DrillError;
use crate::drills;
use crate::enqueuer::DEADLINE;
use crate::guest::Guest;
use crate::needs::Need;
use crate::schedule::{Frame, Step};
use crate::work::Work;
use faultline_check::witness::{Required, Run};
use rand::rngs::StdRng;
use std::time::Duration;

/// How long a lease lasts where a drill waits for its end: short, so that a minute holds many of them.
pub(crate) const SHORT_LEASE: Duration = Duration::from_millis(1500);
/// The default of the workers, where a drill shows what the defaults promise.
pub(crate) const DEFAULT_LEASE: Duration = Duration::from_secs(15);

/// One drill of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Drill {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does to the system, in a line.
    pub summary: &'static str,
    /// How long load and faults last unless told otherwise; starting, healing and draining come on top.
    pub duration: Duration,
    /// Whether it belongs to the set `fast`, which runs wherever the tests do.
    pub fast: bool,
    /// Whether it does nothing but to its own processes, so that it can run against somebody's own database.
    pub touches_only_processes: bool,
    /// What must have happened, and how often at least; else the drill proved nothing.
    pub required: &'static [(Required, u64)],
    /// How long leases last.
    pub lease_ttl: Duration,
    /// What this machine must have; the drill is skipped without it.
    pub(crate) needs: &'static [Need],
    pub(crate) scene: Scene,
    pub(crate) load: Load,
    /// Somebody else who uses the system, for as long as the load lasts.
    pub(crate) guest: Option<Guest>,
    /// The faults, from the seed.
    pub(crate) plan: fn(&mut StdRng, &Frame) -> Vec<Step>,
    /// What job number so and so asks its handler to do, from the seed and that number.
    pub(crate) work: fn(&mut StdRng, u64) -> Work,
    /// Sets the bounds by which the checker judges this drill, where they are not the usual ones.
    pub(crate) settle: fn(&mut Run),
}

/// What the faults act on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene {
    /// Jobs that a worker runs at once.
    pub(crate) slots: usize,
    /// How long handlers may go on when a worker is told to stop.
    pub(crate) grace: Duration,
    /// Whether jobs kill their workers, which are then replaced.
    pub(crate) mortal: bool,
    /// Addresses that a worker may use, MiB; none: as many as it likes.
    pub(crate) memory_mib: Option<u64>,
    /// Settings of the cluster beside the usual ones.
    pub(crate) settings: &'static [(&'static str, &'static str)],
    /// Whether workers stop handlers at the deadline of their lease.
    pub(crate) strict: bool,
    /// Workers in each process.
    pub(crate) incarnations: usize,
    /// Whether the clocks of processes can be moved.
    pub(crate) clocks: bool,
    /// Whether an older version works beside this one: the processes begin with it.
    pub(crate) versions: bool,
    /// Between two samples.
    pub(crate) sample_every: Duration,
    /// Whether there is a standby to fail over to.
    pub(crate) standby: Standby,
    /// How processes reach Postgres.
    pub(crate) through: Through,
    /// Disks that can be filled, if any.
    pub(crate) disks: Option<SmallDisks>,
}

/// What stands between the processes and Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    /// Nothing.
    Nothing,
    /// A proxy each, which faults of the network need.
    Proxies,
    /// PgBouncer in transaction mode.
    Pooler,
}

/// Sizes of disks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SmallDisks {
    /// Holds the database of the drill.
    pub(crate) tables_mib: u32,
    /// Holds the write-ahead log.
    pub(crate) wal_mib: u32,
}

/// The second server of a scene. Every process knows both and works on the one that takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standby {
    /// There is one server.
    None,
    /// Commits wait for the standby.
    Synchronous,
    /// They do not, so that a failover may lose some: the old primary is a witness of its own.
    Asynchronous,
    /// They do not, and half of the processes prefer the standby once it takes writes.
    Split,
}

/// What is enqueued.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Clients that enqueue at once, each after the other's pause.
    pub(crate) clients: u64,
    /// Between two requests of one client.
    pub(crate) pause: Duration,
    /// Requests under one key; of more than one, every fourth asks for something else.
    pub(crate) per_key: u64,
    /// Starts of a job at most.
    pub(crate) max_attempts: i32,
    /// How long an attempt may take, as the API reads it.
    pub(crate) timeout: &'static str,
    /// How long a client waits for an answer before it hangs up.
    pub(crate) patience: Duration,
}

impl Drill {
    /// A drill without faults, from which the others differ.
    pub(crate) const CALM: Self = Self {
        name: "calm",
        summary: "",
        duration: Duration::from_secs(20),
        fast: true,
        touches_only_processes: false,
        required: &[(Required::Success, 10)],
        lease_ttl: SHORT_LEASE,
        needs: &[],
        scene: Scene {
            slots: 6,
            grace: Duration::from_secs(5),
            mortal: false,
            memory_mib: None,
            standby: Standby::None,
            through: Through::Nothing,
            disks: None,
            settings: &[],
            strict: false,
            incarnations: 1,
            clocks: false,
            versions: false,
            sample_every: Duration::from_millis(100),
        },
        load: Load {
            clients: 2,
            pause: Duration::from_millis(100),
            per_key: 1,
            max_attempts: 8,
            timeout: "60s",
            patience: DEADLINE,
        },
        guest: None,
        plan: |_, _| Vec::new(),
        work: |rng, number| Work::calm(rng, number),
        settle: |_| {},
    };
}

/// Every drill.
pub const DRILLS: &[Drill] = &[
    drills::kill_worker::DRILL,
    drills::failing_jobs::DRILL,
    drills::lease_expiry::DRILL,
    drills::database_outage::DRILL,
    drills::duplicate_submission::DRILL,
    drills::zombie::DRILL,
    drills::mass_stall::DRILL,
    drills::partition::DRILL,
    drills::flaky_network::DRILL,
    drills::commit_cut::DRILL,
    drills::backend_storm::DRILL,
    drills::clock_skew::DRILL,
    drills::disk_full::DRILL,
    drills::failover::DRILL,
    drills::failover_async::DRILL,
    drills::split_brain::DRILL,
    drills::sync_cancel::DRILL,
    drills::cancellation_storm::DRILL,
    drills::starvation::DRILL,
    drills::poison::DRILL,
    drills::poison::BY_LEASE,
    drills::herd::DRILL,
    drills::shutdown::DRILL,
    drills::held_snapshot::DRILL,
    drills::lost_notify::DRILL,
    drills::pooler::DRILL,
    drills::payloads::DRILL,
    drills::rolling_upgrade::DRILL,
    drills::strict::DRILL,
    drills::random::DRILL,
];

/// The drills that names stand for; `all` is every drill, `fast` those that run wherever the tests do.
///
/// # Errors
/// [`DrillError::Unknown`] for a name that is none.
pub fn select(names: &[String]) -> Result<Vec<&'static Drill>, DrillError> {
    let mut chosen: Vec<&'static Drill> = Vec::new();
    for name in names {
        let meant = |d: &&Drill| d.name == name || name == "all" || (name == "fast" && d.fast);
        let found: Vec<_> = DRILLS.iter().filter(meant).collect();
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
