//! Errors by what they say. The groups are made where what happened is counted ([`crate::rollup`]): a group is there some
//! twenty seconds after its first error.

use crate::dashboard::queues::{Count, Precision};
use crate::error::Result;
use crate::session::ClientWrapper;
use crate::statement::{query, query_opt};
use faultline_core::JobId;
use faultline_core::fingerprint::{MAX_LOOK_CHARS, fingerprint, pattern};
use jiff::{Timestamp, ToSpan};
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;
use tokio_postgres::Row;
use uuid::Uuid;

const GROUPS: &str = include_str!("../../sql/error_groups.sql");
const GROUP: &str = include_str!("../../sql/error_group.sql");
const FAILED_JOBS: &str = include_str!("../../sql/failed_jobs.sql");

/// Groups of a page at most.
pub const MAX_GROUPS: usize = 200;
/// Failed jobs of a group that are counted at most.
pub const MAX_COUNTED: i64 = 10_000;
/// Jobs that one step looks at.
const STEP: i64 = 1000;

/// What happened in ten minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ErrorCount {
    /// When they began.
    pub at: Timestamp,
    /// Jobs that failed for good.
    pub failed: i64,
    /// Attempts after which the job waits again.
    pub retried: i64,
}

/// Errors that say the same, numbers, ids and quoted parts aside.
#[derive(Debug, Clone, Serialize)]
pub struct ErrorGroup {
    /// Its name: [`faultline_core::fingerprint`] of the pattern.
    pub fingerprint: Uuid,
    /// What they have in common.
    pub pattern: String,
    /// One of them, up to 1,000 characters.
    pub sample: String,
    /// A job that it happened to.
    pub example_job: JobId,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// How often it was seen, by jobs that failed and attempts that did; beyond 5,000 in ten seconds an estimate.
    pub occurrences: i64,
    /// Kinds of jobs that it happened to, up to 20.
    pub kinds: Vec<String>,
    /// Queues that it happened in, up to 20.
    pub queues: Vec<String>,
    /// By ten minutes, in order; a span without any is left out.
    pub counts: Vec<ErrorCount>,
}

/// Which groups to show; `None` means any.
#[derive(Debug, Clone, Default)]
pub struct GroupFilter {
    /// Those of one queue.
    pub queue: Option<String>,
    /// Those of one kind.
    pub kind: Option<String>,
    /// Those that contain this, in upper or lower case.
    pub text: Option<String>,
    /// Those behind this one, the last of the page before: its `last_seen` and fingerprint.
    pub behind: Option<(Timestamp, Uuid)>,
}

/// Groups of errors, the last seen first, at most [`MAX_GROUPS`], with their counts of the last so many hours.
///
/// # Errors
/// Those of the connection.
pub async fn groups(client: &ClientWrapper, filter: &GroupFilter, limit: usize, hours: u32) -> Result<Vec<ErrorGroup>> {
    let (last_seen, name) = filter.behind.map_or((None, None), |(last_seen, name)| (Some(last_seen), Some(name)));
    let limit = i64::try_from(limit.min(MAX_GROUPS)).unwrap_or(i64::MAX);
    let since = hours_ago(hours);
    query(client, GROUPS, &[&filter.queue, &filter.kind, &filter.text, &last_seen, &name, &limit, &since])
        .await?
        .iter()
        .map(group_of)
        .collect()
}

/// One group, with its counts of the last so many hours.
///
/// # Errors
/// Those of the connection.
pub async fn group(client: &ClientWrapper, name: Uuid, hours: u32) -> Result<Option<ErrorGroup>> {
    query_opt(client, GROUP, &[&name, &hours_ago(hours)]).await?.as_ref().map(group_of).transpose()
}

/// The clock of this process will do: a count more or less at the left edge of a chart.
fn hours_ago(hours: u32) -> Timestamp {
    Timestamp::now() - i64::from(hours.clamp(1, 30 * 24)).hours()
}

fn group_of(row: &Row) -> Result<ErrorGroup> {
    let ats: Vec<Timestamp> = row.try_get("ats")?;
    let (failed, retried): (Vec<i64>, Vec<i64>) = (row.try_get("failed")?, row.try_get("retried")?);
    let counts = ats.into_iter().zip(failed).zip(retried);
    Ok(ErrorGroup {
        fingerprint: row.try_get("fingerprint")?,
        pattern: row.try_get("pattern")?,
        sample: row.try_get("sample")?,
        example_job: JobId(row.try_get("example_job")?),
        first_seen: row.try_get("first_seen")?,
        last_seen: row.try_get("last_seen")?,
        occurrences: row.try_get("occurrences")?,
        kinds: row.try_get("kinds")?,
        queues: row.try_get("queues")?,
        counts: counts.map(|((at, failed), retried)| ErrorCount { at, failed, retried }).collect(),
    })
}

/// Where a search among failed jobs is: the end and the id of the last one that was looked at.
pub type Position = (Timestamp, Uuid);

/// Failed jobs of a group.
#[derive(Debug, Clone)]
pub struct FailedJobs {
    /// Those that were not retried yet, in the order of their ends.
    pub jobs: Vec<JobId>,
    /// How many of those looked at have been retried already.
    pub retried: usize,
    /// Where to go on; none when all were looked at.
    pub next: Option<Position>,
}

/// Failed jobs of a group, the oldest first: those among the next 1,000 jobs that ended other than well. Go on with `next`.
///
/// # Errors
/// Those of the connection.
pub async fn failed_jobs(client: &ClientWrapper, group: &ErrorGroup, after: Option<Position>) -> Result<FailedJobs> {
    let (at, id) = after.unwrap_or((group.first_seen, Uuid::nil()));
    // A list of names that is full may not have all of them.
    let kinds = if group.kinds.len() < 20 { group.kinds.as_slice() } else { &[] };
    let chars = i32::try_from(MAX_LOOK_CHARS).unwrap_or(i32::MAX);
    let rows = query(client, FAILED_JOBS, &[&at, &id, &group.last_seen, &kinds, &STEP, &chars]).await?;
    let mut found = FailedJobs { jobs: Vec::new(), retried: 0, next: None };
    for row in &rows {
        let id: Uuid = row.try_get("id")?;
        if row.try_get::<_, i64>("number")? == STEP {
            found.next = Some((row.try_get("finished_at")?, id));
        }
        let error = row.try_get::<_, Option<&str>>("error")?.unwrap_or("(no text)");
        if !row.try_get::<_, bool>("failed")? || fingerprint(&pattern(error)) != group.fingerprint {
            continue;
        }
        if row.try_get("retried")? {
            found.retried += 1;
        } else {
            found.jobs.push(JobId(id));
        }
    }
    Ok(found)
}

/// How many failed jobs of a group can be retried: counted up to [`MAX_COUNTED`] and within `time`; beyond, at least so many.
///
/// # Errors
/// Those of the connection.
pub async fn count_failed(client: &ClientWrapper, group: &ErrorGroup, time: Duration) -> Result<Count> {
    let until = Instant::now() + time;
    let (mut jobs, mut after) = (0, None);
    loop {
        let found = failed_jobs(client, group, after).await?;
        jobs += i64::try_from(found.jobs.len()).unwrap_or(i64::MAX);
        after = found.next;
        if after.is_none() {
            return Ok(Count::exact(jobs));
        }
        if jobs >= MAX_COUNTED || Instant::now() >= until {
            return Ok(Count { jobs, precision: Precision::AtLeast });
        }
    }
}
