//! What a job of a drill asks its handler to do.

use crate::handler::Odd;
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
    /// An error of 300 megabytes.
    Vast,
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
    /// How much longer from the second attempt on.
    #[serde(default)]
    pub(crate) again_ms: u64,
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
    /// How long it holds the thread that it runs on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) block_ms: u64,
    /// Whether that thread computes all the while, instead of sleeping.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) spin: bool,
    /// How long it takes every session of its process's pool.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) sessions_ms: u64,
    /// Works in steps of so long, each noted with the deadline of its lease.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) step_ms: u64,
    /// Whether it writes no effect outside of the database, which costs a write to the disk.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) light: bool,
    /// What it returns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<Odd>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(ms: &u64) -> bool {
    *ms == 0
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
