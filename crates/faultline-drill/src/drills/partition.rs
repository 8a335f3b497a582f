//! Workers, the API and everybody are cut off from the database, without a connection ending.

use crate::catalogue::{Drill, Load, Scene};
use crate::faults::{Fault, Network, Who};
use crate::proxy::Way;
use crate::schedule::{Frame, Step, Turn, in_turn};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "partition",
    summary: "no packets between a worker and Postgres, each direction alone and both, for 0.5 to 10 lease times",
    duration: Duration::from_secs(22),
    required: &[
        (Required::Success, 10),
        (Required::Partition, 5),
        (Required::Reap, 1),
        (Required::RefusedZombie, 1),
        (Required::Outage, 1),
    ],
    scene: Scene { proxied: true, ..Drill::CALM.scene },
    load: Load { clients: 3, pause: Duration::from_millis(150), ..Drill::CALM.load },
    plan,
    work: |rng, number| {
        let calm = Work::calm(rng, number);
        // Some never yield: what they finish when the network is back is for the fence to refuse.
        let blocking = number.is_multiple_of(3);
        Work { ms: rng.random_range(100..900), hold_ms: rng.random_range(0..300), blocking, ..calm }
    },
    ..Drill::CALM
};

/// Everybody first, while nobody has lost anything; then one worker for ten lease times, and meanwhile the others in turn, each
/// direction, and the API.
fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let ttl_ms = frame.ttl_ms;
    let partition = |who, way| Fault::Network(Network::Partition { who, way });
    let first = rng.random_range(0..frame.workers);
    let mut others = (0..).map(|n| Who::Worker((first + 1 + n % (frame.workers - 1)) % frame.workers));
    let mut turns = vec![(Way::ToDatabase, 2 * ttl_ms), (Way::FromDatabase, 2 * ttl_ms), (Way::Both, ttl_ms / 2)];
    turns.shuffle(rng);
    let mut faults = vec![(partition(Who::All, Way::Both), 2 * ttl_ms)];
    faults.extend(turns.into_iter().filter_map(|(way, for_ms)| Some((partition(others.next()?, way), for_ms))));
    faults.push((partition(Who::Api, Way::Both), ttl_ms));
    let turns = faults.into_iter().map(|(fault, for_ms)| Turn { fault, for_ms, rest_ms: rng.random_range(800..1400) });
    let mut steps = in_turn(frame, turns);
    let long = Step { at_ms: 3 * ttl_ms + 1000, for_ms: 10 * ttl_ms, fault: partition(Who::Worker(first), Way::Both) };
    if long.at_ms + long.for_ms < frame.end_ms {
        steps.push(long);
    }
    steps
}
