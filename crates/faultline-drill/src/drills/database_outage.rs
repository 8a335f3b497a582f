//! Postgres is taken away, in four ways and for four lengths.

use crate::catalogue::{Drill, Load};
use crate::faults::{Database, Fault, Outage};
use crate::schedule::{Frame, Step, Turn, in_turn};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "database-outage",
    summary: "fast and immediate stop, SIGKILL of Postgres and of one backend; for 0.3, 1, 3 and 20 lease times",
    duration: Duration::from_secs(50),
    required: &[(Required::Success, 10), (Required::Outage, 1), (Required::Renewal, 1)],
    load: Load { clients: 4, ..Drill::CALM.load },
    plan,
    work: |rng, number| {
        let calm = Work::calm(rng, number);
        Work { ms: rng.random_range(20..1500), tx: number.is_multiple_of(4), ..calm }
    },
    ..Drill::CALM
};

fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let mut how = [Outage::Fast, Outage::Immediate, Outage::Kill];
    how.shuffle(rng);
    let ttl_ms = frame.ttl_ms;
    let outages = [(how[0], ttl_ms), (Outage::Backend, ttl_ms), (how[1], 3 * ttl_ms)];
    let short_and_long = [(how[2], ttl_ms * 3 / 10), (how[0], 20 * ttl_ms)];
    let turns = outages.into_iter().chain(short_and_long).map(|(how, for_ms)| Turn {
        fault: Fault::Database(Database::Outage { how }),
        for_ms,
        rest_ms: 1500 + rng.random_range(0..500),
    });
    in_turn(frame, turns)
}
