//! The primary dies with work in flight and its synchronous standby takes over; a worker sleeps through it.

use crate::catalogue::{Drill, Load, Scene, Standby};
use crate::faults::{Fault, Outage, Process, Replication};
use crate::schedule::{Frame, Step};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "failover",
    summary: "the primary dies with work in flight, its synchronous standby is promoted, and a worker sleeps through it",
    duration: Duration::from_secs(15),
    required: &[
        (Required::Success, 10),
        (Required::Outage, 1),
        (Required::Renewal, 1),
        (Required::Reap, 1),
        (Required::RefusedZombie, 1),
    ],
    scene: Scene { standby: Standby::Synchronous, ..Drill::CALM.scene },
    load: Load { clients: 4, ..Drill::CALM.load },
    plan,
    work,
    ..Drill::CALM
};

fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let how = if rng.random_bool(0.5) { Outage::Immediate } else { Outage::Kill };
    let worker = rng.random_range(0..frame.workers);
    let away_ms = rng.random_range(300..1500);
    let at_ms = rng.random_range(3000..4000);
    // The others take the sleeper's jobs over on the new primary: its leases end, and a reaper has been in contact for as long.
    let asleep_ms = away_ms + 3 * frame.ttl_ms + 3000;
    vec![
        Step { at_ms: at_ms - 300, for_ms: asleep_ms, fault: Fault::Process(Process::Stop { worker }) },
        Step { at_ms, for_ms: away_ms, fault: Fault::Replication(Replication::Failover { how }) },
    ]
}

/// Some handlers never yield: only the fence can refuse what they finish too late.
fn work(rng: &mut StdRng, number: u64) -> Work {
    let calm = Work::calm(rng, number);
    let (ms, hold_ms) = (rng.random_range(50..900), rng.random_range(0..200));
    Work { ms, hold_ms, blocking: number % 4 < 2, ..calm }
}
