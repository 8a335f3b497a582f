//! Who held a job.

use crate::error::Result;
use crate::read::{self, Attempt};
use crate::session::ClientWrapper;
use crate::statement::query;
use faultline_core::{JobId, LeaseId, WorkerId};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use uuid::Uuid;

const HOLDERS: &str = include_str!("../../sql/job_holders.sql");
const LAST_ATTEMPTS: &str = include_str!("../../sql/last_attempts.sql");

/// A worker as far as a job's story needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its host's name.
    pub host: String,
    /// Its process id there.
    pub pid: i32,
    /// When it was last heard of.
    pub heartbeat_at: Timestamp,
    /// How long its leases last unless they are renewed.
    pub lease_ttl: SignedDuration,
}

/// Who held a job.
#[derive(Debug, Clone, Default)]
pub struct Holders {
    /// The workers that are still known; they are forgotten some time after they are gone.
    pub workers: HashMap<WorkerId, Holder>,
    /// Who held the job when it ended, and under which lease; none while it has not, or if nobody did.
    pub last: Option<(WorkerId, LeaseId)>,
}

/// Who held a job: what is known of `workers`, and of the one who held it when it ended.
///
/// # Errors
/// Those of the connection.
pub async fn holders(client: &ClientWrapper, id: JobId, workers: &[WorkerId]) -> Result<Holders> {
    let ids: Vec<Uuid> = workers.iter().map(|worker| worker.0).collect();
    let mut holders = Holders::default();
    for row in query(client, HOLDERS, &[&id.0, &ids]).await? {
        let worker = WorkerId(row.try_get("id")?);
        if let Some(lease) = row.try_get::<_, Option<Uuid>>("lease_id")? {
            holders.last = Some((worker, LeaseId(lease)));
            continue;
        }
        let holder = Holder {
            host: row.try_get("host")?,
            pid: row.try_get("pid")?,
            heartbeat_at: row.try_get("heartbeat_at")?,
            lease_ttl: SignedDuration::from_millis(row.try_get::<_, i32>("lease_ttl_ms")?.into()),
        };
        holders.workers.insert(worker, holder);
    }
    Ok(holders)
}

/// The last attempts of a job that did not end it, in order, at most `limit`.
///
/// # Errors
/// Those of the connection.
pub async fn last_attempts(client: &ClientWrapper, id: JobId, limit: usize) -> Result<Vec<Attempt>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    query(client, LAST_ATTEMPTS, &[&id.0, &limit]).await?.iter().map(read::attempt).collect()
}
