//! Many clients, one key: while the API and Postgres are killed in between.

use crate::catalogue::{Drill, Load};
use crate::faults::{Database, Fault, Outage, Process};
use crate::schedule::{ENOUGH, Frame, Step, Turn, in_turn};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "duplicate-submission",
    summary: "eight clients, one key at a time; other requests under the same key; the API and Postgres killed in between",
    duration: Duration::from_secs(14),
    required: &[
        (Required::Success, 5),
        (Required::DuplicateHit, 10),
        (Required::Conflict, 5),
        (Required::AmbiguousEnqueue, 1),
    ],
    load: Load { clients: 8, pause: Duration::from_millis(20), per_key: 16, ..Drill::CALM.load },
    plan,
    work: |rng, number| Work { ms: 20, ..Work::calm(rng, number) },
    ..Drill::CALM
};

fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let turns = (0..ENOUGH).map(|number| {
        let how = if rng.random_bool(0.5) { Outage::Immediate } else { Outage::Kill };
        let (fault, for_ms) = if number % 2 == 0 {
            (Fault::Process(Process::KillApi), rng.random_range(100..500))
        } else {
            (Fault::Database(Database::Outage { how }), rng.random_range(300..1200))
        };
        Turn { fault, for_ms, rest_ms: rng.random_range(1500..2000) }
    });
    in_turn(frame, turns)
}
