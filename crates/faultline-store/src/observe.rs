//! What gauges say of the whole database: queues, workers, who holds back vacuum, tables. Read on a schedule, never for a
//! scrape; every statement reads a bounded number of rows within [`TIME`].

use crate::error::Result;
use crate::reap::queue_names;
use crate::session::ClientWrapper;
use crate::statement::{query, query_opt};
use std::time::Duration;

const QUEUES: &str = include_str!("../sql/observe_queues.sql");
const WORKERS: &str = include_str!("../sql/observe_workers.sql");
const XMIN: &str = include_str!("../sql/observe_xmin.sql");
const TABLES: &str = include_str!("../sql/observe_tables.sql");

/// How long one of the statements may take.
pub const TIME: Duration = Duration::from_secs(2);
/// Rows that one look at the queues reads at most, shared between them; what workers hold comes on top.
pub const MAX_ROWS: i64 = 200_000;
/// Rows of one queue, priority and side of now: at most, and at least however many queues there are.
const ROWS: std::ops::RangeInclusive<i64> = 100..=10_000;
/// Queues that are looked at.
const MAX_QUEUES: usize = 1000;

/// What stands in a queue. Counts end at a bound.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueDepth {
    /// Its name.
    pub name: String,
    /// Whether claims take nothing from it.
    pub paused: bool,
    /// Jobs that could start now.
    pub due: i64,
    /// Jobs that wait for their first start.
    pub scheduled: i64,
    /// Jobs that wait after an attempt.
    pub retrying: i64,
    /// Jobs under a lease.
    pub running: i64,
    /// Whether there are more than were counted.
    pub bounded: bool,
    /// How long the oldest due job has been due, in seconds.
    pub oldest_due_s: Option<f64>,
    /// Live workers that poll it.
    pub workers: i64,
}

/// Live workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fleet {
    /// How many.
    pub alive: i64,
    /// Their slots.
    pub slots: i64,
}

/// Who holds the oldest snapshot or transaction.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Holder {
    /// `session`, `standby`, `prepared_transaction` or `replication_slot`.
    pub holder: String,
    /// The name that the session gave itself, or that of the slot.
    pub application: String,
    /// For how long, in seconds, of the holder that has held it longest.
    pub age_s: Option<f64>,
    /// How many transactions ago, of the holder whose is the oldest in these.
    pub age_xids: Option<i64>,
}

/// The state of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Dead rows, of a table whose rows change.
    pub dead_rows: Option<i64>,
    /// Days from today on that have a partition, of a table with one a day.
    pub partitions_ahead: Option<i64>,
}

/// Holds the session's statements to [`TIME`].
///
/// # Errors
/// Those of the connection.
pub async fn limit_time(client: &ClientWrapper) -> Result<()> {
    Ok(client.batch_execute(&format!("set statement_timeout = {}", TIME.as_millis())).await?)
}

/// The queues, the first 1,000 by name.
///
/// # Errors
/// Those of the connection, and the refusal of a statement that took too long.
pub async fn queues(client: &ClientWrapper, fleet: Fleet) -> Result<Vec<QueueDepth>> {
    let mut names = queue_names(client).await?;
    names.truncate(MAX_QUEUES);
    // Four priorities, before now and after.
    let scans = 8 * i64::try_from(names.len().max(1)).unwrap_or(i64::MAX);
    let rows = (MAX_ROWS / scans).clamp(*ROWS.start(), *ROWS.end());
    query(client, QUEUES, &[&names, &rows, &fleet.slots])
        .await?
        .iter()
        .map(|row| {
            Ok(QueueDepth {
                name: row.try_get("name")?,
                paused: row.try_get("paused")?,
                due: row.try_get("due")?,
                scheduled: row.try_get("scheduled")?,
                retrying: row.try_get("retrying")?,
                running: row.try_get("running")?,
                bounded: row.try_get("bounded")?,
                oldest_due_s: row.try_get("oldest_due_s")?,
                workers: row.try_get("workers")?,
            })
        })
        .collect()
}

/// Live workers.
///
/// # Errors
/// As [`queues`].
pub async fn fleet(client: &ClientWrapper) -> Result<Fleet> {
    let Some(row) = query_opt(client, WORKERS, &[]).await? else { return Ok(Fleet { alive: 0, slots: 0 }) };
    Ok(Fleet { alive: row.try_get("alive")?, slots: row.try_get("slots")? })
}

/// Who keeps dead rows from being removed: the oldest in seconds, and the oldest in transactions.
///
/// # Errors
/// As [`queues`].
pub async fn oldest_xmin(client: &ClientWrapper) -> Result<Vec<Holder>> {
    query(client, XMIN, &[])
        .await?
        .iter()
        .map(|row| {
            Ok(Holder {
                holder: row.try_get("holder")?,
                application: row.try_get("application")?,
                age_s: row.try_get("age_s")?,
                age_xids: row.try_get("age_xids")?,
            })
        })
        .collect()
}

/// The tables.
///
/// # Errors
/// As [`queues`].
pub async fn tables(client: &ClientWrapper) -> Result<Vec<Table>> {
    query(client, TABLES, &[])
        .await?
        .iter()
        .map(|row| {
            Ok(Table {
                name: row.try_get("name")?,
                dead_rows: row.try_get("dead_rows")?,
                partitions_ahead: row.try_get("partitions_ahead")?,
            })
        })
        .collect()
}
