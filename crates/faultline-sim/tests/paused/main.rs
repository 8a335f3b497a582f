//! The real loops of workers under paused time; see the crate's documentation.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod clock;
mod common;
mod disk;
mod idle;
mod outage;
mod presence;
mod renewals;
mod seeds;
mod shutdown;
mod takeover;
