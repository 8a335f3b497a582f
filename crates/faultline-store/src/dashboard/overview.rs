//! What the first page shows beside the queues, the workers and the series: what was recovered.

use crate::error::Result;
use crate::session::ClientWrapper;
use crate::statement::query;
use faultline_core::{JobId, WorkerId};
use jiff::Timestamp;
use serde::Serialize;

const RECOVERIES: &str = include_str!("../../sql/recoveries.sql");

/// Attempts that are looked at for recoveries: where many fail or are snoozed, recoveries of long ago are not found.
const LOOK_AT: i64 = 2000;
/// Recoveries that are told at most.
const MAX_RECOVERIES: i64 = 50;

/// An attempt that was taken from its worker because that was gone, or did not renew its lease.
#[derive(Debug, Clone, Serialize)]
pub struct Recovery {
    /// The job.
    pub job: JobId,
    /// Its queue and kind; none once it is older than the history.
    pub queue: Option<String>,
    /// Its kind.
    pub kind: Option<String>,
    /// Where it is now.
    pub state: Option<String>,
    /// Which attempt it was.
    pub attempt: i32,
    /// Whether it counts.
    pub charged: bool,
    /// `lost`: the worker's session was gone; `expired`: the lease ran out.
    pub outcome: String,
    /// The worker that had it.
    pub worker: WorkerId,
    /// The host of that worker; none once it is forgotten.
    pub host: Option<String>,
    /// When the attempt began.
    pub started_at: Timestamp,
    /// When that worker was last heard of: it died between this and `recovered_at`.
    pub last_heard_at: Option<Timestamp>,
    /// When the job was put back.
    pub recovered_at: Timestamp,
    /// When its next attempt began.
    pub resumed_at: Option<Timestamp>,
}

impl Recovery {
    /// From the worker's last sign of life to the recovery, in milliseconds: the job was without a worker for this long at most.
    pub fn delay_ms(&self) -> Option<i64> {
        let silence = self.recovered_at.duration_since(self.last_heard_at?);
        i64::try_from(silence.as_millis()).ok().filter(|ms| *ms >= 0)
    }
}

/// The last attempts of the last day that were recovered, newest first, at most 50, of those among the last 2,000 that failed
/// or were put back. A job whose attempts were used up by that is among the failed ones.
///
/// # Errors
/// Those of the connection.
pub async fn recoveries(client: &ClientWrapper) -> Result<Vec<Recovery>> {
    query(client, RECOVERIES, &[&LOOK_AT, &MAX_RECOVERIES])
        .await?
        .iter()
        .map(|row| {
            let recovered_at: Timestamp = row.try_get("ended_at")?;
            let resumed_at: Option<Timestamp> = row.try_get("resumed_at")?;
            Ok(Recovery {
                job: JobId(row.try_get("job_id")?),
                queue: row.try_get("queue")?,
                kind: row.try_get("kind")?,
                state: row.try_get("state")?,
                attempt: row.try_get("attempt")?,
                charged: row.try_get("charged")?,
                outcome: row.try_get("outcome")?,
                worker: WorkerId(row.try_get("lease_owner")?),
                host: row.try_get("host")?,
                started_at: row.try_get("started_at")?,
                last_heard_at: row.try_get("heartbeat_at")?,
                recovered_at,
                resumed_at: resumed_at.filter(|at| *at >= recovered_at),
            })
        })
        .collect()
}
