//! Why a job is not running, in words, and how it ended: the same for the API, the command line and the dashboard.

use crate::error::Result;
use crate::finish::state;
use crate::read::Job;
use crate::session::ClientWrapper;
use crate::statement::query_opt;
use faultline_core::durations::rough;
use faultline_core::{JobId, State};
use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Row;
use uuid::Uuid;

const EXPLAIN: &str = include_str!("../sql/explain.sql");

/// Jobs before this one that are counted at most: the answer is asked for again and again while somebody waits.
const AHEAD_LIMIT: i64 = 2000;

/// The facts behind "why is it not running?".
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// The state, queued or running.
    pub state: State,
    /// The answer in words, the most telling reason first.
    pub reasons: Vec<String>,
}

/// Says in words why a waiting job is not running, or who runs it. `None` for a job that has ended or does not exist.
///
/// # Errors
/// Those of the connection.
pub async fn explain(client: &ClientWrapper, id: JobId) -> Result<Option<Explanation>> {
    let Some(row) = query_opt(client, EXPLAIN, &[&id.0, &AHEAD_LIMIT]).await? else { return Ok(None) };
    let state = state(&row)?;
    let reasons = if state == State::Running { why_running(&row)? } else { why_waiting(&row)? };
    Ok(Some(Explanation { state, reasons }))
}

/// Says in words how a job has ended, or how far it is.
pub fn how_it_ended(job: &Job) -> String {
    let attempts = format!("{} of {} attempts", job.attempts, job.max_attempts);
    let Some(at) = job.finished_at else { return format!("it has not ended, after {attempts}") };
    let because = job.reason.as_deref().filter(|reason| *reason != job.state.as_str());
    let because = because.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let ended = format!("it has ended as {} at {at:.3} after {attempts}{because}", job.state);
    match job.last_error.as_ref().filter(|_| job.state == State::Failed) {
        Some(error) => format!("{ended}; the last error: {error}"),
        None => ended,
    }
}

fn why_running(row: &Row) -> Result<Vec<String>> {
    let owner: Uuid = row.try_get("lease_owner")?;
    let left_ms: i64 = row.try_get("lease_left_ms")?;
    let mut reasons = vec![if left_ms >= 0 {
        format!("it is running on worker {owner}; the lease ends in {} unless it is renewed", rough(left_ms))
    } else {
        let ago = rough(-left_ms);
        format!("worker {owner} has not renewed its lease, which ended {ago} ago; it is about to be reaped")
    }];
    if row.try_get("cancel_requested")? {
        reasons.push("it was asked to stop; its worker hears that with the next renewal".into());
    }
    Ok(reasons)
}

fn why_waiting(row: &Row) -> Result<Vec<String>> {
    let queue: String = row.try_get("queue")?;
    let kind: String = row.try_get("kind")?;
    let mut reasons = Vec::new();
    if let Some(since) = row.try_get::<_, Option<Timestamp>>("paused_at")? {
        let reason: Option<String> = row.try_get("paused_reason")?;
        let why = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        reasons.push(format!(
            "queue {queue} is paused since {since:.0}{why}; resume it with `faultline queue resume {queue}`"
        ));
    }
    let starts_in_ms: i64 = row.try_get("starts_in_ms")?;
    let attempts: i32 = row.try_get("attempts")?;
    if starts_in_ms > 0 {
        let next_run_at: Timestamp = row.try_get("next_run_at")?;
        let what = if attempts > 0 { "waits for its next attempt" } else { "is scheduled" };
        reasons.push(format!("it {what} at {next_run_at:.0}, in {}", rough(starts_in_ms)));
    }
    let workers: i64 = row.try_get("workers")?;
    let know_kind: i64 = row.try_get("know_kind")?;
    let (slots, running): (i64, i64) = (row.try_get("slots")?, row.try_get("running")?);
    if workers == 0 {
        reasons.push(format!("no live worker polls queue {queue}"));
    } else if know_kind == 0 {
        reasons.push(format!("none of the {workers} workers of queue {queue} has a handler for kind {kind}"));
    } else if starts_in_ms == 0 && slots <= running {
        reasons.push(format!("all {slots} slots of the workers of queue {queue} are taken"));
    }
    if row.try_get::<_, i32>("crashes")? >= 2 {
        reasons.push("its worker was lost more than once while it ran: it now runs beside no other such job".into());
    }
    if starts_in_ms == 0 {
        let ahead: i64 = row.try_get("ahead")?;
        if ahead > 0 {
            let many = if ahead >= AHEAD_LIMIT { "at least " } else { "" };
            reasons.push(format!("{many}{ahead} due jobs are before it"));
        }
    }
    if reasons.is_empty() {
        reasons.push("nothing is in its way; a worker should claim it any moment".into());
    }
    Ok(reasons)
}
