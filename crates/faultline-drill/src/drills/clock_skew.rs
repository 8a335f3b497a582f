//! Clocks of workers and of the API are wrong: ahead, behind, too fast, too slow, and set back and forth.

use crate::catalogue::{Drill, Load, Scene};
use crate::faults::{Clock, Fault, Process};
use crate::schedule::{Frame, Step};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use std::time::Duration;

/// Between two moves of clocks.
const APART_MS: u64 = 900;

pub(crate) const DRILL: Drill = Drill {
    name: "clock-skew",
    summary: "clocks of workers and API jump an hour ahead and behind, and drift by a fifth, under strict workers",
    duration: Duration::from_secs(16),
    required: &[
        (Required::Success, 30),
        (Required::ClockSkew, 4),
        (Required::Renewal, 20),
        (Required::Outlasted, 5),
        (Required::Step, 100),
    ],
    scene: Scene { clocks: true, strict: true, ..Drill::CALM.scene },
    load: Load { pause: Duration::from_millis(200), ..Drill::CALM.load },
    plan,
    work: |rng, number| {
        let ms = if number.is_multiple_of(3) { rng.random_range(3500..5000) } else { rng.random_range(20..300) };
        Work { ms, step_ms: 50, ..Work::calm(rng, number) }
    },
    settle: |run| run.unhurt = true,
    fast: false,
    ..Drill::CALM
};

/// Several clocks are wrong at a time, each in its own way.
fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let mut ways: Vec<Clock> = Vec::new();
    let at = (1000..frame.end_ms.saturating_sub(1000)).step_by(usize::try_from(APART_MS).unwrap_or(1000));
    at.map(|at_ms| {
        if ways.is_empty() {
            ways = vec![Clock::Ahead, Clock::Behind, Clock::Fast, Clock::Slow];
            ways.shuffle(rng);
        }
        let clock = ways.pop().unwrap_or(Clock::Ahead);
        let worker = Some(rng.random_range(0..=frame.workers)).filter(|worker| *worker < frame.workers);
        Step {
            at_ms,
            for_ms: rng.random_range(1500..3500),
            fault: Fault::Process(Process::MoveClock { worker, clock }),
        }
    })
    .collect()
}
