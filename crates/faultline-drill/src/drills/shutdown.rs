//! SIGTERM of workers with jobs that end within the grace and jobs that don't: once, twice, and while the database is away.

use crate::catalogue::{Drill, Load, Scene};
use crate::faults::{Database, Fault, Outage, Process, Signals};
use crate::schedule::{ENOUGH, FIRST_MS, Frame, Step};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use std::time::Duration;

/// Between the jobs that are shorter and those that are longer.
const GRACE: Duration = Duration::from_secs(1);
/// How long the database is away: shorter than a worker goes on trying to tell how its jobs ended.
const AWAY_MS: u64 = 3000;
/// Until every worker holds jobs of both kinds.
const GATHER_MS: u64 = 2000;
/// Turns that come in any case: one of each kind.
const KINDS: usize = 3;

pub(crate) const DRILL: Drill = Drill {
    name: "shutdown",
    summary: "SIGTERM of workers, with jobs shorter and longer than their grace; twice; while Postgres is away",
    duration: Duration::from_secs(20),
    required: &[
        (Required::Success, 10),
        (Required::Shutdown, 3),
        (Required::ShutdownAtOnce, 1),
        (Required::ShutdownInOutage, 1),
        (Required::Release, 1),
        (Required::Reap, 1),
    ],
    scene: Scene { grace: GRACE, slots: 16, ..Drill::CALM.scene },
    load: Load { clients: 2, pause: Duration::from_millis(150), ..Drill::CALM.load },
    plan,
    work: |rng, number| {
        let calm = Work::calm(rng, number);
        // Odd ones do without a transaction.
        let ms = if number % 2 == 1 { rng.random_range(2000..4000) } else { calm.ms };
        Work { ms, ..calm }
    },
    ..Drill::CALM
};

fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let (mut steps, mut at_ms) = (Vec::new(), FIRST_MS + GATHER_MS);
    for turn in 0..ENOUGH {
        let worker = rng.random_range(0..frame.workers);
        let signals = if turn % KINDS == 1 { Signals::Two } else { Signals::One };
        let away = turn % KINDS == 2;
        let lasts_ms = if away { AWAY_MS + 3500 } else { 3500 } + rng.random_range(0..500);
        if turn >= KINDS && at_ms + lasts_ms > frame.end_ms {
            break;
        }
        if away {
            let how = [Outage::Fast, Outage::Immediate, Outage::Kill];
            let how = how.choose(rng).copied().unwrap_or(Outage::Kill);
            steps.push(Step { at_ms, for_ms: AWAY_MS, fault: Fault::Database(Database::Outage { how }) });
        }
        let at_ms_of_signal = if away { at_ms + AWAY_MS / 3 } else { at_ms };
        let fault = Fault::Process(Process::Terminate { worker, signals });
        steps.push(Step { at_ms: at_ms_of_signal, for_ms: 0, fault });
        at_ms += lasts_ms;
    }
    steps
}
