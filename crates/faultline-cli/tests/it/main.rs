//! The program, run as users run it, against real Postgres.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod check;
mod common;
mod dev;
mod docs;
mod drill;
mod exec;
mod help;
mod jobs;
mod migrate;
mod recovery;
mod serve;
mod webhook;
