//! SIGKILL of workers: at a random moment while they hold jobs, and at chosen points of a handler.

use crate::catalogue::{DEFAULT_LEASE, Drill};
use crate::faults::{Fault, KillPoint, Process};
use crate::schedule::{ENOUGH, Frame, Step, Turn, in_turn};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "kill-worker",
    summary: "SIGKILL of workers, at random and at five points inside handlers; replaced after a pause",
    duration: Duration::from_secs(16),
    required: &[(Required::Success, 10), (Required::Kill, 2), (Required::LostReap, 1), (Required::Recovery, 1)],
    lease_ttl: DEFAULT_LEASE,
    plan,
    work: |rng, number| Work { hold_ms: 50, ..Work::calm(rng, number) },
    touches_only_processes: true,
    ..Drill::CALM
};

fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let mut points: Vec<KillPoint> = Vec::new();
    let turns = (0..ENOUGH).map(|number| {
        let worker = rng.random_range(0..frame.workers);
        if number % 2 == 0 {
            let (for_ms, rest_ms) = (rng.random_range(200..1000), rng.random_range(800..1400));
            return Turn { fault: Fault::Process(Process::Kill { worker }), for_ms, rest_ms };
        }
        if points.is_empty() {
            points = KillPoint::ALL.to_vec();
            points.shuffle(rng);
        }
        let point = points.pop().unwrap_or(KillPoint::MidHandler);
        let (for_ms, rest_ms) = (rng.random_range(1200..2200), 0);
        Turn { fault: Fault::Process(Process::KillAt { worker, point }), for_ms, rest_ms }
    });
    in_turn(frame, turns)
}
