//! `faultline job`: enqueue, look at, cancel and retry jobs, straight in the database.

mod act;
mod enqueue;
mod look;
mod watch;

use crate::cli::{self, Global};
use crate::connection::Connection;
use crate::exit::Done;
use anyhow::anyhow;
use clap::Subcommand;
use faultline_core::{JobId, State};
use std::time::Duration;

/// What to do with jobs.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Enqueue a job
    Enqueue(enqueue::Options),
    /// Show a job
    Get {
        /// The job
        #[arg(value_parser = cli::job_id)]
        id: JobId,
        /// Wait at most this long for its end
        #[arg(long, value_name = "DURATION", value_parser = cli::duration)]
        wait: Option<Duration>,
    },
    /// List jobs, newest first
    List(look::Filters),
    /// Print what happens to a job until its end; exit code 1 unless it succeeds
    Watch {
        /// The job
        #[arg(value_parser = cli::job_id)]
        id: JobId,
    },
    /// Cancel a job: a waiting one ends at once, a running one is asked to stop
    Cancel {
        /// The job
        #[arg(value_parser = cli::job_id)]
        id: JobId,
    },
    /// Retry a job: a waiting one runs now, an ended one gets a successor
    Retry {
        /// The job
        #[arg(value_parser = cli::job_id)]
        id: JobId,
    },
    /// Say why a job is not running, or what became of it
    Explain {
        /// The job
        #[arg(value_parser = cli::job_id)]
        id: JobId,
    },
}

/// Runs `faultline job`.
pub(crate) async fn run(verb: &Verb, global: &Global) -> Done {
    if let Verb::Enqueue(options) = verb {
        return enqueue::run(options, global).await;
    }
    let connection = Connection::new(global)?;
    match verb {
        Verb::Enqueue(_) => unreachable!("handled above"),
        Verb::Get { id, wait } => look::get(&connection, global.output, *id, *wait).await,
        Verb::List(filters) => look::list(&connection, global.output, filters).await,
        Verb::Watch { id } => watch::watch(&connection, global.output, *id).await,
        Verb::Cancel { id } => act::cancel(&connection, global.output, *id).await,
        Verb::Retry { id } => act::retry(&connection, global.output, *id).await,
        Verb::Explain { id } => look::explain(&connection, global.output, *id).await,
    }
}

fn unknown(id: JobId) -> anyhow::Error {
    anyhow!("there is no job {id}, or its history is past the retention; look with `faultline job list`")
}

fn ended(id: JobId, state: State, what: &str) -> anyhow::Error {
    anyhow!("job {id} has {state}: {what}")
}
