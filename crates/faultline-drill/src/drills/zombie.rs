//! A worker is stopped past its leases, others take its jobs over, then it goes on as if nothing had happened.

use crate::catalogue::{Drill, Load};
use crate::faults::{Fault, Process};
use crate::schedule::{ENOUGH, Frame, Step, Turn, in_turn};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "zombie",
    summary: "SIGSTOP of a worker past its leases, takeover by another, SIGCONT; also inside handlers' transactions",
    required: &[(Required::Success, 10), (Required::Reap, 1), (Required::RefusedZombie, 1)],
    load: Load { clients: 3, pause: Duration::from_millis(150), ..Drill::CALM.load },
    plan,
    work: |rng, number| {
        let calm = Work::calm(rng, number);
        Work { ms: rng.random_range(200..700), hold_ms: rng.random_range(100..400), blocking: true, ..calm }
    },
    touches_only_processes: true,
    ..Drill::CALM
};

fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let turns = (0..ENOUGH).map(|_| {
        let for_ms = 2 * frame.ttl_ms + rng.random_range(1500..2500);
        let worker = rng.random_range(0..frame.workers);
        Turn { fault: Fault::Process(Process::Stop { worker }), for_ms, rest_ms: 1500 }
    });
    in_turn(frame, turns)
}
