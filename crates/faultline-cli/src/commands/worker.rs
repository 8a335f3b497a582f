//! `faultline worker`: look at workers.

use crate::cli::Global;
use crate::connection::Connection;
use crate::exit::Done;
use crate::output::{self, Table, time};
use clap::Subcommand;
use faultline_store::read::{self, Worker};
use std::process::ExitCode;

/// What to do with workers.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// List workers heard of within the last day, newest first
    List,
}

/// Runs `faultline worker`.
pub(crate) async fn run(verb: &Verb, global: &Global) -> Done {
    match verb {
        Verb::List => {
            let connection = Connection::new(global)?;
            let workers = connection.run(async |client| read::workers(client).await).await?;
            output::list(global.output, "workers", &workers, None, &table(&workers))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(workers: &[Worker]) -> Table {
    let mut table =
        Table::new(&["WORKER", "STATE", "RUNNING", "QUEUES", "KINDS", "HOST", "PID", "STARTED", "HEARD OF"]);
    for worker in workers {
        table.row(&[
            worker.id.to_string(),
            state(worker).to_owned(),
            format!("{}/{}", worker.running, worker.slots),
            worker.queues.join(","),
            worker.kinds.join(","),
            worker.host.clone(),
            worker.pid.to_string(),
            time(worker.started_at),
            time(worker.heartbeat_at),
        ]);
    }
    table
}

fn state(worker: &Worker) -> &'static str {
    match worker {
        Worker { stopped_at: Some(_), .. } => "stopped",
        Worker { alive: false, .. } => "lost",
        Worker { draining: true, .. } => "draining",
        _ => "alive",
    }
}
