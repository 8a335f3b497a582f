//! Jobs on Postgres that survive crashes.
//!
//! Enqueue a job, in a transaction of your own if you like; run typed handlers; when a worker dies, its jobs run
//! elsewhere within seconds. Postgres is the only thing that has to be there.
//!
//! ```no_run
//! use faultline::{Client, Job, Run, Worker};
//! use serde::{Deserialize, Serialize};
//! use std::time::Duration;
//!
//! #[derive(Serialize, Deserialize)]
//! struct SendEmail {
//!     to: String,
//! }
//!
//! impl Job for SendEmail {
//!     const KIND: &'static str = "send_email";
//! }
//!
//! # async fn mail(to: &str, id: faultline::JobId) -> std::io::Result<()> { Ok(()) }
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let faultline = Client::connect("postgres://app@localhost/app").await?;
//! faultline
//!     .enqueue(&SendEmail { to: "ann@example.com".into() })
//!     .key("order-42")
//!     .delay(Duration::from_secs(5))
//!     .await?;
//!
//! Worker::new(&faultline)
//!     .on(|job: SendEmail, run: Run| async move {
//!         mail(&job.to, run.id()).await?;
//!         Ok(())
//!     })
//!     .run_until(faultline::shutdown_signal())
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! - [`Client`] enqueues, cancels, retries and looks; [`Enqueue`] has the options of one job
//! - [`Worker`] runs handlers; [`Run`] is what a handler knows of its attempt, [`Failure`] how it may end badly
//! - [`Metrics`] is what a process counts and measures; [`Observer`] adds what the whole database looks like
//! - [`Rollups`] counts what happened over time, for the dashboard
//! - With the feature `otel`, what is enqueued is in the trace of the caller's span, and each attempt is a span below it
//! - [`Reaper`] recovers jobs of dead workers; every worker has one, a server may have one for all queues

#[cfg(any(feature = "sqlx", feature = "diesel"))]
mod adapters;
mod chance;
mod client;
mod enqueue;
mod error;
mod failure;
mod home;
mod link;
mod observer;
mod reaper;
mod rollups;
mod run;
mod signal;
mod worker;

pub use client::Client;
pub use enqueue::{Enqueue, Job};
pub use error::Error;
pub use failure::{Failure, Snooze};
pub use faultline_core::{Backoff, Invalid, JobId, LeaseId, NewJob, Start, State, WorkerId};
/// What a process counts and measures: [`Client::metrics`].
pub use faultline_metrics::Metrics;
pub use faultline_store::enqueue::Enqueued;
pub use faultline_store::operate::{Cancel, Retry};
pub use faultline_store::read::{Attempt, Explanation, Filter, Job as JobRecord};
pub use observer::Observer;
pub use reaper::Reaper;
pub use rollups::Rollups;
pub use run::Run;
pub use signal::shutdown_signal;
/// The driver under the library, so that its transactions can be used in the version that fits.
pub use tokio_postgres;
pub use worker::{DEFAULT_GRACE, DEFAULT_LEASE_TTL, DEFAULT_SLOTS, Summary, Worker};
