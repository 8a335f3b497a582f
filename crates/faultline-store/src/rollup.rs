//! Counts over time, for people: what happened in each queue in each ten seconds, minute and ten minutes.
//!
//! Two sources, since nothing may be written by the statements that carry jobs. What was enqueued and what ended badly is counted from
//! the rows, a span of ten seconds at a time, by whichever process comes first ([`count_next`]): it is complete whoever enqueued,
//! cancelled or died. Successes, the many, are reported by the processes whose handlers brought them about, a few seconds after
//! the database confirmed them ([`report`]): what a killed process had not reported yet is missing here, never in the history.
//! docs/decisions/0004-rollups.md has the measurements.
//!
//! If the process dies at any await, nothing is half-counted: a span is one transaction, a report one statement that is counted once
//! however often it is repeated.

use crate::error::{Error, Result};
use crate::session::{ClientWrapper, typed};
use crate::statement::query;
use crate::types::Param;
use faultline_core::fingerprint::{MAX_LOOK_CHARS, fingerprint, pattern};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

const TURN: &str = include_str!("../sql/rollup_turn.sql");
const NOTE: &str = include_str!("../sql/rollup_note.sql");
const COUNTED: &str = include_str!("../sql/rollup_counted.sql");
const ENQUEUED: &str = include_str!("../sql/rollup_enqueued.sql");
const ENDINGS: &str = include_str!("../sql/rollup_endings.sql");
const ATTEMPTS: &str = include_str!("../sql/rollup_attempts.sql");
const FAILURES: &str = include_str!("../sql/rollup_failures.sql");
const ADD: &str = include_str!("../sql/rollup_add.sql");
const ERRORS: &str = include_str!("../sql/rollup_errors.sql");
const REPORT: &str = include_str!("../sql/rollup_report.sql");
const PRUNE: &str = include_str!("../sql/rollup_prune.sql");

/// The name of all queues together in the rollups; no queue can have it.
pub const ALL_QUEUES: &str = "";
/// The finest rollup.
pub const SPAN: Duration = Duration::from_secs(10);
/// After the end of a span, before it is counted: reports are in by then, and clocks of producers may be behind by as much.
pub const SETTLE: Duration = Duration::from_secs(15);
/// How much longer a transaction that wrote before the span was over is waited for.
pub const MAX_STRAGGLE: Duration = Duration::from_secs(45);
/// Slices of a span in which ids are counted, and rows of a table that are read of one at most: 5,000 jobs a second are counted
/// one by one, more are an estimate.
const SLICES: i64 = 50;
const SLICE_ROWS: i64 = 1000;
/// Attempts, and jobs that failed, whose errors are read of one span at most.
const MAX_ERRORS: i64 = 5000;
/// Groups of errors that are kept at most, and new ones of one span.
const MAX_GROUPS: i64 = 10_000;
const MAX_GROUPS_OF_A_SPAN: usize = 500;
/// Names of queues and kinds that are kept with a group.
const MAX_NAMES: i32 = 20;
/// Queues of one span or report; what the others did is in the sum of all.
const MAX_QUEUES: usize = 1000;
/// Rows of one kind that a round of [`prune`] removes at most.
const PRUNE_LIMIT: i64 = 5000;

/// What the handlers of one process brought about in one queue since its last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The queue.
    pub queue: String,
    /// Jobs that succeeded.
    pub succeeded: u64,
    /// First attempts that started, by how long the job had been due: one number for each bucket.
    pub start_latency: Vec<u64>,
    /// Handlers that ended, by how long they took.
    pub execution: Vec<u64>,
}

/// Adds what a process did within the last `elapsed`. `number` rises by one with each report of a process; a report whose answer was
/// lost is repeated as it was. Every element must have as many buckets as the first.
///
/// # Errors
/// Those of the connection; safe to repeat.
pub async fn report(
    client: &ClientWrapper,
    process: Uuid,
    number: u64,
    elapsed: Duration,
    work: &[Work],
) -> Result<()> {
    let Some(first) = work.first() else { return Ok(()) };
    let (starts, executions) = (first.start_latency.len(), first.execution.len());
    let mut all =
        Work { queue: ALL_QUEUES.into(), succeeded: 0, start_latency: vec![0; starts], execution: vec![0; executions] };
    for one in work {
        all.succeeded += one.succeeded;
        let sum = |sum: &mut Vec<u64>, more: &[u64]| sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        sum(&mut all.start_latency, &one.start_latency);
        sum(&mut all.execution, &one.execution);
    }
    let told: Vec<&Work> = std::iter::once(&all).chain(work.iter().take(MAX_QUEUES)).collect();
    let queues: Vec<&str> = told.iter().map(|work| work.queue.as_str()).collect();
    let succeeded: Vec<i64> = told.iter().map(|work| signed(work.succeeded)).collect();
    let flat = |of: fn(&Work) -> &[u64], length: usize| -> Vec<i64> {
        let padded = |work: &&Work| {
            let counts = of(work).iter().copied().chain(std::iter::repeat(0)).take(length);
            counts.map(signed).collect::<Vec<_>>()
        };
        told.iter().flat_map(padded).collect()
    };
    let start_latency = flat(|work| &work.start_latency, starts);
    let execution = flat(|work| &work.execution, executions);
    let elapsed_ms = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX).min(600_000);
    let params: [&dyn Param; 9] = [
        &process,
        &signed(number),
        &elapsed_ms,
        &queues,
        &succeeded,
        &start_latency,
        &execution,
        &signed(starts as u64),
        &signed(executions as u64),
    ];
    query(client, REPORT, &params).await.map(|_| ())
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What became of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// A span was counted; there may be more.
    Counted,
    /// The next span is not over, or not settled.
    NotYet,
    /// Another process is at it.
    Taken,
}

/// Counts the next span from the rows, if it is over, has settled and nobody else is at it. Call it every few seconds, and again at
/// once while it answers [`Turn::Counted`]: one span at a time, so that an outage is caught up with in bounded steps.
///
/// # Errors
/// Those of the connection; nothing, or all of the span was counted: safe to repeat.
pub async fn count_next(client: &mut ClientWrapper) -> Result<Turn> {
    count_next_after(client, SETTLE).await
}

/// The same with another time to settle, for tests.
#[doc(hidden)]
pub async fn count_next_after(client: &mut ClientWrapper, settle: Duration) -> Result<Turn> {
    let transaction = client.begin().await?;
    let (settle, straggle) = (millis(settle), millis(MAX_STRAGGLE));
    let rows = ask(&transaction, TURN, &[&settle, &straggle]).await?;
    let Some(row) = rows.first() else { return Ok(Turn::Taken) };
    if !row.try_get::<_, bool>("ready")? {
        if row.try_get("over")? && !row.try_get::<_, bool>("noted")? {
            ask(&transaction, NOTE, &[]).await?;
        }
        transaction.commit().await?;
        return Ok(Turn::NotYet);
    }
    let (begins, ends): (Timestamp, Timestamp) = (row.try_get("begins")?, row.try_get("ends")?);
    count(&transaction, begins, ends).await?;
    ask(&transaction, COUNTED, &[&ends]).await?;
    transaction.commit().await?;
    Ok(Turn::Counted)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

async fn ask(transaction: &Transaction<'_>, sql: &str, params: &[&dyn Param]) -> Result<Vec<Row>> {
    transaction.query_typed(sql, &typed(params)).await.map_err(Error::from)
}

/// What the rows say of one queue.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    enqueued: i64,
    failed: i64,
    cancelled: i64,
    retried: i64,
    lost: i64,
    put_back: i64,
}

async fn count(transaction: &Transaction<'_>, begins: Timestamp, ends: Timestamp) -> Result<()> {
    let mut queues: BTreeMap<String, Counted> = BTreeMap::new();
    for row in ask(transaction, ENQUEUED, &[&begins, &ends, &SLICES, &SLICE_ROWS]).await? {
        queues.entry(row.try_get("queue")?).or_default().enqueued += row.try_get::<_, i64>("jobs")?;
    }
    for row in ask(transaction, ENDINGS, &[&begins, &ends]).await? {
        let of_queue = queues.entry(row.try_get("queue")?).or_default();
        of_queue.failed += row.try_get::<_, i64>("failed")?;
        of_queue.cancelled += row.try_get::<_, i64>("cancelled")?;
    }
    let chars = i32::try_from(MAX_LOOK_CHARS).unwrap_or(i32::MAX);
    let params: [&dyn Param; 4] = [&begins, &ends, &MAX_ERRORS, &chars];
    let mut errors = ask(transaction, FAILURES, &params).await?;
    for row in ask(transaction, ATTEMPTS, &params).await? {
        let of_queue = queues.entry(row.try_get("queue")?).or_default();
        let attempts = times(&row)?;
        match row.try_get("outcome")? {
            "failed" => of_queue.retried += attempts,
            "expired" | "lost" => of_queue.lost += attempts,
            _ => of_queue.put_back += attempts,
        }
        if matches!(row.try_get("outcome")?, "failed" | "expired" | "lost") {
            errors.push(row);
        }
    }
    add(transaction, begins, ends, queues).await?;
    add_errors(transaction, &errors).await
}

/// How many a row stands for.
fn times(row: &Row) -> Result<i64> {
    let (attempts, times): (i64, f64) = (row.try_get("attempts")?, row.try_get("times")?);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "an estimate wherever it is not 1"
    )]
    Ok((attempts as f64 * times).round() as i64)
}

async fn add(
    transaction: &Transaction<'_>,
    begins: Timestamp,
    ends: Timestamp,
    mut queues: BTreeMap<String, Counted>,
) -> Result<()> {
    // Attempts of jobs that are nowhere any more are in the sum alone.
    let nobodys = queues.remove(ALL_QUEUES).unwrap_or_default();
    let sum = queues.values().fold(nobodys, |sum, one| Counted {
        enqueued: sum.enqueued + one.enqueued,
        failed: sum.failed + one.failed,
        cancelled: sum.cancelled + one.cancelled,
        retried: sum.retried + one.retried,
        lost: sum.lost + one.lost,
        put_back: sum.put_back + one.put_back,
    });
    if [sum.enqueued, sum.failed, sum.cancelled, sum.retried, sum.lost, sum.put_back] == [0; 6] {
        return Ok(());
    }
    let told: Vec<(&str, Counted)> = std::iter::once((ALL_QUEUES, sum))
        .chain(queues.iter().take(MAX_QUEUES).map(|(name, counted)| (name.as_str(), *counted)))
        .collect();
    let names: Vec<&str> = told.iter().map(|(name, _)| *name).collect();
    let column = |of: fn(&Counted) -> i64| -> Vec<i64> { told.iter().map(|(_, counted)| of(counted)).collect() };
    // A longer span, while an outage is caught up with, would stand as a peak in its first ten seconds.
    let is_fine = ends.duration_since(begins).unsigned_abs() <= SPAN;
    let widths: Vec<i32> = if is_fine { vec![10, 60, 600] } else { vec![60, 600] };
    let params: [&dyn Param; 9] = [
        &begins,
        &widths,
        &names,
        &column(|counted| counted.enqueued),
        &column(|counted| counted.failed),
        &column(|counted| counted.cancelled),
        &column(|counted| counted.retried),
        &column(|counted| counted.lost),
        &column(|counted| counted.put_back),
    ];
    ask(transaction, ADD, &params).await.map(|_| ())
}

async fn add_errors(transaction: &Transaction<'_>, errors: &[Row]) -> Result<()> {
    let mut told: Vec<(Uuid, String, &Row)> = Vec::new();
    let mut known = std::collections::BTreeSet::new();
    for row in errors {
        let pattern = pattern(row.try_get::<_, Option<&str>>("error")?.unwrap_or("(no text)"));
        let fingerprint = fingerprint(&pattern);
        if known.contains(&fingerprint) || known.len() < MAX_GROUPS_OF_A_SPAN {
            known.insert(fingerprint);
            told.push((fingerprint, pattern, row));
        }
    }
    if told.is_empty() {
        return Ok(());
    }
    let fingerprints: Vec<Uuid> = told.iter().map(|(fingerprint, ..)| *fingerprint).collect();
    let patterns: Vec<&str> = told.iter().map(|(_, pattern, _)| pattern.as_str()).collect();
    let mut samples: Vec<String> = Vec::new();
    let (mut queues, mut kinds, mut examples): (Vec<&str>, Vec<&str>, Vec<Uuid>) = Default::default();
    let (mut failed, mut retried): (Vec<i64>, Vec<i64>) = Default::default();
    let (mut first_at, mut last_at): (Vec<Timestamp>, Vec<Timestamp>) = Default::default();
    for (_, _, row) in &told {
        samples.push(row.try_get::<_, Option<String>>("error")?.unwrap_or_default());
        queues.push(row.try_get("queue")?);
        kinds.push(row.try_get("kind")?);
        examples.push(row.try_get("example")?);
        let is_final = row.try_get::<_, &str>("outcome")? == "failed for good";
        failed.push(if is_final { times(row)? } else { 0 });
        retried.push(if is_final { 0 } else { times(row)? });
        first_at.push(row.try_get("first_at")?);
        last_at.push(row.try_get("last_at")?);
    }
    let params: [&dyn Param; 12] = [
        &fingerprints,
        &patterns,
        &samples,
        &queues,
        &kinds,
        &examples,
        &failed,
        &retried,
        &first_at,
        &last_at,
        &MAX_GROUPS,
        &MAX_NAMES,
    ];
    ask(transaction, ERRORS, &params).await.map(|_| ())
}

/// Removes what is too fine for its age, or older than the history; answers how many rows. Repeat it while that is many.
///
/// # Errors
/// Those of the connection; safe to repeat.
pub async fn prune(client: &ClientWrapper) -> Result<i64> {
    let rows = query(client, PRUNE, &[&PRUNE_LIMIT]).await?;
    Ok(rows.first().map(|row| row.try_get("removed")).transpose()?.unwrap_or(0))
}
