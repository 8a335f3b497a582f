//! Workers and what they run.

use crate::error::Result;
use crate::observe::fleet;
use crate::reap::queue_names;
use crate::session::ClientWrapper;
use crate::statement::query;
use faultline_core::{JobId, WorkerId};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

const RUNNING: &str = include_str!("../../sql/dashboard_running.sql");

/// Running jobs that are told at most.
pub const MAX_RUNNING: i64 = 500;
/// Rows that one look reads at most, shared between queues and priorities; at least [`MIN_ROWS`] for each.
const MAX_ROWS: i64 = 10_000;
const MIN_ROWS: i64 = 25;
/// Rows beyond the slots of all workers: queued rows before the last running one, such as released ones.
const BEYOND: i64 = 100;
/// Rows of each queue and priority that are looked at for [`ids`]: what workers can run, and as many more as a reaper looks at.
const BEYOND_OF_LIST: i64 = 1000;
/// Queues that are looked at, the first by name.
const MAX_QUEUES: usize = 1000;

/// A job under a lease.
#[derive(Debug, Clone, Serialize)]
pub struct RunningJob {
    /// Its id.
    pub id: JobId,
    /// Its queue.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// Which attempt this is.
    pub attempt: i32,
    /// The most attempts it may have.
    pub max_attempts: i32,
    /// When the attempt began.
    pub started_at: Timestamp,
    /// The worker that holds the lease.
    pub worker: WorkerId,
    /// When the lease ends unless it is renewed.
    pub lease_expires_at: Timestamp,
    /// In how many milliseconds that is on the database's clock; below 0 it is about to be reaped.
    pub lease_left_ms: i64,
    /// Whether somebody asked it to stop.
    pub cancel_requested: bool,
}

/// The ids of what runs, in all queues or in one, up to `limit` of them.
pub(crate) async fn ids(client: &ClientWrapper, only: Option<&str>, limit: i64) -> Result<Vec<Uuid>> {
    let names = match only {
        Some(name) => vec![name.to_owned()],
        None => queue_names(client).await?,
    };
    let rows = fleet(client).await?.slots.saturating_add(BEYOND_OF_LIST);
    query(client, RUNNING, &[&names, &rows, &limit]).await?.iter().map(|row| Ok(row.try_get("id")?)).collect()
}

/// What runs, in all queues or in one; at most [`MAX_RUNNING`] jobs. `slots` is how many jobs all workers can run at once
/// ([`crate::observe::fleet`]). The workers themselves are [`crate::read::workers`].
///
/// # Errors
/// Those of the connection.
pub async fn running(client: &ClientWrapper, only: Option<&str>, slots: i64) -> Result<Vec<RunningJob>> {
    let mut names = match only {
        Some(name) => vec![name.to_owned()],
        None => queue_names(client).await?,
    };
    names.truncate(MAX_QUEUES);
    let each = MAX_ROWS / (4 * i64::try_from(names.len().max(1)).unwrap_or(i64::MAX));
    let rows = slots.saturating_add(BEYOND).min(each.max(MIN_ROWS));
    query(client, RUNNING, &[&names, &rows, &MAX_RUNNING])
        .await?
        .iter()
        .map(|row| {
            Ok(RunningJob {
                id: JobId(row.try_get("id")?),
                queue: row.try_get("queue")?,
                kind: row.try_get("kind")?,
                attempt: row.try_get("attempts")?,
                max_attempts: row.try_get("max_attempts")?,
                started_at: row.try_get("started_at")?,
                worker: WorkerId(row.try_get("lease_owner")?),
                lease_expires_at: row.try_get("lease_expires_at")?,
                lease_left_ms: row.try_get("lease_left_ms")?,
                cancel_requested: row.try_get("cancel_requested")?,
            })
        })
        .collect()
}
