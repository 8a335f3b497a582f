//! The program, run as users run it, against real Postgres.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod check;
#[cfg(feature = "otel")]
mod collector;
mod common;
mod dev;
mod docs;
mod drill;
mod exec;
mod help;
mod jobs;
mod metrics;
mod migrate;
mod recovery;
mod serve;
#[cfg(feature = "otel")]
mod traces;
mod webhook;
