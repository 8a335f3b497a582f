//! Renewals stop while handlers go on: their leases run out under them, and they finish late.

use crate::catalogue::{Drill, Load, Scene};
use crate::faults::{Fault, Process};
use crate::schedule::{ENOUGH, Frame, Step, Turn, at_least};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

/// Enough for some to finish between the end of a lease and the next look of a reaper.
const TURNS: usize = 4;

pub(crate) const DRILL: Drill = Drill {
    name: "lease-expiry",
    summary: "a worker's renewals stop; its handlers go on past their leases and finish late",
    duration: Duration::from_secs(20),
    required: &[
        (Required::Success, 10),
        (Required::Renewal, 10),
        (Required::Reap, 3),
        (Required::RefusedZombie, 1),
        (Required::LateSuccess, 1),
    ],
    scene: Scene { slots: 20, ..Drill::CALM.scene },
    load: Load { clients: 4, pause: Duration::from_millis(200), ..Drill::CALM.load },
    plan,
    // About as long as a lease, the grace after it and a look of the reapers.
    work: |rng, number| Work { ms: rng.random_range(300..4000), hold_ms: 50, ..Work::calm(rng, number) },
    ..Drill::CALM
};

fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let turns = (0..ENOUGH).map(|_| Turn {
        fault: Fault::Process(Process::HoldRenewals { worker: rng.random_range(0..frame.workers) }),
        for_ms: 2 * frame.ttl_ms + rng.random_range(500..1500),
        rest_ms: 1000,
    });
    at_least(TURNS, frame, turns)
}
