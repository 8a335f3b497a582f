//! Workers and their sign of life.

use crate::error::Result;
use crate::session::ClientWrapper;
use crate::statement::{query, query_opt};
use faultline_core::WorkerId;
use jiff::Timestamp;
use std::time::Duration;

const REGISTER: &str = include_str!("../sql/register_worker.sql");
const HEARTBEAT: &str = include_str!("../sql/heartbeat.sql");
const STOP: &str = include_str!("../sql/stop_worker.sql");

/// What a worker says of itself.
#[derive(Debug, Clone)]
pub struct WorkerFacts {
    /// This incarnation.
    pub id: WorkerId,
    /// The process id on its host.
    pub pid: i32,
    /// How many jobs it runs at once.
    pub slots: i32,
    /// How long its leases last.
    pub lease_ttl: Duration,
    /// The host's name, for people.
    pub host: String,
    /// The program's version, for people.
    pub version: String,
    /// The queues it polls.
    pub queues: Vec<String>,
    /// The kinds it has handlers for; `*` for any.
    pub kinds: Vec<String>,
    /// When it started.
    pub started_at: Timestamp,
}

/// Registers a worker, or its new session after a reconnect. Where the session is `direct`, its backend becomes the worker's
/// presence: when that is gone and does not come back, others recover the worker's jobs early.
///
/// # Errors
/// Those of the connection.
pub async fn register(client: &ClientWrapper, worker: &WorkerFacts, direct: bool) -> Result<()> {
    let ttl_ms = i32::try_from(worker.lease_ttl.as_millis()).unwrap_or(i32::MAX);
    query(
        client,
        REGISTER,
        &[
            &worker.id.0,
            &worker.pid,
            &worker.slots,
            &ttl_ms,
            &worker.host,
            &worker.version,
            &worker.queues,
            &worker.kinds,
            &worker.started_at,
            &direct,
        ],
    )
    .await
    .map(|_| ())
}

/// What the database answers to a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// An operator asked this worker to drain.
    pub drain: bool,
}

/// A worker's sign of life. `None`: the worker is not registered, or was taken for dead; it registers again.
///
/// # Errors
/// Those of the connection.
pub async fn heartbeat(client: &ClientWrapper, worker: WorkerId, running: usize) -> Result<Option<Heartbeat>> {
    let running = i32::try_from(running).unwrap_or(i32::MAX);
    let Some(row) = query_opt(client, HEARTBEAT, &[&worker.0, &running]).await? else { return Ok(None) };
    Ok(Some(Heartbeat { drain: row.try_get("draining")? }))
}

/// A worker says goodbye.
///
/// # Errors
/// Those of the connection.
pub async fn stop(client: &ClientWrapper, worker: WorkerId) -> Result<()> {
    query(client, STOP, &[&worker.0]).await.map(|_| ())
}
