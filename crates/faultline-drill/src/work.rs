//! What a job of a drill asks its handler to do.

use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

/// How a handler ends badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    /// An error, tried again.
    Error,
    /// A panic.
    Panic,
    /// An error that is never tried again.
    Fatal,
    /// It takes longer than it may.
    Slow,
    /// An error of a megabyte.
    Huge,
    /// An error with a character that Postgres cannot store.
    Nul,
    /// It aborts its process.
    Abort,
    /// It overflows the stack of its thread.
    Overflow,
    /// It takes memory until there is none.
    Memory,
}

impl How {
    /// Those that end the process, as they are written in a payload.
    pub(crate) const POISON: [&str; 3] = ["abort", "overflow", "memory"];
}

/// The payload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    /// How long the handler works.
    pub(crate) ms: u64,
    /// Whether it writes its effect, and its job's success, in one transaction.
    #[serde(default)]
    pub(crate) tx: bool,
    /// How long that transaction stays open between the effect and the finish.
    #[serde(default)]
    pub(crate) hold_ms: u64,
    /// Whether it never yields, so that it cannot be cancelled.
    #[serde(default)]
    pub(crate) blocking: bool,
    /// How its first `times` attempts end.
    #[serde(default)]
    pub(crate) fail: Option<How>,
    /// How many attempts end so.
    #[serde(default)]
    pub(crate) times: i32,
}

impl Work {
    /// Some time of work that ends well; every other one in a transaction.
    pub(crate) fn calm(rng: &mut StdRng, number: u64) -> Self {
        Self { ms: rng.random_range(20..300), tx: number.is_multiple_of(2), ..Self::default() }
    }
}

impl faultline::Job for Work {
    const KIND: &'static str = "drill.work";
}
