//! The dashboard in a browser, served by the program as users run it, on real Postgres.
//!
//! Without a Chromium on the machine these tests are skipped, and say so; `scripts/install-chromium` installs one.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod access;
mod chromium;
#[expect(dead_code, reason = "the other tests of the program use more of it")]
#[path = "../it/common.rs"]
mod common;
mod demonstration;
mod instrument;
mod live;
mod looks;
mod site;
