//! Handlers take what the process has: every thread of its runtime, every session of its pool.

use crate::catalogue::{Drill, Load, Scene};
use crate::work::Work;
use faultline_check::witness::Required;
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;

/// Twice a lease and more.
const BLOCK_MS: u64 = 3300;
/// Longer than a call waits for a session of the pool.
const SESSIONS_MS: u64 = 3600;

pub(crate) const DRILL: Drill = Drill {
    name: "starvation",
    summary: "handlers block every thread past their leases, by sleeping and by computing, and take every pooled session",
    duration: Duration::from_secs(18),
    required: &[
        (Required::Success, 30),
        (Required::Renewal, 20),
        (Required::Outlasted, 5),
        (Required::Stalled, 1),
        (Required::NoSession, 1),
    ],
    scene: Scene { slots: 12, ..Drill::CALM.scene },
    load: Load { pause: Duration::from_millis(250), ..Drill::CALM.load },
    work,
    settle: |run| {
        run.unhurt = true;
        // A slot is of no use while every thread is taken, and two blockers may follow each other.
        run.claim_gap_bound_us += 2 * 1000 * BLOCK_MS.cast_signed();
    },
    touches_only_processes: true,
    ..Drill::CALM
};

/// Blockers come in a row, so that each process gets enough of them at once to have no thread left.
fn work(rng: &mut StdRng, number: u64) -> Work {
    let calm = Work::calm(rng, number);
    match number % 40 {
        4..16 => Work { block_ms: BLOCK_MS, tx: false, ..calm },
        20 | 28 => Work { sessions_ms: SESSIONS_MS, ..calm },
        32..35 => Work { block_ms: BLOCK_MS + rng.random_range(0..500), spin: true, tx: false, ..calm },
        _ => calm,
    }
}
