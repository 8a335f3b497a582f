//! A hundred workers come back at once, and ten thousand jobs become due at one instant.

use crate::catalogue::{DEFAULT_LEASE, Drill, Load, Scene};
use crate::faults::{Database, Fault, Outage};
use crate::guest::herd::herd;
use crate::schedule::{Frame, Step};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

/// Workers in each process: with three processes about a hundred, each with sessions, a lease thread and a reaper of its own.
const INCARNATIONS: usize = 34;

pub(crate) const DRILL: Drill = Drill {
    name: "herd",
    summary: "a hundred workers (34 in a process) reconnect after an outage; 10,000 jobs become due at one instant",
    duration: Duration::from_secs(20),
    fast: false,
    required: &[(Required::Success, 10_000), (Required::Outage, 1), (Required::Reconnect, 80)],
    lease_ttl: DEFAULT_LEASE,
    scene: Scene {
        slots: 4,
        incarnations: INCARNATIONS,
        sample_every: Duration::from_secs(2),
        settings: &[("max_connections", "900")],
        ..Drill::CALM.scene
    },
    load: Load { clients: 1, pause: Duration::from_millis(200), ..Drill::CALM.load },
    guest: Some(|visit| Box::pin(herd(visit))),
    plan: |rng: &mut StdRng, _: &Frame| {
        let (at_ms, for_ms) = (2000, rng.random_range(2500..3500));
        vec![Step { at_ms, for_ms, fault: Fault::Database(Database::Outage { how: Outage::Fast }) }]
    },
    work: |rng, number| Work { light: true, tx: false, ..Work::calm(rng, number) },
    settle: |run| {
        run.uncounted = true;
        run.connects_per_100ms = 50;
    },
    ..Drill::CALM
};
