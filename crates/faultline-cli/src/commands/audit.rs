//! `faultline audit`: the transition log, one row for every transition of every job, written by the database itself.

use crate::cli::Global;
use crate::connection::Connection;
use crate::exit::Done;
use crate::output;
use clap::Subcommand;
use faultline_store::audit;
use serde::Serialize;
use std::process::ExitCode;

const COST: &str = "\
While the log is on, every transition of a job leaves a row in faultline.job_events: who moved it, from
which state to which, under which lease, and why. That about halves what the database can carry, and the
log grows by some 180 bytes an event until it is truncated: for drills, staging, and hours of an
investigation.";

/// What to do with the transition log.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Write down every transition from now on
    #[command(after_help = COST)]
    On,
    /// Stop writing; what was written stays until `truncate faultline.job_events`
    Off,
    /// Tell whether it is on
    Status,
}

#[derive(Serialize)]
struct Log {
    on: bool,
}

/// Runs `faultline audit`.
pub(crate) async fn run(verb: &Verb, global: &Global) -> Done {
    let connection = Connection::new(global)?;
    let on = connection
        .run(async |client| {
            match verb {
                Verb::On => audit::on(client).await?,
                Verb::Off => audit::off(client).await?,
                Verb::Status => {}
            }
            audit::is_on(client).await
        })
        .await?;
    let text = if on { "the transition log is on: faultline.job_events" } else { "the transition log is off" };
    output::answer(global.output, &Log { on }, text)?;
    Ok(ExitCode::SUCCESS)
}
