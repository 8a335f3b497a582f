//! Everybody stands still: all workers, then the database.

use crate::catalogue::{Drill, Load, Scene};
use crate::faults::{Database, Fault, Outage, Process};
use crate::schedule::{FIRST_MS, Frame, Step};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

/// Between two stalls, ms: leases are renewed, and reapers have held off.
const REST_MS: u64 = 3500;
/// Until the last of the workers is stopped as well, ms.
const ALL_MS: u64 = 500;

pub(crate) const DRILL: Drill = Drill {
    name: "mass-stall",
    summary: "SIGSTOP of Postgres for one and a half and for three lease times, then of all workers for three",
    duration: Duration::from_secs(24),
    required: &[(Required::Success, 10), (Required::Outage, 2), (Required::Reap, 1), (Required::Renewal, 10)],
    scene: Scene { slots: 16, ..Drill::CALM.scene },
    load: Load { clients: 2, ..Drill::CALM.load },
    plan,
    work: |rng, number| Work {
        ms: rng.random_range(20..2500),
        tx: number.is_multiple_of(4),
        ..Work::calm(rng, number)
    },
    fast: false,
    ..Drill::CALM
};

/// All of it, however short the drill. The workers come last: whoever was stopped may lose jobs, and is no witness for
/// what the stalls of the database cost.
fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at_ms = FIRST_MS;
    for for_ms in [frame.ttl_ms * 3 / 2, 3 * frame.ttl_ms] {
        let for_ms = for_ms + rng.random_range(0..300);
        steps.push(Step { at_ms, for_ms, fault: Fault::Database(Database::Outage { how: Outage::Pause }) });
        at_ms += for_ms + REST_MS;
    }
    let for_ms = 3 * frame.ttl_ms + ALL_MS;
    steps.extend((0..frame.workers).map(|worker| Step {
        at_ms,
        for_ms,
        fault: Fault::Process(Process::Stop { worker }),
    }));
    steps
}
