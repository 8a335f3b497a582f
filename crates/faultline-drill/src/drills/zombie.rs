//! Workers are stopped past their leases, others take their jobs over, then they go on as if nothing had happened.

use crate::catalogue::{Drill, Load, Scene};
use crate::faults::{Fault, Process};
use crate::orders::Point;
use crate::schedule::{ENOUGH, FIRST_MS, Frame, Step};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::time::Duration;

/// Where they are stopped: a claim whose handlers have not started, a plain handler, and inside a transaction before and after
/// its finish.
const POINTS: [Point; 4] = [Point::AfterClaim, Point::MidHandler, Point::AfterEffect, Point::FinishSent];
/// Workers that are stopped at once.
const PAIR: usize = 2;

pub(crate) const DRILL: Drill = Drill {
    name: "zombie",
    summary: "SIGSTOP of two workers at four points past their leases, takeover by others, SIGCONT",
    duration: Duration::from_secs(15),
    required: &[
        (Required::Success, 10),
        (Required::Reap, 4),
        (Required::RefusedAfterClaim, 1),
        (Required::RefusedMidHandler, 1),
        (Required::RefusedAfterEffect, 1),
        (Required::RefusedFinishSent, 1),
    ],
    // The one that is left can do all the work.
    scene: Scene { slots: 16, ..Drill::CALM.scene },
    load: Load { clients: 3, pause: Duration::from_millis(150), ..Drill::CALM.load },
    plan,
    work: |rng, number| {
        let calm = Work::calm(rng, number);
        // Whoever takes a job over is still at it when the zombie wakes: else there would be nobody to take it from.
        let again_ms = 3500;
        Work { again_ms, ms: rng.random_range(200..700), hold_ms: rng.random_range(100..400), blocking: true, ..calm }
    },
    touches_only_processes: true,
    ..Drill::CALM
};

/// Two at a time, so that with three workers one is left to take over; each point once, however short the drill.
fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let (mut steps, mut at_ms) = (Vec::new(), FIRST_MS);
    let mut points: Vec<Point> = Vec::new();
    while steps.len() < ENOUGH {
        let for_ms = 2 * frame.ttl_ms + rng.random_range(1500..2500);
        let begun = steps.len() >= POINTS.len();
        if begun && at_ms + for_ms > frame.end_ms {
            break;
        }
        if points.is_empty() {
            points = POINTS.to_vec();
            points.shuffle(rng);
        }
        let first = rng.random_range(0..frame.workers);
        let together = PAIR.min(frame.workers - 1).min(points.len());
        steps.extend(points.drain(..together).enumerate().map(|(n, point)| {
            let worker = (first + n) % frame.workers;
            Step { at_ms, for_ms, fault: Fault::Process(Process::StopAt { worker, point }) }
        }));
        at_ms += for_ms + 1500;
    }
    steps
}
