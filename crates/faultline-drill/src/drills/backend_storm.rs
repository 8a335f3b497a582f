//! Sessions of everybody are ended, and their statements cancelled, several times a second.

use crate::catalogue::{Drill, Load};
use crate::faults::{Database, Fault, Strike};
use crate::schedule::{ENOUGH, Frame, Step, Turn, in_turn};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "backend-storm",
    summary: "pg_terminate_backend and pg_cancel_backend of random sessions, several times a second",
    duration: Duration::from_secs(16),
    required: &[(Required::Success, 10), (Required::BackendKill, 20)],
    load: Load { clients: 4, ..Drill::CALM.load },
    plan,
    work: |rng, number| Work { hold_ms: rng.random_range(0..200), ..Work::calm(rng, number) },
    settle: |run| run.unhurt = true,
    ..Drill::CALM
};

fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let strikes = [Strike::Terminate, Strike::Cancel, Strike::Either].into_iter().cycle().take(ENOUGH);
    let turns = strikes.map(|strike| {
        let (every_ms, seed) = (rng.random_range(120..300), rng.random());
        let fault = Fault::Database(Database::Storm { strike, every_ms, seed });
        Turn { fault, for_ms: rng.random_range(3000..5000), rest_ms: 500 }
    });
    in_turn(frame, turns)
}
