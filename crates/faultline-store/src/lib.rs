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
//! - [`tokens`]: tokens of the HTTP API
//! - [`maintain`]: partitions, and rows that nobody needs any more
//! - [`audit`]: the transition log, on and off

pub mod audit;
mod connect;
mod database;
pub mod enqueue;
mod error;
mod explain;
pub mod finish;
pub mod lease;
pub mod maintain;
pub mod migrate;
mod notifier;
pub mod operate;
pub mod presence;
pub mod read;
pub mod reap;
#[cfg(feature = "simulation")]
mod simulation;
mod statement;
mod tls;
pub mod tokens;

pub use connect::Plans;
pub use database::{DEFAULT_POOL_SIZE, Database, Session};
pub use deadpool_postgres::ClientWrapper;
pub use error::{Error, KEY_CONFLICT, LEASE_LOST, Result};
pub use notifier::Notifier;
#[cfg(feature = "simulation")]
pub use simulation::Simulation;
