//! Lists of jobs by filter, in the order of their ids.
//!
//! Nothing but the id is indexed for them: what a filter asks for is found by looking at jobs one after the other. So a search goes in
//! steps of bounded size, and a page ends when it is full, when all jobs were looked at, or when its time is over: then it says how
//! far back it has looked, and where to go on. No filter can make it read longer, however long the history is.

use crate::dashboard::workers;
use crate::error::Result;
use crate::read::{Job, job};
use crate::reap::queue_names;
use crate::session::{ClientWrapper, typed};
use crate::statement::query;
use crate::types::Param;
use faultline_core::{JobId, State};
use futures_util::TryStreamExt;
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

const SEARCH: &str = include_str!("../sql/search_jobs.sql");
const JOBS_OF_KEY: &str = include_str!("../sql/jobs_of_key.sql");

/// Jobs on one page of a list at most.
pub const MAX_PAGE: usize = 1000;
/// Bytes of payloads and results at which a page takes no further job.
pub const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;
/// How long a page looks for jobs unless told otherwise: well below the time that a call of the API may take.
pub const PAGE_TIME: Duration = Duration::from_millis(1500);
/// Jobs that one step looks at: some ten milliseconds of work.
const STEP: i64 = 2000;
/// The difference of the clock of whoever made an id to that of the database that a filter by time allows for.
const CLOCK_SKEW_MS: i64 = 5 * 60 * 1000;

/// A state, or a part of the queued ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateFilter {
    /// In this state.
    Is(State),
    /// Queued, to start later.
    Scheduled,
    /// Queued, after an attempt.
    Retrying,
}

impl StateFilter {
    /// The name as it stands in the statement and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Is(state) => state.as_str(),
            Self::Scheduled => "scheduled",
            Self::Retrying => "retrying",
        }
    }
}

impl std::str::FromStr for StateFilter {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Self, String> {
        match s {
            "scheduled" => Ok(Self::Scheduled),
            "retrying" => Ok(Self::Retrying),
            _ => s.parse().map(Self::Is).map_err(|_: String| {
                format!("expected queued, running, succeeded, failed, cancelled, scheduled or retrying, got {s:?}")
            }),
        }
    }
}

/// Which jobs to list; `None` means any.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those of one queue.
    pub queue: Option<String>,
    /// Those of one kind.
    pub kind: Option<String>,
    /// Those in one of these states.
    pub states: Option<Vec<StateFilter>>,
    /// Those of one key.
    pub key: Option<String>,
    /// Those enqueued at this time or later.
    pub created_from: Option<Timestamp>,
    /// Those enqueued before this time.
    pub created_before: Option<Timestamp>,
    /// Those with this entry in their headers, and with this value of it: the entry itself, or one of its elements.
    pub tag: Option<(String, Option<String>)>,
    /// Those with so many attempts at least.
    pub min_attempts: Option<i32>,
    /// Those whose last error contains this, in upper or lower case.
    pub error: Option<String>,
    /// Those behind this one: older ones, where the page of before ended.
    pub before: Option<JobId>,
    /// Those in front of this one: the page is of the next newer ones.
    pub after: Option<JobId>,
}

/// A part of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// The jobs, newest first.
    pub jobs: Vec<Job>,
    /// Whether there may be more behind them, in the direction of the search.
    pub has_more: bool,
    /// Where to go on, if there may be more: the next page's [`Filter::before`], or [`Filter::after`] where that was given.
    pub next: Option<JobId>,
    /// Set when the page's time ended before it was full: jobs enqueued since (with [`Filter::after`]: before) have been looked
    /// at, as the times in their ids are; whether any others match is not known.
    pub searched_to: Option<Timestamp>,
}

/// All that match, newest first, up to `limit`: pages until it is full or nothing is left, however long that takes.
///
/// # Errors
/// Those of the connection.
pub async fn list(client: &ClientWrapper, filter: &Filter, limit: usize) -> Result<Vec<Job>> {
    let limit = limit.min(MAX_PAGE);
    let (mut jobs, mut filter) = (Vec::new(), filter.clone());
    loop {
        let page = page(client, &filter, limit - jobs.len()).await?;
        jobs.extend(page.jobs);
        let Some(next) = page.next.filter(|_| jobs.len() < limit) else { break };
        match filter.after {
            Some(_) => filter.after = Some(next),
            None => filter.before = Some(next),
        }
    }
    jobs.sort_by_key(|job| std::cmp::Reverse(job.id));
    Ok(jobs)
}

/// A page of jobs, newest first, found within [`PAGE_TIME`]. It ends early when it holds [`MAX_PAGE_BYTES`]: what large jobs leave
/// out is on the next page.
///
/// # Errors
/// Those of the connection.
pub async fn page(client: &ClientWrapper, filter: &Filter, limit: usize) -> Result<Page> {
    page_within(client, filter, limit, PAGE_TIME).await
}

/// The same with a time of its own. At least one step is made.
///
/// # Errors
/// As [`page`].
pub async fn page_within(client: &ClientWrapper, filter: &Filter, limit: usize, time: Duration) -> Result<Page> {
    let until = Instant::now() + time;
    let limit = limit.min(MAX_PAGE);
    let mut search = Search::new(client, filter).await?;
    let mut found = Found { jobs: Vec::new(), bytes: 0, limit, is_full: false };
    loop {
        let seen = search.step(client, &mut found).await?;
        if found.is_full || seen.is_none() || Instant::now() >= until {
            let last = found.jobs.last().map(|job| job.id);
            let next = if found.is_full { last } else { seen };
            if filter.after.is_some() {
                found.jobs.reverse();
            }
            return Ok(Page {
                jobs: found.jobs,
                has_more: next.is_some(),
                next,
                searched_to: next.filter(|_| !found.is_full).and_then(time_of),
            });
        }
        search.from = seen.map_or(search.from, |last| last.0);
    }
}

/// The time in an id, if it has one.
pub(crate) fn time_of(id: JobId) -> Option<Timestamp> {
    let ms = i64::try_from(id.0.as_u128() >> 80).ok()?;
    (id.0.get_version_num() == 7).then(|| Timestamp::from_millisecond(ms).ok()).flatten()
}

/// What a page has so far.
struct Found {
    jobs: Vec<Job>,
    bytes: usize,
    limit: usize,
    /// Whether another one was found that has no room.
    is_full: bool,
}

/// A search on its way.
struct Search<'a> {
    filter: &'a Filter,
    states: Option<Vec<&'static str>>,
    sql: String,
    /// The last id that was looked at.
    from: Uuid,
    /// The last that is to be.
    to: Uuid,
    /// The only ones that may match, where that is known.
    running: Vec<Uuid>,
}

impl<'a> Search<'a> {
    async fn new(client: &ClientWrapper, filter: &'a Filter) -> Result<Self> {
        let (least, most) = bounds(filter);
        let states = filter.states.as_ref().map(|states| states.iter().map(|state| state.as_str()).collect());
        let mut sql = SEARCH.replace("/*only*/", only(filter.states.as_deref()));
        // What runs is little, and lies at the heads of the queues.
        let is_running = |state: &StateFilter| *state == StateFilter::Is(State::Running);
        let mut running = Vec::new();
        if filter.states.as_ref().is_some_and(|states| states.iter().all(is_running)) {
            running = workers::ids(client, filter.queue.as_deref(), STEP).await?;
            if running.len() < usize::try_from(STEP).unwrap_or(usize::MAX) {
                sql = SEARCH.replace("/*only*/", "and j.id = any ($15::uuid[])");
            }
        }
        let Some(after) = filter.after else {
            let mut from = filter.before.map_or(most, |before| before.0.min(most));
            if let Some(newest) = newest_of_key(client, filter).await? {
                from = from.min(newest);
            }
            return Ok(Self { filter, states, sql, from, to: least, running });
        };
        let sql = sql.replace("j.id < $1 and j.id >= $2", "j.id > $1 and j.id <= $2").replace("j.id desc", "j.id");
        let to = filter.before.map_or(most, |before| before.0.min(most));
        Ok(Self { filter, states, sql, from: after.0.max(least), to, running })
    }

    /// Looks at the next jobs. Answers the last one, or none when all have been looked at.
    async fn step(&self, client: &ClientWrapper, found: &mut Found) -> Result<Option<JobId>> {
        let filter = self.filter;
        let (tag, value) = filter.tag.clone().map_or((None, None), |(tag, value)| (Some(tag), value));
        // One more than there is room for tells whether there is more, and another row where the step ends.
        let rows = i64::try_from(found.limit - found.jobs.len() + 2).unwrap_or(i64::MAX);
        let params: [&dyn Param; 15] = [
            &self.from,
            &self.to,
            &STEP,
            &rows,
            &filter.queue,
            &filter.kind,
            &self.states,
            &filter.key,
            &filter.created_from,
            &filter.created_before,
            &tag,
            &value,
            &filter.min_attempts,
            &filter.error,
            &self.running,
        ];
        let mut rows = std::pin::pin!(client.query_typed_raw(&self.sql, typed(&params)).await?);
        while let Some(row) = rows.as_mut().try_next().await? {
            if row.try_get("matches")? {
                if found.jobs.len() == found.limit || found.bytes >= MAX_PAGE_BYTES {
                    found.is_full = true;
                    return Ok(None);
                }
                let job = job(&row)?;
                found.bytes += job.payload.get().len() + job.result.as_ref().map_or(0, |result| result.get().len());
                found.jobs.push(job);
            }
            if row.try_get::<_, i64>("number")? == STEP {
                return Ok(Some(JobId(row.try_get("id")?)));
            }
        }
        Ok(None)
    }
}

/// The ids that the times of the filter leave, the first to be left out above.
fn bounds(filter: &Filter) -> (Uuid, Uuid) {
    let at = |time: Timestamp, shift: i64| {
        let ms = time.as_millisecond().saturating_add(shift).clamp(0, (1 << 48) - 1);
        Uuid::from_u128(u128::from(ms.unsigned_abs()) << 80)
    };
    let least = filter.created_from.map_or(Uuid::nil(), |from| at(from, -CLOCK_SKEW_MS));
    let most = filter.created_before.map_or(Uuid::max(), |before| at(before, CLOCK_SKEW_MS));
    (least, most)
}

/// The condition that leaves out what no state of the filter is in, so that fewer indexes are walked.
fn only(states: Option<&[StateFilter]>) -> &'static str {
    let Some(states) = states else { return "" };
    let waits = |state: &StateFilter| {
        matches!(
            state,
            StateFilter::Is(State::Queued | State::Running) | StateFilter::Scheduled | StateFilter::Retrying
        )
    };
    if states.contains(&StateFilter::Is(State::Succeeded)) {
        return if states.iter().any(waits) { "" } else { "and j.finished_at is not null" };
    }
    match (states.iter().any(waits), states.iter().all(waits)) {
        (_, true) => "and j.finished_at is null",
        (true, false) => "and j.state <> 'succeeded'",
        (false, false) => "and j.state <> 'succeeded' and j.finished_at is not null",
    }
}

/// The first id above the newest job that has the filter's key, where the keys know it: a newer one would have taken the key over.
async fn newest_of_key(client: &ClientWrapper, filter: &Filter) -> Result<Option<Uuid>> {
    let Some(key) = &filter.key else { return Ok(None) };
    let queues = match &filter.queue {
        Some(queue) => vec![queue.clone()],
        None => queue_names(client).await?,
    };
    let rows = query(client, JOBS_OF_KEY, &[&queues, key]).await?;
    let ids = rows.iter().map(|row| Ok(row.try_get("id")?)).collect::<Result<Vec<Uuid>>>()?;
    Ok(ids.into_iter().max().map(|newest| Uuid::from_u128(newest.as_u128().saturating_add(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_say_which_tables_are_walked() {
        use StateFilter::{Is, Retrying, Scheduled};
        let said = |states: &[StateFilter]| only(Some(states));
        assert_eq!(only(None), "");
        assert_eq!(said(&[Is(State::Queued), Scheduled, Retrying]), "and j.finished_at is null");
        assert_eq!(said(&[Is(State::Failed)]), "and j.state <> 'succeeded' and j.finished_at is not null");
        assert_eq!(said(&[Is(State::Cancelled), Is(State::Running)]), "and j.state <> 'succeeded'");
        assert_eq!(said(&[Is(State::Succeeded), Is(State::Failed)]), "and j.finished_at is not null");
        assert_eq!(said(&[Is(State::Succeeded), Is(State::Queued)]), "");
    }

    #[test]
    fn the_text_has_what_its_variants_replace() {
        assert_eq!(SEARCH.matches("/*only*/\n").count(), 1);
        assert_eq!(SEARCH.matches("j.id < $1 and j.id >= $2").count(), 1);
        assert_eq!(SEARCH.matches("j.id desc").count(), 1);
    }

    #[test]
    fn an_id_tells_its_time() {
        let id = JobId::new(1_700_000_000_123, &mut rand::rng());
        assert_eq!(time_of(id), Some(Timestamp::from_millisecond(1_700_000_000_123).unwrap()));
        assert_eq!(time_of(JobId(Uuid::max())), None);
    }
}
