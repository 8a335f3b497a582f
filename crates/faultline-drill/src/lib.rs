//! Failure drills: a private durable cluster, real API and worker processes, faults from a seed, a verdict.
//!
//! A drill proves what it shows only if it could have failed: the checker (`faultline-check`) reads nothing but the witnesses that
//! the run leaves, and a run without its required events fails. What each drill does is told in `docs/drills.md`.
//!
//! | module | holds |
//! |---|---|
//! | `catalogue`, `drills` | the drills: their load, faults, and what must happen in them |
//! | `schedule`, `work` | faults and jobs, computed from the seed |
//! | `needs` | what a machine must have for some drills |
//! | `ground` | the private cluster, or somebody's own database |
//! | `run` | one drill from its cluster to its verdict |
//! | `nemesis`, `faults` | carries out the schedule; what each fault does |
//! | `stage`, `process`, `proxy` | what faults act on: the cluster, the processes, and the network between them |
//! | `enqueuer`, `http` | the load |
//! | `guest` | who else uses the system in some drills |
//! | `worker`, `handler` | the worker process of a drill |
//! | `orders` | points at which something happens to it |
//! | `sampler`, `metrics`, `history`, `database`, `logs`, `old` | the witnesses |
//! | `report`, `timeline` | the table, `report.json`, `report.html` |

mod catalogue;
mod database;
mod drills;
mod enqueuer;
mod error;
mod faults;
mod ground;
mod guest;
mod handler;
mod history;
mod http;
mod logs;
mod metrics;
mod needs;
mod nemesis;
mod old;
mod orders;
mod process;
mod proxy;
mod report;
mod run;
mod sampler;
mod schedule;
mod stage;
mod timeline;
mod work;
mod worker;

pub use catalogue::{DRILLS, Drill, select};
pub use error::DrillError;
pub use faults::{
    Clock, Database, DiskFull, Fault, Network, Outage, Process, Replication, Signals, Strike, Version, Who,
};
pub use orders::{Point, Trap};
pub use proxy::{Cut, Noise, Statement, Way};
pub use report::{Needed, Report, Spread};
pub use run::{Options, run};
pub use schedule::{Step, plan};
pub use worker::work;
