//! Connections are cut around commits: before one, in its middle, after it and before its answer, in the middle of the answer.

use crate::catalogue::{Drill, Load, Scene};
use crate::faults::{Fault, Network, Process, Who};
use crate::proxy::{Cut, Statement};
use crate::schedule::{Frame, Step};
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::time::Duration;

/// Between two cuts.
const EVERY_MS: u64 = 700;
/// How long nothing arrives after a cut that goes with a partition.
const HELD_MS: u64 = 900;

pub(crate) const DRILL: Drill = Drill {
    name: "commit-cut",
    summary: "claims, enqueues, finishes and handlers' transactions cut before their commit, in it, and before its answer",
    duration: Duration::from_secs(20),
    required: &[
        (Required::Success, 10),
        (Required::FlakyNetwork, 12),
        (Required::AmbiguousEnqueue, 1),
        (Required::AmbiguousClaim, 3),
        (Required::AmbiguousFinish, 4),
    ],
    scene: Scene { proxied: true, ..Drill::CALM.scene },
    load: Load { clients: 4, pause: Duration::from_millis(80), ..Drill::CALM.load },
    plan,
    ..Drill::CALM
};

/// Every statement at every point, in a random order. Twice the API is killed while it asks what became of its enqueue, so that
/// its client has to.
fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let mut cuts: Vec<(Statement, Cut)> =
        Statement::ALL.into_iter().flat_map(|statement| Cut::ALL.map(|cut| (statement, cut))).collect();
    cuts.shuffle(rng);
    // What the drill requires most comes first, should it be told to be short.
    cuts.sort_by_key(|(_, cut)| *cut != Cut::Reply);
    let mut steps = vec![];
    let mut at_ms = EVERY_MS;
    for (statement, cut) in cuts {
        let is_last_words = statement == Statement::Enqueue && matches!(cut, Cut::Reply | Cut::Before);
        let who = match statement {
            Statement::Enqueue => Who::Api,
            _ => Who::Worker(rng.random_range(0..frame.workers)),
        };
        let then_hold = is_last_words || rng.random_bool(0.3);
        let for_ms = if then_hold { HELD_MS } else { 1 };
        if at_ms + for_ms > frame.end_ms && !steps.is_empty() {
            break;
        }
        steps.push(Step { at_ms, for_ms, fault: Fault::Network(Network::Cut { who, statement, cut, then_hold }) });
        if is_last_words {
            steps.push(Step { at_ms: at_ms + 1, for_ms: HELD_MS / 2, fault: Fault::Process(Process::KillApi) });
        }
        at_ms += EVERY_MS + for_ms;
    }
    steps
}
