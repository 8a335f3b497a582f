//! `faultline queue`: look at queues, pause and resume them.

use crate::cli::Global;
use crate::commands::actor;
use crate::connection::Connection;
use crate::exit::Done;
use crate::output::{self, Table, or_dash, time};
use clap::Subcommand;
use faultline_store::operate;
use faultline_store::read::{self, Queue};
use std::process::ExitCode;

/// What to do with queues.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// List queues with what stands in them
    List,
    /// Stop claims from a queue; what runs goes on
    Pause {
        /// The queue
        name: String,
        /// Why, for those who wonder
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let claims from a queue go on
    Resume {
        /// The queue
        name: String,
    },
}

/// Runs `faultline queue`.
pub(crate) async fn run(verb: &Verb, global: &Global) -> Done {
    let connection = Connection::new(global)?;
    match verb {
        Verb::List => {
            let queues = connection.run(async |client| read::queues(client, None).await).await?;
            output::list(global.output, "queues", &queues, None, &table(&queues))?;
        }
        Verb::Pause { name, reason } => {
            let reason = reason.as_deref();
            connection.run(async |client| operate::pause(client, &actor(), name, reason).await).await?;
            answer(&connection, global, name, &format!("queue {name} is paused; what runs goes on")).await?;
        }
        Verb::Resume { name } => {
            let resumed = connection.run(async |client| operate::resume(client, &actor(), name).await).await?;
            let text = if resumed { "is resumed" } else { "was not paused" };
            answer(&connection, global, name, &format!("queue {name} {text}")).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn answer(connection: &Connection, global: &Global, name: &str, text: &str) -> anyhow::Result<()> {
    let queues = connection.run(async |client| read::queues(client, Some(name)).await).await?;
    output::answer(global.output, &queues.first(), text)
}

fn table(queues: &[Queue]) -> Table {
    let mut table = Table::new(&["QUEUE", "DUE", "SCHEDULED", "RUNNING", "WORKERS", "OLDEST DUE", "PAUSED"]);
    for queue in queues {
        let bound = if queue.bounded { "+" } else { "" };
        let paused = queue.paused_at.map(|at| match &queue.paused_reason {
            Some(reason) => format!("{} ({reason})", time(at)),
            None => time(at),
        });
        table.row(&[
            queue.name.clone(),
            format!("{}{bound}", queue.due),
            format!("{}{bound}", queue.scheduled),
            queue.running.to_string(),
            queue.workers.to_string(),
            or_dash(queue.oldest_due_at.map(time)),
            or_dash(paused),
        ]);
    }
    table
}
