//! PgBouncer in transaction mode between everybody and Postgres, while workers are killed and stopped.

use crate::catalogue::{Drill, Load, Scene, Through};
use crate::faults::{Fault, Process};
use crate::needs::Need;
use crate::schedule::{ENOUGH, Frame, Step, Turn, in_turn};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

/// No session tells that a worker is gone: its leases run out, of which a reaper hears with its next look.
const RECOVERY_BOUND_US: i64 = 6_000_000;

pub(crate) const DRILL: Drill = Drill {
    name: "pooler",
    summary: "PgBouncer in transaction mode between everybody and Postgres; a worker is killed, another stopped past its leases",
    duration: Duration::from_secs(16),
    required: &[
        (Required::Success, 10),
        (Required::Kill, 1),
        (Required::Recovery, 1),
        (Required::Reap, 1),
        (Required::RefusedZombie, 1),
    ],
    needs: &[Need::Program("pgbouncer", "pgbouncer")],
    scene: Scene { through: Through::Pooler, ..Drill::CALM.scene },
    load: Load { clients: 3, ..Drill::CALM.load },
    plan,
    work: |rng, number| {
        let calm = Work::calm(rng, number);
        Work { ms: rng.random_range(100..600), hold_ms: rng.random_range(0..200), blocking: true, ..calm }
    },
    settle: |run| run.recovery_bound_us = RECOVERY_BOUND_US,
    fast: false,
    ..Drill::CALM
};

fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let turns = (0..ENOUGH).map(|number| {
        let worker = rng.random_range(0..frame.workers);
        if number % 2 == 0 {
            let fault = Fault::Process(Process::Stop { worker });
            return Turn { fault, for_ms: 2 * frame.ttl_ms + rng.random_range(1000..1500), rest_ms: 800 };
        }
        let (for_ms, rest_ms) = (rng.random_range(500..1000), rng.random_range(1500..2000));
        Turn { fault: Fault::Process(Process::Kill { worker }), for_ms, rest_ms }
    });
    in_turn(frame, turns)
}
