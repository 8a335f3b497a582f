//! Jobs as lines of a list: where they are, without what they hold.

use crate::error::Result;
use crate::finish::state;
use crate::read::Job;
use crate::session::ClientWrapper;
use crate::statement::query;
use faultline_core::{JobId, State};
use jiff::Timestamp;
use uuid::Uuid;

const LINES: &str = include_str!("../../sql/job_lines.sql");

/// Characters of an error in a line.
const ERROR_CHARS: i32 = 300;

/// A line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The job's id.
    pub id: JobId,
    /// Its queue.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// Where it is in its life.
    pub state: State,
    /// 1 is first, 4 is last.
    pub priority: i16,
    /// Its idempotency key.
    pub key: Option<String>,
    /// Attempts that count, the running one included.
    pub attempts: i32,
    /// The most attempts it may have.
    pub max_attempts: i32,
    /// When it may start, or was due.
    pub next_run_at: Timestamp,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When its running or last attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When the lease of a running one ends unless it is renewed.
    pub lease_expires_at: Option<Timestamp>,
    /// Whether somebody asked a running job to stop.
    pub cancel_requested: bool,
    /// Why it ended as it did.
    pub reason: Option<String>,
    /// The beginning of what its last failed attempt said.
    pub last_error: Option<String>,
}

impl From<&Job> for Line {
    fn from(job: &Job) -> Self {
        let chars = usize::try_from(ERROR_CHARS).unwrap_or_default();
        Self {
            id: job.id,
            queue: job.queue.clone(),
            kind: job.kind.clone(),
            state: job.state,
            priority: job.priority,
            key: job.key.clone(),
            attempts: job.attempts,
            max_attempts: job.max_attempts,
            next_run_at: job.next_run_at,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            lease_expires_at: job.lease.map(|lease| lease.expires_at),
            cancel_requested: job.cancel_requested,
            reason: job.reason.clone(),
            last_error: job.last_error.as_ref().map(|error| error.chars().take(chars).collect()),
        }
    }
}

/// These jobs as they are now, in any order; those that are no longer kept are not among them.
///
/// # Errors
/// Those of the connection.
pub async fn lines(client: &ClientWrapper, ids: &[JobId]) -> Result<Vec<Line>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    query(client, LINES, &[&ids, &ERROR_CHARS])
        .await?
        .iter()
        .map(|row| {
            Ok(Line {
                id: JobId(row.try_get("id")?),
                queue: row.try_get("queue")?,
                kind: row.try_get("kind")?,
                state: state(row)?,
                priority: row.try_get("priority")?,
                key: row.try_get("key")?,
                attempts: row.try_get("attempts")?,
                max_attempts: row.try_get("max_attempts")?,
                next_run_at: row.try_get("next_run_at")?,
                created_at: row.try_get("created_at")?,
                started_at: row.try_get("started_at")?,
                finished_at: row.try_get("finished_at")?,
                lease_expires_at: row.try_get("lease_expires_at")?,
                cancel_requested: row.try_get("cancel_requested")?,
                reason: row.try_get("reason")?,
                last_error: row.try_get("last_error")?,
            })
        })
        .collect()
}
