//! The standby is promoted while the old primary lives on, and sessions of every process end up on either side.

use crate::catalogue::{Drill, Load, Scene, Standby};
use crate::faults::{Fault, Replication};
use crate::schedule::{Frame, Step};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "split-brain",
    summary: "the standby is promoted with the old primary alive, and sessions of all processes are scattered over both",
    duration: Duration::from_secs(16),
    required: &[(Required::Success, 10), (Required::LostAck, 1), (Required::SplitBrain, 1), (Required::BackendKill, 2)],
    scene: Scene { standby: Standby::Split, ..Drill::CALM.scene },
    plan,
    work: |rng, number| Work { ms: rng.random_range(50..1200), blocking: number % 4 == 1, ..Work::calm(rng, number) },
    load: Load { pause: Duration::from_millis(120), ..Drill::CALM.load },
    settle: |run| {
        run.asynchronous_failover = true;
        // A side is looked after when the first reaper's session has come to it, at the last scattering at the latest.
        run.reap_bound_us = 15_000_000;
    },
    fast: false,
    ..Drill::CALM
};

fn plan(rng: &mut StdRng, _: &Frame) -> Vec<Step> {
    let step = |at_ms, for_ms, fault| Step { at_ms, for_ms, fault: Fault::Replication(fault) };
    let split_ms = rng.random_range(2000..3000);
    let mut steps = vec![step(split_ms, 700, Replication::Split)];
    // The first times only some sessions of each process move, the last time the rest.
    for (number, percent) in [50, 50, 100].into_iter().enumerate() {
        let at_ms = split_ms + 2000 + 3000 * number as u64 + rng.random_range(0..800);
        steps.push(step(at_ms, 0, Replication::Scatter { percent }));
    }
    steps
}
