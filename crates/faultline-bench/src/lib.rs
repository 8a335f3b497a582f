//! What Faultline costs: scenarios that are measured beside hand-written SQL which does the same, in turn, in one run on one machine.
//!
//! Absolute figures belong to a machine and an hour; the ratio to the ceiling belongs to the program. Nothing that is slow is left
//! out: jobs are durably committed, leased, fenced and kept in the history on both sides, worker processes are started inside of the
//! measured time, and afterwards the history is looked through: every job once, or the measurement is void.
//!
//! | module | holds |
//! |---|---|
//! | `scenarios` | what is measured, one file each |
//! | `bench` | a run |
//! | `ground` | the server, with a database for each measurement |
//! | `drain` | a queue worked off by processes, with costs and samples |
//! | `load`, `http`, `api` | jobs on their way in |
//! | `crew`, `worker`, `duty` | worker processes, and what they are told and tell |
//! | `by_hand` | the ceiling: SQL and one loop |
//! | `report`, `plot` | the page |
//! | `accounts` | what the system says of processor time and memory |
//! | `figure` | medians, ratios, budgets |

mod accounts;
mod api;
mod bench;
mod by_hand;
mod crew;
mod drain;
mod duty;
mod error;
mod figure;
mod ground;
mod http;
mod load;
mod options;
mod plot;
mod report;
mod scenarios;
mod worker;

pub use bench::{Progress, Report, run};
pub use error::{BenchError, Result};
pub use figure::{Budget, Cost, Figure, Line, Outcome, Plot, Unit};
pub use options::Options;
pub use scenarios::{SCENARIOS, Scenario, select};
pub use worker::work;
