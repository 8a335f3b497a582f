#![doc = include_str!("../README.md")]

mod ground;
mod invariants;
#[cfg(feature = "live")]
pub mod live;
mod read;
mod recovery;
mod verdict;
pub mod witness;

pub use invariants::{INVARIANTS, Invariant};
pub use read::{MAX_LINE_BYTES, MAX_LINES, ReadError, read_dir};
pub use recovery::Recovery;
pub use verdict::{MAX_VIOLATIONS_KEPT, Outcome, Status, Verdict, Violation};
pub use witness::Witnesses;

use ground::Ground;

/// Judges a run by its witnesses: every invariant, what was required to happen, and how long recoveries took.
pub fn check(witnesses: &Witnesses) -> Verdict {
    let ground = Ground::new(witnesses);
    let outcomes = INVARIANTS.iter().map(|invariant| invariant.judge(&ground)).collect();
    Verdict {
        drill: witnesses.run.drill.clone(),
        seed: witnesses.run.seed,
        outcomes,
        recovery: recovery::measure(&ground),
        seen: invariants::seen(&ground),
        lost_acks: invariants::lost_acks(&ground),
        old: witnesses.old.as_deref().map(|old| Box::new(check(old))),
    }
}
