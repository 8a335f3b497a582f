//! Jobs, queues and workers for people and programs that look.

use crate::error::Result;
pub use crate::explain::{Explanation, explain, how_it_ended};
use crate::finish::state;
pub use crate::list::{Filter, MAX_PAGE, MAX_PAGE_BYTES, PAGE_TIME, Page, StateFilter, list, page, page_within};
use crate::session::ClientWrapper;
use crate::statement::{query, query_opt};
use faultline_core::{JobId, LeaseId, State, WorkerId};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::Row;
use tokio_postgres::types::Json;
use uuid::Uuid;

const GET: &str = include_str!("../sql/get_job.sql");
const GONE: &str = include_str!("../sql/gone.sql");
const ATTEMPTS: &str = include_str!("../sql/attempts.sql");
const QUEUES: &str = include_str!("../sql/queues.sql");
const WORKERS: &str = include_str!("../sql/workers.sql");

/// Rows of one queue and priority that are counted at most.
pub const COUNT_LIMIT: i64 = 10_000;

/// A lease as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// The fence.
    pub id: LeaseId,
    /// The worker that holds it.
    pub owner: WorkerId,
    /// When it may be reaped unless it is renewed, on the database's clock.
    pub expires_at: Timestamp,
}

/// A job, wherever it is in its life.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The queue it waits in.
    pub queue: String,
    /// The name of its handler.
    pub kind: String,
    /// Where it is in its life.
    pub state: State,
    /// 1 is first, 4 is last.
    pub priority: i16,
    /// The handler's input.
    pub payload: Box<RawValue>,
    /// Trace context and tags.
    pub headers: Option<Box<RawValue>>,
    /// Its idempotency key.
    pub key: Option<String>,
    /// Attempts that count, the running one included.
    pub attempts: i32,
    /// The most attempts it may have.
    pub max_attempts: i32,
    /// How often a worker was lost while it ran.
    pub crashes: i32,
    /// When it may start, or was due.
    pub next_run_at: Timestamp,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When its running or last attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The lease under which it runs.
    pub lease: Option<Lease>,
    /// Whether somebody asked a running job to stop.
    pub cancel_requested: bool,
    /// How long one attempt may take, ms.
    pub timeout_ms: i32,
    /// The back-off's first envelope, ms.
    pub backoff_base_ms: i32,
    /// The back-off's largest envelope, ms.
    pub backoff_cap_ms: i32,
    /// The finished job that an operator retried with this one.
    pub retry_of: Option<JobId>,
    /// Why it ended as it did: a word such as `attempts_exhausted`, `crash_loop`, `fatal`, `cancelled`, `worker_lost`
    /// (asked to stop, but its worker was gone before it did).
    pub reason: Option<String>,
    /// What its last failed attempt said.
    pub last_error: Option<String>,
    /// What its handler returned.
    pub result: Option<Box<RawValue>>,
}

/// One job by its id.
///
/// # Errors
/// Those of the connection.
pub async fn get(client: &ClientWrapper, id: JobId) -> Result<Option<Job>> {
    query_opt(client, GET, &[&id.0]).await?.map(|row| job(&row)).transpose()
}

/// Which of these jobs wait or run no longer: they have ended, or never were. One look-up by primary key each.
///
/// # Errors
/// Those of the connection.
pub async fn gone(client: &ClientWrapper, ids: &[JobId]) -> Result<Vec<JobId>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    query(client, GONE, &[&ids]).await?.iter().map(|row| Ok(JobId(row.try_get("id")?))).collect()
}

pub(crate) fn job(row: &Row) -> Result<Job> {
    let state = state(row)?;
    let lease_expires_at: Option<Timestamp> = row.try_get("lease_expires_at")?;
    let lease_id: Option<Uuid> = row.try_get("lease_id")?;
    let lease_owner: Option<Uuid> = row.try_get("lease_owner")?;
    let lease = match (lease_id, lease_owner, lease_expires_at) {
        (Some(id), Some(owner), Some(expires_at)) if state == State::Running => {
            Some(Lease { id: LeaseId(id), owner: WorkerId(owner), expires_at })
        }
        _ => None,
    };
    Ok(Job {
        id: JobId(row.try_get("id")?),
        queue: row.try_get("queue")?,
        kind: row.try_get("kind")?,
        state,
        priority: row.try_get("priority")?,
        payload: row.try_get::<_, Json<Box<RawValue>>>("payload")?.0,
        headers: row.try_get::<_, Option<Json<Box<RawValue>>>>("headers")?.map(|json| json.0),
        key: row.try_get("key")?,
        attempts: row.try_get("attempts")?,
        max_attempts: row.try_get("max_attempts")?,
        crashes: row.try_get("crashes")?,
        next_run_at: row.try_get("next_run_at")?,
        created_at: row.try_get("created_at")?,
        started_at: row.try_get("started_at")?,
        finished_at: row.try_get("finished_at")?,
        lease,
        cancel_requested: row.try_get::<_, Option<Timestamp>>("cancel_requested_at")?.is_some(),
        timeout_ms: row.try_get("timeout_ms")?,
        backoff_base_ms: row.try_get("backoff_base_ms")?,
        backoff_cap_ms: row.try_get("backoff_cap_ms")?,
        retry_of: row.try_get::<_, Option<Uuid>>("retry_of")?.map(JobId),
        reason: row.try_get("reason")?,
        last_error: row.try_get("last_error")?,
        result: row.try_get::<_, Option<Json<Box<RawValue>>>>("result")?.map(|json| json.0),
    })
}

/// An attempt that did not end its job.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// Its number.
    pub attempt: i32,
    /// `failed`, `expired`, `lost`, `released` or `snoozed`.
    pub outcome: String,
    /// Whether it counts.
    pub charged: bool,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// When the job was due again.
    pub next_run_at: Timestamp,
    /// The lease it ran under.
    pub lease_id: LeaseId,
    /// The worker that ran it.
    pub worker: WorkerId,
    /// What it said.
    pub error: Option<String>,
}

/// The attempts of a job that did not end it, in order, at most 1,000.
///
/// # Errors
/// Those of the connection.
pub async fn attempts(client: &ClientWrapper, id: JobId) -> Result<Vec<Attempt>> {
    query(client, ATTEMPTS, &[&id.0]).await?.iter().map(attempt).collect()
}

pub(crate) fn attempt(row: &Row) -> Result<Attempt> {
    Ok(Attempt {
        attempt: row.try_get("attempt")?,
        outcome: row.try_get("outcome")?,
        charged: row.try_get("charged")?,
        started_at: row.try_get("started_at")?,
        ended_at: row.try_get("ended_at")?,
        next_run_at: row.try_get("next_run_at")?,
        lease_id: LeaseId(row.try_get("lease_id")?),
        worker: WorkerId(row.try_get("lease_owner")?),
        error: row.try_get("error")?,
    })
}

/// What stands in a queue. Counts end at [`COUNT_LIMIT`] rows a priority.
#[derive(Debug, Clone, Serialize)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Since when no claim takes from it.
    pub paused_at: Option<Timestamp>,
    /// Why, in the operator's words.
    pub paused_reason: Option<String>,
    /// Jobs that could start now.
    pub due: i64,
    /// Jobs that wait for their time, first starts and retries.
    pub scheduled: i64,
    /// Jobs under a lease.
    pub running: i64,
    /// Whether there are more than were counted.
    pub bounded: bool,
    /// Since when the oldest due job has been due.
    pub oldest_due_at: Option<Timestamp>,
    /// Live workers that poll it.
    pub workers: i64,
}

/// Every queue that is known, or the one that is named.
///
/// # Errors
/// Those of the connection.
pub async fn queues(client: &ClientWrapper, only: Option<&str>) -> Result<Vec<Queue>> {
    let names = match only {
        Some(name) => vec![name.to_owned()],
        None => crate::reap::queue_names(client).await?,
    };
    query(client, QUEUES, &[&names, &COUNT_LIMIT])
        .await?
        .iter()
        .map(|row| {
            Ok(Queue {
                name: row.try_get("name")?,
                paused_at: row.try_get("paused_at")?,
                paused_reason: row.try_get("paused_reason")?,
                due: row.try_get("due")?,
                scheduled: row.try_get("scheduled")?,
                running: row.try_get("running")?,
                bounded: row.try_get("bounded")?,
                oldest_due_at: row.try_get("oldest_due_at")?,
                workers: row.try_get("workers")?,
            })
        })
        .collect()
}

/// A worker as it was last heard of.
#[derive(Debug, Clone, Serialize)]
pub struct Worker {
    /// The incarnation.
    pub id: WorkerId,
    /// Its host's name.
    pub host: String,
    /// Its process id there.
    pub pid: i32,
    /// Its program's version.
    pub version: String,
    /// The queues it polls.
    pub queues: Vec<String>,
    /// The kinds it has handlers for; `*` for any.
    pub kinds: Vec<String>,
    /// How many jobs it runs at once.
    pub slots: i32,
    /// How many it ran when it was last heard of.
    pub running: i32,
    /// Whether an operator asked it to drain.
    pub draining: bool,
    /// When it started.
    pub started_at: Timestamp,
    /// When it was last heard of.
    pub heartbeat_at: Timestamp,
    /// When it said goodbye.
    pub stopped_at: Option<Timestamp>,
    /// Whether it was heard of within three lease times and has not said goodbye.
    pub alive: bool,
}

/// Workers heard of within the last day, newest first, at most 1,000.
///
/// # Errors
/// Those of the connection.
pub async fn workers(client: &ClientWrapper) -> Result<Vec<Worker>> {
    query(client, WORKERS, &[])
        .await?
        .iter()
        .map(|row| {
            Ok(Worker {
                id: WorkerId(row.try_get("id")?),
                host: row.try_get("host")?,
                pid: row.try_get("pid")?,
                version: row.try_get("version")?,
                queues: row.try_get("queues")?,
                kinds: row.try_get("kinds")?,
                slots: row.try_get("slots")?,
                running: row.try_get("running")?,
                draining: row.try_get("draining")?,
                started_at: row.try_get("started_at")?,
                heartbeat_at: row.try_get("heartbeat_at")?,
                stopped_at: row.try_get("stopped_at")?,
                alive: row.try_get("alive")?,
            })
        })
        .collect()
}
