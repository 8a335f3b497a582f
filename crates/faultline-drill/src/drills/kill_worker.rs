//! SIGKILL of workers: at each of eight points, and at random moments while they hold jobs.

use crate::catalogue::{DEFAULT_LEASE, Drill, Load};
use crate::faults::{Fault, Process};
use crate::orders::Point;
use crate::schedule::{ENOUGH, Frame, Step, Turn, at_least};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::time::Duration;

/// Of so many turns one is a kill at a random moment.
const RANDOM: usize = 4;
/// Turns until each of the eight points had its own.
const EVERY_POINT: usize = 10;

pub(crate) const DRILL: Drill = Drill {
    name: "kill-worker",
    summary: "SIGKILL of workers, at eight points from claim to shutdown and at random; replaced after a pause",
    duration: Duration::from_secs(14),
    required: &[
        (Required::Success, 10),
        (Required::Kill, 8),
        (Required::KillPoint, 8),
        (Required::LostReap, 1),
        (Required::Recovery, 1),
    ],
    lease_ttl: DEFAULT_LEASE,
    load: Load { pause: Duration::from_millis(60), ..Drill::CALM.load },
    plan,
    touches_only_processes: true,
    // Some take longer, so that a worker always has something to renew and to wait for.
    work: |rng, number| {
        let calm = Work::calm(rng, number);
        let ms = if number.is_multiple_of(5) { rng.random_range(600..1500) } else { calm.ms };
        Work { ms, hold_ms: 50, ..calm }
    },
    ..Drill::CALM
};

fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let mut points: Vec<Point> = Vec::new();
    let turns = (0..ENOUGH).map(|number| {
        let (worker, for_ms, rest_ms) =
            (rng.random_range(0..frame.workers), rng.random_range(200..800), rng.random_range(400..900));
        if number % RANDOM == RANDOM - 1 {
            return Turn { fault: Fault::Process(Process::Kill { worker }), for_ms, rest_ms };
        }
        if points.is_empty() {
            points = Point::ALL.to_vec();
            points.shuffle(rng);
        }
        let point = points.pop().unwrap_or(Point::MidHandler);
        Turn { fault: Fault::Process(Process::KillAt { worker, point }), for_ms, rest_ms }
    });
    at_least(EVERY_POINT, frame, turns)
}
