//! Jobs on their way in: a batch in one statement, alone or inside the caller's transaction, and a second try after a
//! lost answer.

use crate::error::Result;
use crate::session::{ClientWrapper, typed};
use crate::statement::{confirm, query};
use crate::types::Param;
use faultline_core::job::millis;
use faultline_core::{Invalid, JobId, NewJob, Start, limits};
use jiff::Timestamp;
use serde_json::value::RawValue;
use std::collections::HashSet;
use tokio_postgres::Row;
use tokio_postgres::types::Json;
use uuid::Uuid;

const ENQUEUE: &str = include_str!("../sql/enqueue.sql");
const ENQUEUE_ALIKE: &str = include_str!("../sql/enqueue_alike.sql");
const INSERT_AGAIN: &str = include_str!("../sql/insert_again.sql");
const ENQUEUED_BEFORE: &str = include_str!("../sql/enqueued_before.sql");
const NOTIFY: &str = include_str!("../sql/notify.sql");

/// [`enqueue_in`] for one job through another driver: the values of [`OneJob`] are its parameters, in order.
pub const ENQUEUE_ONE: &str = include_str!("../sql/enqueue_one.sql");

/// A job as the parameters of [`ENQUEUE_ONE`], in order.
#[derive(Debug, Clone)]
pub struct OneJob {
    /// `$1`, as text.
    pub id: String,
    /// `$2`
    pub queue: String,
    /// `$3`
    pub kind: String,
    /// `$4`, JSON as text.
    pub payload: String,
    /// `$5`, JSON as text.
    pub headers: Option<String>,
    /// `$6`
    pub key: Option<String>,
    /// `$7`, ms.
    pub key_ttl_ms: i64,
    /// `$8`
    pub priority: i16,
    /// `$9`, ms.
    pub delay_ms: i64,
    /// `$10`, RFC 3339 as text.
    pub run_at: Option<String>,
    /// `$11`
    pub max_attempts: i32,
    /// `$12`, ms.
    pub timeout_ms: i32,
    /// `$13`, ms.
    pub backoff_base_ms: i32,
    /// `$14`, ms.
    pub backoff_cap_ms: i32,
}

impl OneJob {
    /// Checks the job and takes it apart.
    ///
    /// # Errors
    /// The first value that is out of bounds.
    pub fn of(job: &NewJob) -> std::result::Result<Self, Invalid> {
        job.check()?;
        Ok(Self {
            id: job.id.to_string(),
            queue: job.queue.clone(),
            kind: job.kind.clone(),
            payload: job.payload.get().to_owned(),
            headers: job.headers.as_ref().map(|headers| headers.get().to_owned()),
            key: job.key.clone(),
            key_ttl_ms: millis(job.key_ttl),
            priority: job.priority,
            delay_ms: delay_ms(job),
            run_at: run_at(job).map(|at| at.to_string()),
            max_attempts: job.max_attempts,
            timeout_ms: timeout_ms(job),
            backoff_base_ms: job.backoff.base_ms,
            backoff_cap_ms: job.backoff.cap_ms,
        })
    }
}

/// The answer to [`ENQUEUE_ONE`] from its columns `id`, `created` and `conflict`.
///
/// # Errors
/// [`Invalid`] for an id that is no UUID, which the statement never answers.
pub fn answer_of_one(id: &str, created: bool, conflict: bool) -> std::result::Result<Enqueued, Invalid> {
    let id: JobId = id.parse().map_err(|_| Invalid::new("id", "is not a UUID"))?;
    Ok(answer(id, created, conflict))
}

fn answer(id: JobId, created: bool, conflict: bool) -> Enqueued {
    match (created, conflict) {
        (true, _) => Enqueued::Created(id),
        (false, true) => Enqueued::Conflict(id),
        (false, false) => Enqueued::Duplicate(id),
    }
}

fn delay_ms(job: &NewJob) -> i64 {
    if let Start::After(delay) = job.start { millis(delay) } else { 0 }
}

fn run_at(job: &NewJob) -> Option<Timestamp> {
    if let Start::At(at) = job.start { Some(at) } else { None }
}

fn timeout_ms(job: &NewJob) -> i32 {
    i32::try_from(millis(job.timeout)).unwrap_or(limits::MAX_TIMEOUT_MS)
}

/// The channel of the hints that a queue has work; [`Hint`] reads the payload.
pub const CHANNEL: &str = "faultline";
/// Stands before a queue's name, of which it can't be a part, when the work is behind the floors of workers.
const BEHIND: char = '!';

/// What a notification says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint<'a> {
    /// The queue that has work.
    pub queue: &'a str,
    /// Whether a claim from the head is needed to find it.
    pub behind: bool,
}

impl<'a> Hint<'a> {
    /// Reads the payload of a notification.
    pub fn of(payload: &'a str) -> Self {
        let queue = payload.strip_prefix(BEHIND);
        Self { queue: queue.unwrap_or(payload), behind: queue.is_some() }
    }
}

/// What became of one job of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// A new job.
    Created(JobId),
    /// The key was used before for the same request: this is its job.
    Duplicate(JobId),
    /// The key was used before for another request, whose job this is; nothing was changed.
    Conflict(JobId),
}

impl Enqueued {
    /// The id under which the job is known; for a conflict that of the job which holds the key.
    pub fn id(self) -> JobId {
        match self {
            Self::Created(id) | Self::Duplicate(id) | Self::Conflict(id) => id,
        }
    }

    /// As which it is counted.
    pub fn metric(self) -> faultline_metrics::Enqueue {
        match self {
            Self::Created(_) => faultline_metrics::Enqueue::Created,
            Self::Duplicate(_) => faultline_metrics::Enqueue::Duplicate,
            Self::Conflict(_) => faultline_metrics::Enqueue::Conflict,
        }
    }
}

/// The times of a new job as they were stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When it may start.
    pub next_run_at: Timestamp,
}

/// Enqueues a batch in one statement; the answers stand in the order of the jobs.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) for a value out of bounds or more than [`limits::MAX_BATCH`] jobs, before anything is sent.
/// After [`Error::Indeterminate`](crate::Error::Indeterminate) the batch may have been committed: see [`enqueue_again`].
pub async fn enqueue(client: &ClientWrapper, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
    if let Some(alike) = Alike::of(jobs) {
        check(jobs)?;
        let rows = query(client, ENQUEUE_ALIKE, &alike.params()).await;
        mutant!("failed-commit-is-success", {
            if let Err(crate::Error::Indeterminate { .. }) = rows {
                return Ok(created(jobs));
            }
        });
        return rows.map(|_| created(jobs));
    }
    Ok(enqueue_timed(client, jobs).await?.into_iter().map(|(answer, _)| answer).collect())
}

/// The same, with the times of each job that was created.
///
/// # Errors
/// As [`enqueue`].
pub async fn enqueue_timed(client: &ClientWrapper, jobs: &[NewJob]) -> Result<Vec<(Enqueued, Option<Times>)>> {
    check(jobs)?;
    let columns = Columns::of(jobs);
    let rows = query(client, ENQUEUE, &columns.params()).await;
    mutant!("failed-commit-is-success", {
        if let Err(crate::Error::Indeterminate { .. }) = rows {
            return Ok(jobs.iter().map(|job| (Enqueued::Created(job.id), None)).collect());
        }
    });
    let rows = rows?;
    let answers = answers(jobs, &rows)?;
    rows.iter().zip(answers).map(|(row, answer)| Ok((answer, times(row)?))).collect()
}

fn times(row: &Row) -> Result<Option<Times>> {
    let (created_at, next_run_at): (Option<Timestamp>, Option<Timestamp>) =
        (row.try_get("created_at")?, row.try_get("next_run_at")?);
    Ok(created_at.zip(next_run_at).map(|(created_at, next_run_at)| Times { created_at, next_run_at }))
}

/// Enqueues a batch inside a transaction of the caller's own, which decides whether the jobs exist.
///
/// # Errors
/// As [`enqueue`]; after an error of the database the transaction can only be rolled back.
pub async fn enqueue_in(transaction: &tokio_postgres::Transaction<'_>, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
    check(jobs)?;
    if let Some(alike) = Alike::of(jobs) {
        transaction.query_typed(ENQUEUE_ALIKE, &typed(&alike.params())).await?;
        return Ok(created(jobs));
    }
    let columns = Columns::of(jobs);
    answers(jobs, &transaction.query_typed(ENQUEUE, &typed(&columns.params())).await?)
}

/// Tries a batch again whose answer was lost, with the same ids, and tells what is true now: a job that the first try
/// created counts as created, also when it has run and ended since. Safe to call any number of times.
///
/// # Errors
/// As [`enqueue`].
pub async fn enqueue_again(client: &mut ClientWrapper, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
    check(jobs)?;
    mutant!("blind-commit-retry", {
        let id = |job: &NewJob| JobId(Uuid::from_u128(job.id.0.as_u128() ^ 1));
        let anew: Vec<NewJob> = jobs.iter().map(|job| NewJob { id: id(job), ..job.clone() }).collect();
        return enqueue(client, &anew).await;
    });
    let keyless: Vec<&NewJob> = jobs.iter().filter(|job| job.key.is_none()).collect();
    let keyed: Vec<&NewJob> = jobs.iter().filter(|job| job.key.is_some()).collect();
    insert_keyless_again(client, &keyless).await?;
    let mut by_key = Vec::new();
    if !keyed.is_empty() {
        let columns = Columns::of(keyed.iter().copied());
        by_key = answers_of(&query(client, ENQUEUE, &columns.params()).await?)?;
    }
    let mut by_key = by_key.into_iter();
    Ok(jobs
        .iter()
        .map(|job| match &job.key {
            None => Enqueued::Created(job.id),
            // Our own id under the key: the first try has created it.
            Some(_) => match by_key.next() {
                Some(Enqueued::Duplicate(id)) if id == job.id => Enqueued::Created(id),
                Some(answer) => answer,
                None => Enqueued::Created(job.id),
            },
        })
        .collect())
}

async fn insert_keyless_again(client: &mut ClientWrapper, jobs: &[&NewJob]) -> Result<()> {
    let mut missing: Vec<&NewJob> = jobs.to_vec();
    while !missing.is_empty() {
        let ids: Vec<Uuid> = missing.iter().map(|job| job.id.0).collect();
        let columns = Columns::of(missing.iter().copied());
        // The second statement must see what the first one may have waited for: in read committed it does.
        let transaction = client.begin().await?;
        transaction.query_typed(INSERT_AGAIN, &typed(&columns.params_without_keys())).await?;
        let before = transaction.query_typed(ENQUEUED_BEFORE, &typed(&[&ids])).await?;
        let ended: HashSet<Uuid> = before.iter().map(|row| row.get("id")).collect();
        if ended.is_empty() {
            transaction.commit().await?;
            break;
        }
        transaction.rollback().await?;
        missing.retain(|job| !ended.contains(&job.id.0));
    }
    // What was there wrote nothing just now, so that no commit of ours has waited for it.
    if jobs.is_empty() { Ok(()) } else { confirm(client).await }
}

/// Tells listening workers that a queue has work. A hint: whoever misses it finds the work by looking.
///
/// # Errors
/// Those of the connection.
pub async fn notify(client: &ClientWrapper, queue: &str) -> Result<()> {
    query(client, NOTIFY, &[&queue]).await.map(|_| ())
}

/// The same for work that only a claim from the head finds, such as reaped jobs.
pub(crate) async fn notify_behind(client: &ClientWrapper, queue: &str) -> Result<()> {
    notify(client, &format!("{BEHIND}{queue}")).await
}

fn check(jobs: &[NewJob]) -> Result<()> {
    if jobs.len() > limits::MAX_BATCH {
        return Err(Invalid::new("jobs", format!("must be at most {} jobs", limits::MAX_BATCH)).into());
    }
    jobs.iter().try_for_each(NewJob::check)?;
    Ok(())
}

fn created(jobs: &[NewJob]) -> Vec<Enqueued> {
    jobs.iter().map(|job| Enqueued::Created(job.id)).collect()
}

fn answers(jobs: &[NewJob], rows: &[Row]) -> Result<Vec<Enqueued>> {
    debug_assert_eq!(jobs.len(), rows.len());
    answers_of(rows)
}

fn answers_of(rows: &[Row]) -> Result<Vec<Enqueued>> {
    rows.iter()
        .map(|row| Ok(answer(JobId(row.try_get("id")?), row.try_get("created")?, row.try_get("conflict")?)))
        .collect()
}

/// A batch without keys whose jobs differ in id, payload and headers only, as the parameters of `enqueue_alike.sql`.
struct Alike<'a> {
    ids: Vec<Uuid>,
    payloads: Vec<Json<&'a RawValue>>,
    headers: Option<Vec<Option<Json<&'a RawValue>>>>,
    queue: &'a str,
    kind: &'a str,
    priority: i16,
    delay_ms: i64,
    /// The later of the two counts: what migration 5 says of it beside its function, that it wins, is not so.
    run_at: Option<Timestamp>,
    max_attempts: i32,
    timeout_ms: i32,
    backoff_base_ms: i32,
    backoff_cap_ms: i32,
}

impl<'a> Alike<'a> {
    /// None for a batch that is not of this kind.
    fn of(jobs: &'a [NewJob]) -> Option<Self> {
        let first = jobs.first()?;
        let is_alike = |job: &NewJob| {
            job.key.is_none()
                && job.queue == first.queue
                && job.kind == first.kind
                && job.priority == first.priority
                && job.start == first.start
                && job.max_attempts == first.max_attempts
                && job.timeout == first.timeout
                && job.backoff == first.backoff
        };
        jobs.iter().all(is_alike).then(|| Self {
            ids: jobs.iter().map(|job| job.id.0).collect(),
            payloads: jobs.iter().map(|job| Json(&*job.payload)).collect(),
            headers: jobs
                .iter()
                .any(|job| job.headers.is_some())
                .then(|| jobs.iter().map(|job| job.headers.as_deref().map(Json)).collect()),
            queue: &first.queue,
            kind: &first.kind,
            priority: first.priority,
            delay_ms: delay_ms(first),
            run_at: run_at(first),
            max_attempts: first.max_attempts,
            timeout_ms: timeout_ms(first),
            backoff_base_ms: first.backoff.base_ms,
            backoff_cap_ms: first.backoff.cap_ms,
        })
    }

    fn params(&self) -> [&dyn Param; 12] {
        [
            &self.ids,
            &self.payloads,
            &self.headers,
            &self.queue,
            &self.kind,
            &self.priority,
            &self.delay_ms,
            &self.run_at,
            &self.max_attempts,
            &self.timeout_ms,
            &self.backoff_base_ms,
            &self.backoff_cap_ms,
        ]
    }
}

/// A batch turned into arrays, one for each parameter of `enqueue.sql`.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<Uuid>,
    queues: Vec<&'a str>,
    kinds: Vec<&'a str>,
    payloads: Vec<Json<&'a RawValue>>,
    headers: Vec<Option<Json<&'a RawValue>>>,
    keys: Vec<Option<&'a str>>,
    key_ttls_ms: Vec<i64>,
    priorities: Vec<i16>,
    delays_ms: Vec<i64>,
    run_ats: Vec<Option<Timestamp>>,
    max_attempts: Vec<i32>,
    timeouts_ms: Vec<i32>,
    backoff_bases_ms: Vec<i32>,
    backoff_caps_ms: Vec<i32>,
}

impl<'a> Columns<'a> {
    fn of(jobs: impl IntoIterator<Item = &'a NewJob>) -> Self {
        let mut columns = Self::default();
        for job in jobs {
            columns.ids.push(job.id.0);
            columns.queues.push(&job.queue);
            columns.kinds.push(&job.kind);
            columns.payloads.push(Json(&job.payload));
            columns.headers.push(job.headers.as_deref().map(Json));
            columns.keys.push(job.key.as_deref());
            columns.key_ttls_ms.push(millis(job.key_ttl));
            columns.priorities.push(job.priority);
            columns.delays_ms.push(delay_ms(job));
            columns.run_ats.push(run_at(job));
            columns.max_attempts.push(job.max_attempts);
            columns.timeouts_ms.push(timeout_ms(job));
            columns.backoff_bases_ms.push(job.backoff.base_ms);
            columns.backoff_caps_ms.push(job.backoff.cap_ms);
        }
        columns
    }

    fn params(&self) -> [&dyn Param; 14] {
        [
            &self.ids,
            &self.queues,
            &self.kinds,
            &self.payloads,
            &self.headers,
            &self.keys,
            &self.key_ttls_ms,
            &self.priorities,
            &self.delays_ms,
            &self.run_ats,
            &self.max_attempts,
            &self.timeouts_ms,
            &self.backoff_bases_ms,
            &self.backoff_caps_ms,
        ]
    }

    fn params_without_keys(&self) -> [&dyn Param; 12] {
        [
            &self.ids,
            &self.queues,
            &self.kinds,
            &self.payloads,
            &self.headers,
            &self.priorities,
            &self.delays_ms,
            &self.run_ats,
            &self.max_attempts,
            &self.timeouts_ms,
            &self.backoff_bases_ms,
            &self.backoff_caps_ms,
        ]
    }
}
