//! Bad weather on every link: lost and late packets, resets.

use crate::catalogue::{DEFAULT_LEASE, Drill, Load, Scene, Through};
use crate::faults::{Fault, Network, Who};
use crate::proxy::Noise;
use crate::schedule::{ENOUGH, Frame, Step, Turn, in_turn};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

/// The shortest time after which TCP sends again.
const AGAIN_MS: u64 = 200;

pub(crate) const DRILL: Drill = Drill {
    name: "flaky-network",
    summary: "up to 10 % loss, latency, jitter and resets between everybody and Postgres",
    duration: Duration::from_secs(20),
    required: &[(Required::Success, 10), (Required::FlakyNetwork, 2)],
    lease_ttl: DEFAULT_LEASE,
    scene: Scene { through: Through::Proxies, ..Drill::CALM.scene },
    load: Load { clients: 3, ..Drill::CALM.load },
    plan,
    work: |rng, number| Work { hold_ms: 20, ..Work::calm(rng, number) },
    settle: |run| run.unhurt = true,
    fast: false,
    ..Drill::CALM
};

fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let turns = (0..ENOUGH).map(|number| {
        let noise = Noise {
            delay_ms: rng.random_range(1..5),
            jitter_ms: rng.random_range(1..30),
            // The worst comes first.
            lost_percent: if number == 0 { 10 } else { rng.random_range(2..=10) },
            stall_ms: AGAIN_MS,
            resets_per_mille: rng.random_range(1..6),
        };
        let fault = Fault::Network(Network::Noise { who: Who::All, noise });
        Turn { fault, for_ms: rng.random_range(4000..6000), rest_ms: 600 }
    });
    in_turn(frame, turns)
}
