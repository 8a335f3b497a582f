//! The dashboard as a browser meets it: who gets in, what may be done, what every answer says, and what it shows when the
//! database is away.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod browser;
mod job;
mod jobs;
mod pages;
