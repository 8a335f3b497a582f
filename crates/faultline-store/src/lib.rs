//! The only crate of Faultline that knows Postgres: migrations, connections, and one thin typed function for each
//! statement in `sql/`.
//!
//! - [`migrate`]: the schema and its versions
//! - [`Database`], [`Session`]: pooled and dedicated connections
//! - [`enqueue`]: jobs on their way in
//! - [`lease`]: claim and renew
//! - [`finish`]: complete, fail, release, snooze
//! - [`reap`]: recover what a dead worker left, and see that there is something to do
//! - [`presence`]: workers and their sign of life
//! - [`operate`]: cancel, retry, pause, resume
//! - [`read`]: jobs, queues and workers for people
//! - [`observe`]: the whole database, for gauges
//! - [`dashboard`]: what pages show
//! - [`rollup`]: counts over time
//! - [`tokens`]: tokens of the HTTP API
//! - [`maintain`]: partitions, and rows that nobody needs any more
//! - [`audit`]: the transition log, on and off

/// Does something else where a mutant is chosen; nothing at all without the feature `mutants` of the crate that says so.
#[doc(hidden)]
#[macro_export]
macro_rules! mutant {
    ($name:literal, $broken:block) => {
        #[cfg(feature = "mutants")]
        if $crate::mutants::on($name) $broken
    };
}

pub mod audit;
mod connect;
pub mod dashboard;
mod database;
pub mod enqueue;
mod error;
mod explain;
pub mod finish;
pub mod lease;
mod list;
pub mod maintain;
pub mod migrate;
#[cfg(feature = "mutants")]
pub mod mutants;
mod notifier;
pub mod observe;
pub mod operate;
pub mod presence;
pub mod read;
pub mod reap;
pub mod rollup;
mod session;
#[cfg(feature = "simulation")]
mod simulation;
mod statement;
mod tls;
pub mod tokens;
mod types;

pub use connect::Plans;
pub use database::{DEFAULT_POOL_SIZE, Database, Session};
pub use error::{Error, KEY_CONFLICT, LEASE_LOST, Result};
pub use notifier::Notifier;
pub use session::ClientWrapper;
#[cfg(feature = "simulation")]
pub use simulation::Simulation;
