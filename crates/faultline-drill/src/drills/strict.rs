//! Strict workers: no handler goes on past the local deadline of its lease.

use crate::catalogue::{Drill, Load, Scene};
use crate::faults::{Database, Fault, Outage, Process};
use crate::schedule::{ENOUGH, Frame, Step, Turn, in_turn};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "strict",
    summary: "strict workers that are stopped past their leases, or lose the database for longer than a lease",
    required: &[
        (Required::Success, 10),
        (Required::Step, 100),
        (Required::Reap, 1),
        (Required::Release, 1),
        (Required::Outage, 1),
    ],
    // Twice the usual slots: handlers take seconds, and what the faults held up has to end before the drill does.
    scene: Scene { strict: true, slots: 12, ..Drill::CALM.scene },
    load: Load { clients: 3, pause: Duration::from_millis(200), ..Drill::CALM.load },
    plan,
    work: |rng, number| Work {
        // Longer than a lease and a half, so that every fault meets handlers that it must stop.
        ms: rng.random_range(3000..6000),
        step_ms: 50,
        tx: number.is_multiple_of(4),
        ..Work::calm(rng, number)
    },
    fast: false,
    ..Drill::CALM
};

fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let turns = (0..ENOUGH).map(|number| {
        let (fault, for_ms) = if number % 2 == 0 {
            let worker = rng.random_range(0..frame.workers);
            (Fault::Process(Process::Stop { worker }), 2 * frame.ttl_ms + rng.random_range(1500..2500))
        } else {
            (Fault::Database(Database::Outage { how: Outage::Kill }), frame.ttl_ms + rng.random_range(1000..2000))
        };
        Turn { fault, for_ms, rest_ms: 2000 + rng.random_range(0..500) }
    });
    in_turn(frame, turns)
}
