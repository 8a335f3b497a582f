//! Acting on everything that matches, a batch at a time: whoever asks shows the count first, then the progress, and can stop.
//!
//! A batch is one transaction. New jobs have higher ids than any that was there, and a search goes towards lower ones: what a retry
//! makes is never found by the search that made it.

use crate::dashboard::queues::{Count, Precision};
use crate::error::{Error, Result};
use crate::operate::audit;
use crate::read::{Filter, page_within};
use crate::session::{ClientWrapper, typed};
use faultline_core::{JobId, State};
use std::time::Duration;
use tokio::time::Instant;

const RETRY: &str = include_str!("../../sql/retry.sql");
const CANCEL: &str = "select faultline.cancel($1)";

/// Jobs of one batch: their rows stay locked until its commit.
pub const BATCH: usize = 100;
/// Jobs that are counted at most.
pub const MAX_COUNTED: i64 = 10_000;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Cancel what waits or runs.
    Cancel,
    /// Retry what has ended, once; make due what waits for its time.
    Retry,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Cancel => "jobs.cancel",
            Self::Retry => "jobs.retry",
        }
    }
}

/// How far an action has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Jobs that were looked at and matched.
    pub matched: usize,
    /// Those that were cancelled, asked to stop, retried or made due.
    pub changed: usize,
    /// Where to go on: the next call's [`Filter::before`]; none at the end.
    pub next: Option<JobId>,
}

/// What was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changed {
    /// Waiting jobs that ended as cancelled.
    pub cancelled: usize,
    /// Running jobs that were asked to stop, or had been before.
    pub asked: usize,
    /// Jobs that have a successor now.
    pub retried: usize,
    /// Waiting jobs that are due now.
    pub moved: usize,
}

impl Changed {
    /// All of them.
    pub fn total(self) -> usize {
        self.cancelled + self.asked + self.retried + self.moved
    }
}

/// How many jobs match: counted up to [`MAX_COUNTED`] and within `time`; beyond, at least so many.
///
/// # Errors
/// Those of the connection.
pub async fn count(client: &ClientWrapper, filter: &Filter, time: Duration) -> Result<Count> {
    let until = Instant::now() + time;
    let (mut jobs, mut filter) = (0, filter.clone());
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let page = page_within(client, &filter, crate::read::MAX_PAGE, left).await?;
        jobs += i64::try_from(page.jobs.len()).unwrap_or(i64::MAX);
        filter.before = page.next;
        if page.next.is_none() {
            return Ok(Count::exact(jobs));
        }
        if jobs >= MAX_COUNTED || Instant::now() >= until {
            return Ok(Count { jobs, precision: Precision::AtLeast });
        }
    }
}

/// Acts on the next [`BATCH`] jobs that match, newest first, as far as they are found within `time`. Go on with `next` as
/// [`Filter::before`]. `successor` makes ids for new jobs.
///
/// # Errors
/// Those of the connection; all or nothing of the batch was done: safe to repeat.
pub async fn step(
    client: &mut ClientWrapper,
    actor: &str,
    action: Action,
    filter: &Filter,
    time: Duration,
    successor: impl FnMut() -> JobId,
) -> Result<Progress> {
    let page = page_within(client, filter, BATCH, time).await?;
    let ids: Vec<JobId> = page.jobs.iter().filter(|job| can(action, job.state)).map(|job| job.id).collect();
    let changed = act(client, actor, action, &ids, successor).await?;
    Ok(Progress { matched: page.jobs.len(), changed: changed.total(), next: page.next })
}

fn can(action: Action, state: State) -> bool {
    match action {
        Action::Cancel => !state.is_terminal(),
        Action::Retry => state != State::Running,
    }
}

/// Acts on these jobs in one transaction, with one entry in the audit log; answers what it changed. At most [`BATCH`] of
/// them: more are left out.
///
/// # Errors
/// Those of the connection; all or nothing was done: safe to repeat.
pub async fn act(
    client: &mut ClientWrapper,
    actor: &str,
    action: Action,
    ids: &[JobId],
    mut successor: impl FnMut() -> JobId,
) -> Result<Changed> {
    let mut ids = ids[..ids.len().min(BATCH)].to_vec();
    if ids.is_empty() {
        return Ok(Changed::default());
    }
    // The order in which everybody locks.
    ids.sort();
    let transaction = client.begin().await?;
    let mut changed = Changed::default();
    for id in &ids {
        let rows = match action {
            Action::Cancel => transaction.query_typed(CANCEL, &typed(&[&id.0])).await,
            Action::Retry => transaction.query_typed(RETRY, &typed(&[&id.0, &successor().0])).await,
        };
        let rows = rows.map_err(Error::from)?;
        let Some(row) = rows.first() else { continue };
        match (action, row.try_get::<_, Option<&str>>(0)?) {
            (Action::Cancel, Some("cancelled")) => changed.cancelled += 1,
            (Action::Cancel, Some("cancelling")) => changed.asked += 1,
            (Action::Retry, Some(state)) if row.try_get("changed")? => match state {
                "queued" => changed.moved += 1,
                _ => changed.retried += 1,
            },
            _ => {}
        }
    }
    transaction.commit().await?;
    if changed.total() > 0 {
        let (first, last) = (ids[0], ids[ids.len() - 1]);
        let subject = if first == last { first.to_string() } else { format!("{first}..{last}") };
        audit(client, actor, action.word(), &subject, Some(&format!("{} of {} jobs", changed.total(), ids.len())))
            .await?;
    }
    Ok(changed)
}
