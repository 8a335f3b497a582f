//! `faultline job cancel` and `faultline job retry`.

use super::look::fetch;
use super::{ended, unknown};
use crate::commands::actor;
use crate::connection::Connection;
use crate::exit::Done;
use crate::output::{self, Format};
use anyhow::bail;
use faultline_core::{JobId, State};
use faultline_server::JobView;
use faultline_store::enqueue::notify;
use faultline_store::operate::{self, Cancel, Retry};
use faultline_store::read;
use std::process::ExitCode;

/// Runs `faultline job cancel`.
pub(super) async fn cancel(connection: &Connection, format: Format, id: JobId) -> Done {
    let text = match connection.run(async |client| operate::cancel(client, &actor(), id).await).await? {
        Cancel::Cancelled => format!("job {id} is cancelled"),
        Cancel::Requested => format!("job {id} is running; its worker stops it with the next renewal of its lease"),
        Cancel::Finished => {
            let job = connection.run(async |client| read::get(client, id).await).await?;
            let state = job.map_or(State::Cancelled, |job| job.state);
            return Err(ended(id, state, "only a queued or running job can be cancelled"));
        }
        Cancel::Unknown => return Err(unknown(id)),
    };
    answer(connection, format, id, &text).await
}

/// Runs `faultline job retry`.
pub(super) async fn retry(connection: &Connection, format: Format, id: JobId) -> Done {
    let successor = JobId::now(&mut rand::rng());
    let retried = connection.run(async |client| operate::retry(client, &actor(), id, successor).await).await?;
    let (id, text) = match retried {
        Retry::Successor { id: new, created: true } => (new, format!("job {id} has ended; {new} runs in its stead")),
        Retry::Successor { id: new, created: false } => (new, format!("job {id} was retried before, by {new}")),
        Retry::MovedToNow => (id, format!("job {id} was waiting for its time and is due now")),
        Retry::AlreadyDue => {
            (id, format!("job {id} is due already; `faultline job explain {id}` says what it waits for"))
        }
        Retry::Running => bail!("job {id} is running; cancel it first, or wait for its end"),
        Retry::Unknown => return Err(unknown(id)),
    };
    let queue = fetch(connection, id).await?.queue;
    // A hint: a worker that misses it finds the job by looking.
    let _ = connection.run(async |client| notify(client, &queue).await).await;
    answer(connection, format, id, &text).await
}

/// Prints what was done; for programs the job as it is now.
async fn answer(connection: &Connection, format: Format, id: JobId, text: &str) -> Done {
    if format == Format::Table {
        output::line(text)?;
    } else {
        let job = fetch(connection, id).await?;
        output::answer(format, &JobView::from(job), text)?;
    }
    Ok(ExitCode::SUCCESS)
}
