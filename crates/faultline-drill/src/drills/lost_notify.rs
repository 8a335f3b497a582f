//! Notifications do not arrive: looking is enough.

use crate::catalogue::{Drill, Load, Scene};
use crate::faults::{Fault, Network, Who};
use crate::schedule::{ENOUGH, Frame, Step, Turn, in_turn};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

/// With a free slot something that is due is claimed within this: a look each 1.4 s, and time for a loaded machine.
const CLAIM_BOUND_US: i64 = 3_000_000;

pub(crate) const DRILL: Drill = Drill {
    name: "lost-notify",
    summary: "notifications are swallowed; the listening session of each worker dies without a word",
    duration: Duration::from_secs(15),
    required: &[(Required::Success, 10), (Required::Deaf, 3)],
    scene: Scene { proxied: true, ..Drill::CALM.scene },
    // So little that each job is waited for by itself.
    load: Load { clients: 1, pause: Duration::from_millis(250), ..Drill::CALM.load },
    plan,
    work: |rng, number| Work { ms: 20, ..Work::calm(rng, number) },
    settle: |run| {
        run.claim_gap_bound_us = CLAIM_BOUND_US;
        run.unhurt = true;
    },
    ..Drill::CALM
};

fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let turns = (0..ENOUGH).map(|number| {
        let who = Who::Worker(rng.random_range(0..frame.workers));
        match number % 3 {
            0 => Turn { fault: Fault::Network(Network::Deaf { who: Who::All }), for_ms: 5000, rest_ms: 300 },
            1 => Turn { fault: Fault::Network(Network::Silence { who: Who::All }), for_ms: 3000, rest_ms: 300 },
            _ => Turn { fault: Fault::Network(Network::Silence { who }), for_ms: 2000, rest_ms: 300 },
        }
    });
    in_turn(frame, turns)
}
