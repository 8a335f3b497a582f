//! Claim and renew: how a worker gets a job and keeps it.

use crate::error::Result;
use crate::session::ClientWrapper;
use crate::statement::{confirm, query};
use faultline_core::{Backoff, JobId, LeaseId, WorkerId};
use jiff::Timestamp;
use serde_json::value::RawValue;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::Json;
use uuid::Uuid;

const CLAIM: &str = include_str!("../sql/claim.sql");
const RECOVER_CLAIM: &str = include_str!("../sql/recover_claim.sql");
const RENEW: &str = include_str!("../sql/renew.sql");
const HELD: &str = include_str!("../sql/held.sql");

/// A job that this process holds under a lease.
#[derive(Debug, Clone)]
pub struct ClaimedJob {
    /// The job.
    pub id: JobId,
    /// The fence: every later statement about this attempt names it.
    pub lease_id: LeaseId,
    /// The name of the handler.
    pub kind: String,
    /// The attempt that this claim began, counting from 1.
    pub attempt: i32,
    /// The most attempts the job may have.
    pub max_attempts: i32,
    /// How often a worker was lost while it ran this job.
    pub crashes: i32,
    /// How long the attempt may take.
    pub timeout: Duration,
    /// How a failed attempt waits for the next.
    pub backoff: Backoff,
    /// When it was enqueued, on the database's clock.
    pub created_at: Timestamp,
    /// When it was due, on the database's clock.
    pub due_at: Timestamp,
    /// When this claim took it, on the database's clock.
    pub claimed_at: Timestamp,
    /// Its idempotency key.
    pub key: Option<String>,
    /// Trace context and tags.
    pub headers: Option<Box<RawValue>>,
    /// The handler's input.
    pub payload: Box<RawValue>,
    priority: i16,
    tie: i32,
}

/// Floors stay this far behind the clock: a job takes its place in the queue when it is inserted, and is seen when its transaction
/// commits, behind others that were claimed meanwhile. One that took longer waits for a scan from the head. What was claimed in this time is passed again
/// by each claim; in a backlog nothing is, since all that waits there is older.
pub const LATE: Duration = Duration::from_millis(50);

/// Where the scan of each priority of one queue starts: right behind the last position that this process claimed, or somewhat before.
/// A hint that spares the scan the entries of finished jobs; what lies behind it is found by a sweep, which is a claim
/// from [`Floors::head`].
#[derive(Debug, Clone)]
pub struct Floors {
    priorities: Vec<i16>,
    times: Vec<Timestamp>,
    ties: Vec<i32>,
}

impl Floors {
    /// Before everything.
    pub fn head() -> Self {
        let long_ago = Timestamp::from_second(0).expect("1970 is in range");
        Self { priorities: vec![1, 2, 3, 4], times: vec![long_ago; 4], ties: vec![0; 4] }
    }

    /// Moves behind what was claimed, but for what was due less than `late` before the claim: a job whose transaction took that long
    /// may still be committed there. After a claim from the head that filled its batch the floors go back to the last
    /// position claimed, since more may wait between it and the old floor.
    pub fn after(&mut self, claimed: &[ClaimedJob], may_go_back: bool, late: Duration) {
        for (at, priority) in self.priorities.iter().enumerate() {
            let of_priority = claimed.iter().filter(|job| job.priority == *priority);
            let Some(last) = of_priority.max_by_key(|job| (job.due_at, job.tie)) else { continue };
            let settled = last.claimed_at - late;
            let (time, tie) = if last.due_at < settled { (last.due_at, last.tie) } else { (settled, 0) };
            if may_go_back || (time, tie) > (self.times[at], self.ties[at]) {
                self.times[at] = time;
                self.ties[at] = tie;
            }
        }
    }
}

/// Claims up to `limit` due jobs of a queue, from the floors on, under the new lease. They come in the order in which they
/// should start. None from a paused queue.
///
/// # Errors
/// After [`crate::Error::Indeterminate`] jobs may have been claimed: [`recover_claim`] finds them.
pub async fn claim(
    client: &ClientWrapper,
    queue: &str,
    lease_id: LeaseId,
    owner: WorkerId,
    lease_ttl: Duration,
    limit: usize,
    floors: &Floors,
) -> Result<Vec<ClaimedJob>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let ttl_ms = faultline_core::job::millis(lease_ttl);
    let rows = query(
        client,
        CLAIM,
        &[&queue, &lease_id.0, &owner.0, &ttl_ms, &limit, &floors.priorities, &floors.times, &floors.ties],
    )
    .await?;
    in_order(lease_id, &rows)
}

/// Finds the jobs of a claim whose answer was lost: those that its lease holds, looked for from its floors on among the
/// first `look_at` visible rows of each priority.
///
/// # Errors
/// Those of the connection; ask again.
pub async fn recover_claim(
    client: &ClientWrapper,
    queue: &str,
    lease_id: LeaseId,
    floors: &Floors,
    look_at: i64,
) -> Result<Vec<ClaimedJob>> {
    let rows =
        query(client, RECOVER_CLAIM, &[&queue, &lease_id.0, &floors.priorities, &floors.times, &floors.ties, &look_at])
            .await?;
    // Their handlers may only start once the claim is as durable as one that was answered.
    if !rows.is_empty() {
        confirm(client).await?;
    }
    in_order(lease_id, &rows)
}

fn in_order(lease_id: LeaseId, rows: &[Row]) -> Result<Vec<ClaimedJob>> {
    let mut claimed = rows.iter().map(|row| claimed_job(lease_id, row)).collect::<Result<Vec<_>>>()?;
    claimed.sort_unstable_by_key(|job| (job.priority, job.due_at, job.tie));
    Ok(claimed)
}

/// By position: a look-up by name compares it with each column's, for each value of each job.
fn claimed_job(lease_id: LeaseId, row: &Row) -> Result<ClaimedJob> {
    let timeout_ms: i32 = row.try_get(10)?;
    // A mutant of the fence makes a lease of its own.
    #[cfg(feature = "mutants")]
    let lease_id = row.try_get("lease_id").map_or(lease_id, LeaseId);
    Ok(ClaimedJob {
        id: JobId(row.try_get(0)?),
        lease_id,
        kind: row.try_get(1)?,
        priority: row.try_get(2)?,
        due_at: row.try_get(3)?,
        tie: row.try_get(4)?,
        created_at: row.try_get(5)?,
        claimed_at: row.try_get(6)?,
        attempt: row.try_get(7)?,
        max_attempts: row.try_get(8)?,
        crashes: row.try_get(9)?,
        timeout: Duration::from_millis(timeout_ms.unsigned_abs().into()),
        backoff: Backoff { base_ms: row.try_get(11)?, cap_ms: row.try_get(12)? },
        key: row.try_get(13)?,
        headers: row.try_get::<_, Option<Json<Box<RawValue>>>>(14)?.map(|json| json.0),
        payload: row.try_get::<_, Json<Box<RawValue>>>(15)?.0,
    })
}

/// A lease that was renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// The job.
    pub id: JobId,
    /// The lease, as it was asked for.
    pub lease_id: LeaseId,
    /// Whether the handler should stop: somebody cancelled the job.
    pub cancel: bool,
}

/// Renews leases of one queue for `lease_ttl` from now on the database's clock. A pair that is missing from the answer has
/// lost its lease, unless somebody else has locked the row: see [`still_held`].
///
/// # Errors
/// Those of the connection; nothing is known of the leases then, ask again.
pub async fn renew(
    client: &ClientWrapper,
    queue: &str,
    held: &[(JobId, LeaseId)],
    lease_ttl: Duration,
) -> Result<Vec<Renewed>> {
    let (ids, leases) = columns(held);
    let ttl_ms = faultline_core::job::millis(lease_ttl);
    query(client, RENEW, &[&queue, &ids, &leases, &ttl_ms])
        .await?
        .iter()
        .map(|row| {
            Ok(Renewed {
                id: JobId(row.try_get("id")?),
                lease_id: LeaseId(row.try_get("lease_id")?),
                cancel: row.try_get("cancel")?,
            })
        })
        .collect()
}

/// Which of these leases are still held, as far as can be seen without waiting for anybody: asked about what [`renew`] left out.
///
/// # Errors
/// As [`renew`].
pub async fn still_held(
    client: &ClientWrapper,
    queue: &str,
    asked: &[(JobId, LeaseId)],
) -> Result<Vec<(JobId, LeaseId)>> {
    let (ids, leases) = columns(asked);
    let rows = query(client, HELD, &[&queue, &ids, &leases]).await?;
    rows.iter().map(|row| Ok((JobId(row.try_get("id")?), LeaseId(row.try_get("lease_id")?)))).collect()
}

/// Pairs as two arrays, in the order of the ids.
fn columns(held: &[(JobId, LeaseId)]) -> (Vec<Uuid>, Vec<Uuid>) {
    let mut held = held.to_vec();
    held.sort_unstable();
    held.iter().map(|(id, lease)| (id.0, lease.0)).unzip()
}
