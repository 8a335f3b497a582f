//! One job with its whole story.

use crate::error::Result;
use crate::finish::state;
use crate::read::{self, Attempt, Explanation, Job};
use crate::session::ClientWrapper;
use crate::statement::query;
use faultline_core::{JobId, State};
use jiff::Timestamp;
use serde::Serialize;

const RETRY_CHAIN: &str = include_str!("../../sql/retry_chain.sql");

/// A job that another is a retry of, or was retried as.
#[derive(Debug, Clone, Serialize)]
pub struct Relative {
    /// Its id.
    pub id: JobId,
    /// How many retries lie between: below 0 it came before, above 0 it came after.
    pub step: i32,
    /// Where it is in its life.
    pub state: State,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// Everything that is known of a job.
#[derive(Debug, Clone, Serialize)]
pub struct Story {
    /// The job itself; its lease, and how it ended.
    pub job: Job,
    /// The attempts that did not end it, in order, at most 1,000. The one that did, or that runs, is in the job.
    pub attempts: Vec<Attempt>,
    /// Why it is not running, or who runs it; none once it has ended.
    pub explanation: Option<Explanation>,
    /// The jobs that it is a retry of and those that it was retried as, in order, at most 20 each way.
    pub relatives: Vec<Relative>,
    /// The database's time of the answer, to count from.
    pub now: Timestamp,
}

/// A job with its whole story; `None` if there is no such job. The parts are read one after the other: a job that changes in
/// between may be told a little apart from its attempts, never wrongly.
///
/// # Errors
/// Those of the connection.
pub async fn story(client: &ClientWrapper, id: JobId) -> Result<Option<Story>> {
    let (job, attempts, explanation, relatives, now) = tokio::try_join!(
        read::get(client, id),
        read::attempts(client, id),
        read::explain(client, id),
        relatives(client, id),
        now(client)
    )?;
    Ok(job.map(|job| Story { job, attempts, explanation, relatives, now }))
}

async fn relatives(client: &ClientWrapper, id: JobId) -> Result<Vec<Relative>> {
    query(client, RETRY_CHAIN, &[&id.0])
        .await?
        .iter()
        .map(|row| {
            Ok(Relative {
                id: JobId(row.try_get("id")?),
                step: row.try_get("step")?,
                state: state(row)?,
                created_at: row.try_get("created_at")?,
                finished_at: row.try_get("finished_at")?,
            })
        })
        .collect()
}

async fn now(client: &ClientWrapper) -> Result<Timestamp> {
    Ok(client
        .query_typed("select clock_timestamp()", &[])
        .await?
        .first()
        .map_or(Timestamp::UNIX_EPOCH, |row| row.get(0)))
}
