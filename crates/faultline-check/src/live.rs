//! What can be checked on a live database, in production too: reads only, a limit on every scan and on every statement's time.
//!
//! Each check is one read-only transaction of one statement, so that no snapshot outlives a statement, and the rows it compares
//! are of one moment. A statement that takes too long counts as not checked. If the future is dropped in the middle, its session
//! stays in a transaction until `idle_in_transaction_session_timeout`, which each check sets to its own time limit.

use serde::Serialize;
use std::time::Duration;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use crate::verdict::{Status, Violation};

/// Selects the transition log as lines of `events.jsonl`, one text column, in order.
pub const EVENTS_AS_JSON: &str = include_str!("live/events_as_json.sql");
/// Selects the rows of the job tables as lines of `samples.jsonl` or `end.jsonl`, one text column. `$1` (int4): the number of the
/// sample; `$2` (boolean): with those that ended, for `end.jsonl`.
pub const ROWS_AS_JSON: &str = include_str!("live/rows_as_json.sql");

/// What a live check may cost, and the bounds it judges by.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest that one statement may take.
    pub statement_timeout: Duration,
    /// Rows that one scan looks at, at most; of the head of a queue as many for each priority, of all heads ten times as many.
    pub rows: u32,
    /// How far into the past scans of the history and the transition log look.
    pub window: Duration,
    /// How far past its lease a job may run.
    pub reap_bound: Duration,
    /// How long after a start of the database nobody reaps: the longest lease time in use.
    pub holdoff: Duration,
    /// How long a session may be idle in a transaction.
    pub idle_in_transaction: Duration,
    /// Days for which partitions must be there already.
    pub days_ahead: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            statement_timeout: Duration::from_secs(5),
            rows: 10_000,
            window: Duration::from_secs(3600),
            reap_bound: Duration::from_secs(30),
            holdoff: Duration::from_secs(30),
            idle_in_transaction: Duration::from_secs(300),
            days_ahead: 2,
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, Serialize)]
pub struct LiveOutcome {
    /// A word for it.
    pub name: &'static str,
    /// What should hold.
    pub title: &'static str,
    /// The invariant of the catalogue that it looks for, where it is one.
    pub invariant: Option<u8>,
    /// Rows that were looked at.
    pub examined: u64,
    /// Whether it held.
    #[serde(flatten)]
    pub status: Status,
}

struct Check {
    name: &'static str,
    title: &'static str,
    invariant: Option<u8>,
    sql: &'static str,
    params: fn(&Limits) -> Vec<i64>,
    needs_log: bool,
}

macro_rules! sql {
    ($($file:literal),*) => { concat!($(include_str!(concat!("live/", $file, ".sql")),)* include_str!("live/tail.sql")) };
}

const CHECKS: &[Check] = &[
    Check {
        name: "shapes",
        title: "rows have the shape of their state",
        invariant: Some(11),
        sql: sql!("head", "shapes"),
        params: |l| vec![l.rows.into()],
        needs_log: false,
    },
    Check {
        name: "overdue",
        title: "no job runs long past its lease",
        invariant: Some(30),
        sql: sql!("head", "overdue"),
        params: |l| vec![l.rows.into(), ms(l.reap_bound), ms(l.holdoff)],
        needs_log: false,
    },
    Check {
        name: "both-tables",
        title: "no job both waits and has ended",
        invariant: Some(10),
        sql: sql!("head", "both_tables"),
        params: |l| vec![l.rows.into()],
        needs_log: false,
    },
    Check {
        name: "history-twice",
        title: "no job ended twice",
        invariant: Some(9),
        sql: sql!("history_twice"),
        params: |l| vec![l.rows.into(), ms(l.window)],
        needs_log: false,
    },
    Check {
        name: "keys",
        title: "the job of a key exists",
        invariant: Some(6),
        sql: sql!("keys"),
        params: |l| vec![l.rows.into()],
        needs_log: false,
    },
    Check {
        name: "partitions",
        title: "partitions are there before they are needed",
        invariant: None,
        sql: sql!("partitions"),
        params: |l| vec![l.days_ahead.into()],
        needs_log: false,
    },
    Check {
        name: "sessions",
        title: "sessions let go of transactions",
        invariant: Some(37),
        sql: sql!("sessions"),
        params: |l| vec![ms(l.idle_in_transaction)],
        needs_log: false,
    },
    Check {
        name: "log-chain",
        title: "each event starts where the last one ended",
        invariant: Some(8),
        sql: sql!("chain"),
        params: |l| vec![l.rows.into(), ms(l.window)],
        needs_log: true,
    },
    Check {
        name: "log-fold",
        title: "rows are what their events say",
        invariant: Some(10),
        sql: sql!("head", "fold"),
        params: |l| vec![l.rows.into()],
        needs_log: true,
    },
];

/// Runs every check on the database of `client`, whose role must be able to read the tables. The session must have no
/// transaction open, and should be no shared one: it has one while this runs.
///
/// # Errors
/// Those of the connection, and of a role or a schema that the checks do not fit. A statement that took too long or waited
/// too long for a lock is no error, but a check that was not made.
pub async fn check_live(client: &Client, limits: &Limits) -> Result<Vec<LiveOutcome>, tokio_postgres::Error> {
    let log_is_on: bool = client.query_one("select faultline.audit_is_on()", &[]).await?.try_get(0)?;
    let mut outcomes = Vec::with_capacity(CHECKS.len());
    for check in CHECKS {
        let (examined, status) = if check.needs_log && !log_is_on {
            (0, Status::NotChecked { reason: "the transition log is off".to_owned() })
        } else {
            run(client, check, limits).await?
        };
        outcomes.push(LiveOutcome {
            name: check.name,
            title: check.title,
            invariant: check.invariant,
            examined,
            status,
        });
    }
    Ok(outcomes)
}

async fn run(client: &Client, check: &Check, limits: &Limits) -> Result<(u64, Status), tokio_postgres::Error> {
    let timeout = ms(limits.statement_timeout);
    let begin = format!(
        "begin transaction read only; set local statement_timeout = {timeout}; set local lock_timeout = {timeout};
         set local idle_in_transaction_session_timeout = {timeout}; set local search_path = pg_catalog, pg_temp"
    );
    client.batch_execute(&begin).await?;
    let answer = ask(client, check, limits).await;
    client.batch_execute("rollback").await?;
    match answer {
        Err(error) if matches!(error.code(), Some(&SqlState::QUERY_CANCELED | &SqlState::LOCK_NOT_AVAILABLE)) => {
            Ok((0, Status::NotChecked { reason: format!("it took longer than {timeout} ms") }))
        }
        answer => answer,
    }
}

async fn ask(client: &Client, check: &Check, limits: &Limits) -> Result<(u64, Status), tokio_postgres::Error> {
    let params = (check.params)(limits);
    let typed: Vec<_> = params.iter().map(|p| (p as &(dyn tokio_postgres::types::ToSql + Sync), Type::INT8)).collect();
    let rows = client.query_typed(check.sql, &typed).await?;
    let (mut examined, mut count, mut violations) = (0, 0, Vec::new());
    for row in &rows {
        (examined, count) = (row.try_get::<_, i64>("examined")?, row.try_get::<_, i64>("bad")?);
        if let Some(what) = row.try_get::<_, Option<String>>("what")? {
            let job = row.try_get::<_, Option<&str>>("job")?.and_then(|job| job.parse().ok());
            violations.push(Violation { job, what, evidence: Vec::new() });
        }
    }
    let examined = u64::try_from(examined).unwrap_or(0);
    let status = match u64::try_from(count).unwrap_or(0) {
        0 if examined == 0 => Status::NotChecked { reason: "there was nothing to look at".to_owned() },
        0 => Status::Passed,
        count => Status::Violated { count, violations },
    };
    Ok((examined, status))
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
