//! What operators do: cancel, retry, pause, resume, drain. Each is noted in `faultline.audit_log`.

use crate::error::Result;
use crate::finish::state;
use crate::session::ClientWrapper;
use crate::statement::{query, query_opt};
use faultline_core::{JobId, State, WorkerId};
use faultline_metrics::Operator;

const RETRY: &str = include_str!("../sql/retry.sql");
const PAUSE: &str = include_str!("../sql/pause.sql");
const DRAIN: &str = include_str!("../sql/drain.sql");
const RESUME: &str = include_str!("../sql/resume.sql");
const AUDIT: &str = include_str!("../sql/audit.sql");

/// How often a retry is repeated for a job that changes under it. Each repeat needs another change at that very instant.
const MAX_ROUNDS: usize = 8;

/// What became of a request to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// It was waiting and has ended.
    Cancelled,
    /// It is running; its worker is told with the next renewal.
    Requested,
    /// It had ended before.
    Finished,
    /// There is no such job.
    Unknown,
}

impl Cancel {
    /// As which it is counted, where it changed the job.
    pub fn metric(self) -> Option<Operator> {
        match self {
            Self::Cancelled => Some(Operator::Cancelled),
            Self::Requested => Some(Operator::CancelRequested),
            Self::Finished | Self::Unknown => None,
        }
    }
}

/// Cancels a job.
///
/// # Errors
/// Those of the connection; safe to repeat.
pub async fn cancel(client: &ClientWrapper, actor: &str, id: JobId) -> Result<Cancel> {
    let row = query_opt(client, "select faultline.cancel($1)", &[&id.0]).await?;
    let answer = match row.map(|row| row.try_get::<_, String>(0)).transpose()?.as_deref() {
        Some("cancelled") => Cancel::Cancelled,
        Some("cancelling") => Cancel::Requested,
        Some("finished") => Cancel::Finished,
        _ => Cancel::Unknown,
    };
    if matches!(answer, Cancel::Cancelled | Cancel::Requested) {
        audit(client, actor, "job.cancel", &id.to_string(), None).await?;
    }
    Ok(answer)
}

/// What became of a request to retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It had ended: this is its successor, whether this request made it or an earlier one.
    Successor {
        /// The job that runs in its stead.
        id: JobId,
        /// Whether this request made it.
        created: bool,
    },
    /// It was waiting for its time and is due now.
    MovedToNow,
    /// It is due already.
    AlreadyDue,
    /// It is running.
    Running,
    /// There is no such job.
    Unknown,
}

impl Retry {
    /// As which it is counted, where it changed something.
    pub fn metric(self) -> Option<Operator> {
        match self {
            Self::Successor { created: true, .. } => Some(Operator::Enqueued),
            Self::MovedToNow => Some(Operator::Moved),
            Self::Successor { created: false, .. } | Self::AlreadyDue | Self::Running | Self::Unknown => None,
        }
    }
}

/// Retries a job by an operator's word. `successor` is the id of the new job, should one be needed.
///
/// # Errors
/// Those of the connection; safe to repeat.
pub async fn retry(client: &ClientWrapper, actor: &str, id: JobId, successor: JobId) -> Result<Retry> {
    let mut rounds = 0;
    let row = loop {
        let Some(row) = query_opt(client, RETRY, &[&id.0, &successor.0]).await? else { return Ok(Retry::Unknown) };
        rounds += 1;
        if rounds == MAX_ROUNDS || !row.try_get::<_, bool>("raced")? {
            break row;
        }
    };
    if row.try_get::<_, Option<&str>>("state")?.is_none() {
        return Ok(Retry::Unknown);
    }
    let changed: bool = row.try_get("changed")?;
    let answer = match state(&row)? {
        State::Running => Retry::Running,
        State::Queued if changed => Retry::MovedToNow,
        State::Queued => Retry::AlreadyDue,
        State::Succeeded | State::Failed | State::Cancelled => {
            Retry::Successor { id: JobId(row.try_get("id")?), created: changed }
        }
    };
    if changed {
        audit(client, actor, "job.retry", &id.to_string(), None).await?;
    }
    Ok(answer)
}

/// Pauses a queue: no claim takes from it until it is resumed; what runs goes on.
///
/// # Errors
/// [`crate::Error::Invalid`] for an ill-formed name, those of the connection; safe to repeat.
pub async fn pause(client: &ClientWrapper, actor: &str, queue: &str, reason: Option<&str>) -> Result<()> {
    faultline_core::job::check_name("queue", queue)?;
    let reason = reason.map(faultline_core::text::storable);
    query(client, PAUSE, &[&queue, &reason]).await?;
    audit(client, actor, "queue.pause", queue, reason.as_deref()).await
}

/// Resumes a queue; answers whether it was paused.
///
/// # Errors
/// [`crate::Error::Invalid`] for an ill-formed name, those of the connection; safe to repeat.
pub async fn resume(client: &ClientWrapper, actor: &str, queue: &str) -> Result<bool> {
    faultline_core::job::check_name("queue", queue)?;
    let resumed = query_opt(client, RESUME, &[&queue]).await?.is_some();
    if resumed {
        audit(client, actor, "queue.resume", queue, None).await?;
    }
    Ok(resumed)
}

/// Asks a worker to drain: it claims nothing more, ends what it runs and stops. False when it has stopped, or never was.
///
/// # Errors
/// Those of the connection; safe to repeat.
pub async fn drain(client: &ClientWrapper, actor: &str, worker: WorkerId) -> Result<bool> {
    let is_there = query_opt(client, DRAIN, &[&worker.0]).await?.is_some();
    if is_there {
        audit(client, actor, "worker.drain", &worker.to_string(), None).await?;
    }
    Ok(is_there)
}

/// Notes what an operator did.
///
/// # Errors
/// Those of the connection.
pub async fn audit(
    client: &ClientWrapper,
    actor: &str,
    action: &str,
    subject: &str,
    detail: Option<&str>,
) -> Result<()> {
    query(client, AUDIT, &[&actor, &action, &subject, &detail]).await.map(|_| ())
}
