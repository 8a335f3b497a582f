//! Recover what a dead worker left, and see whether there is something to do at all.

use crate::enqueue::notify_behind;
use crate::error::Result;
use crate::finish::state;
use crate::lease::LATE;
use crate::session::ClientWrapper;
use crate::statement::{confirm, query};
use faultline_core::{JobId, State, WorkerId};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

const WATCH: &str = include_str!("../sql/watch.sql");
const REAP: &str = include_str!("../sql/reap.sql");
const REHEARSE: &str = include_str!("../sql/rehearse.sql");
const QUEUES_OF_WORKERS: &str = include_str!("../sql/queues_of_workers.sql");
const BURY: &str = include_str!("../sql/bury.sql");
const QUEUE_NAMES: &str = include_str!("../sql/queue_names.sql");

/// Leases that one statement ends, and the rest of those of the last worker among them; the caller asks again while it gets
/// as many.
pub const REAP_LIMIT: usize = 500;
/// Rows that are written to see whether they can be: enough to need a page where a renewal of all would.
const REHEARSE_LIMIT: i64 = 100;

/// What one look at some queues found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watch {
    /// Queues with a job that is due.
    pub due: Vec<String>,
    /// Queues whose next waiting job becomes due, and in how long.
    pub next_due: Vec<(String, Duration)>,
    /// Whether any job runs.
    pub running: bool,
    /// Workers that hold an expired lease.
    pub expired: Vec<WorkerId>,
    /// Workers whose presence session is gone while its server goes on.
    pub absent: Vec<WorkerId>,
    /// Workers whose presence session ended with its server, by a restart or a failover, and who have not been back since.
    pub not_back: Vec<WorkerId>,
    /// Workers that have not said goodbye.
    pub workers: i64,
    /// Their slots: the most jobs that can be running.
    pub slots: i64,
    /// Where the next look may begin.
    pub floors: LookFloors,
}

/// Where the scans of a look begin, one for each priority of each queue: right before the first visible row that the last look has seen,
/// or, where it saw none, [`LATE`] before its time. A job that is found there keeps its place while it waits and while it runs, so that
/// the next look sees it as well. A job whose transaction took longer than [`LATE`] may come to be behind a floor: a look from
/// [`LookFloors::head`] finds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LookFloors {
    queues: Vec<String>,
    priorities: Vec<i16>,
    times: Vec<Timestamp>,
    ties: Vec<i32>,
}

impl LookFloors {
    /// Before everything in these queues.
    pub fn head(queues: &[String]) -> Self {
        let mut floors = Self::default();
        for queue in queues {
            for priority in 1..=4 {
                floors.add(queue.clone(), priority, Timestamp::UNIX_EPOCH, 0);
            }
        }
        floors
    }

    /// Whether they are of these queues and of no other.
    pub fn are_of(&self, queues: &[String]) -> bool {
        let (own, asked): (BTreeSet<_>, BTreeSet<_>) = (self.queues.iter().collect(), queues.iter().collect());
        own == asked
    }

    fn add(&mut self, queue: String, priority: i16, time: Timestamp, tie: i32) {
        self.queues.push(queue);
        self.priorities.push(priority);
        self.times.push(time);
        self.ties.push(tie);
    }
}

/// A lease that was ended for its worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Reaped {
    /// The job.
    pub id: JobId,
    /// Where it went: `queued`, or how it ended.
    pub state: State,
    /// Its queue.
    pub queue: String,
    /// The worker that held it.
    pub owner: WorkerId,
    /// Why the lease was ended: `expired`, or `lost` with its worker's session.
    pub lease: String,
    /// The word in `job_events.reason`.
    pub reason: String,
    /// How long the lease of a job that was put back had expired; none for one that had not.
    pub expired_for: Option<Duration>,
}

impl Reaped {
    pub(crate) fn of(row: &Row) -> Result<Self> {
        let expired_s: Option<f64> = row.try_get("expired_s")?;
        Ok(Self {
            id: JobId(row.try_get("id")?),
            state: state(row)?,
            queue: row.try_get("queue")?,
            owner: WorkerId(row.try_get("lease_owner")?),
            lease: row.try_get("lease")?,
            expired_for: expired_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            reason: row.try_get("reason")?,
        })
    }
}

/// Looks at the first `look_at` visible rows of each priority of each queue. Reads only.
///
/// # Errors
/// Those of the connection.
pub async fn watch(client: &ClientWrapper, queues: &[String], look_at: i64) -> Result<Watch> {
    watch_from(client, &LookFloors::head(queues), look_at).await
}

/// The same from floors on, which spares the scans what a forgotten snapshot keeps of the jobs that have ended since.
///
/// # Errors
/// Those of the connection.
pub async fn watch_from(client: &ClientWrapper, floors: &LookFloors, look_at: i64) -> Result<Watch> {
    let mut watch = Watch::default();
    let (mut due, mut next_due, mut expired) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    let LookFloors { queues, priorities, times, ties } = floors;
    for row in query(client, WATCH, &[&look_at, queues, priorities, times, ties]).await? {
        let queue: String = row.try_get("name")?;
        if row.try_get("due")? {
            due.insert(queue.clone());
        }
        expired.extend(row.try_get::<_, Vec<Uuid>>("expired")?);
        if let Some(ms) = row.try_get::<_, Option<i64>>("next_due_in_ms")? {
            let wait = Duration::from_millis(ms.max(0).unsigned_abs());
            next_due.entry(queue.clone()).and_modify(|least: &mut Duration| *least = wait.min(*least)).or_insert(wait);
        }
        watch.running |= row.try_get::<_, bool>("running")?;
        watch.workers = row.try_get("workers")?;
        watch.slots = row.try_get("slots")?;
        watch.absent = row.try_get::<_, Vec<Uuid>>("absent")?.into_iter().map(WorkerId).collect();
        watch.not_back = row.try_get::<_, Vec<Uuid>>("not_back")?.into_iter().map(WorkerId).collect();
        let (time, tie) = match row.try_get::<_, Option<Timestamp>>("first_at")? {
            Some(first_at) => (first_at, row.try_get::<_, i32>("first_tie")?.saturating_sub(1)),
            None => (row.try_get::<_, Timestamp>("began_at")? - LATE, 0),
        };
        watch.floors.add(queue, row.try_get("priority")?, time, tie);
    }
    watch.due = due.into_iter().collect();
    watch.next_due = next_due.into_iter().collect();
    watch.expired = expired.into_iter().map(WorkerId).collect();
    Ok(watch)
}

/// Returns when a commit has gone through. A primary that waits for a standby which is away still answers whoever only
/// reads, while nobody can renew: a look alone is then no contact.
///
/// # Errors
/// Those of the connection.
pub async fn commits(client: &ClientWrapper) -> Result<()> {
    confirm(client).await
}

/// Returns when what renewals and signs of life of these workers would write was written, and taken back. While they are
/// refused, as on a full disk, commits of others may go through and looks are answered: to miss a worker then says nothing.
/// Answers which of them hold expired leases of which none could be renewed at this moment, since somebody had locked the rows.
///
/// # Errors
/// Those of the connection, and those that the workers get.
pub async fn rehearse(
    client: &ClientWrapper,
    queues: &[String],
    workers: &[WorkerId],
    look_at: i64,
) -> Result<Vec<WorkerId>> {
    let workers: Vec<Uuid> = workers.iter().map(|worker| worker.0).collect();
    let rows = client.rehearse(REHEARSE, &[&queues, &workers, &look_at, &REHEARSE_LIMIT]).await?;
    rows.iter().map(|row| Ok(WorkerId(row.try_get("lease_owner")?))).collect()
}

/// Ends about [`REAP_LIMIT`] leases of `workers` in some queues: those that have expired, and all of a worker whose presence
/// session is gone. The caller must have missed each of the workers for its grace time, and have [rehearsed](rehearse) their
/// signs of life at the beginning of that. For leases that have expired, and for workers that are [`Watch::not_back`], it must
/// have been in contact with the database for a whole lease time before, so that workers which outlived an outage renew first.
/// Answers what became of each job. Workers are hinted at what waits again.
/// Name all queues of one worker in one call: its jobs are judged together.
///
/// # Errors
/// Those of the connection; nothing or all of it was done.
pub async fn reap(
    client: &ClientWrapper,
    queues: &[String],
    workers: &[WorkerId],
    look_at: i64,
) -> Result<Vec<Reaped>> {
    mutant!("reap-in-two-statements", { return crate::mutants::reap_in_two_statements(client, queues).await });
    let workers: Vec<Uuid> = workers.iter().map(|worker| worker.0).collect();
    let limit = i64::try_from(REAP_LIMIT).unwrap_or(i64::MAX);
    let rows = query(client, REAP, &[&queues, &workers, &look_at, &limit]).await?;
    let reaped = rows.iter().map(Reaped::of).collect::<Result<Vec<_>>>()?;
    if !reaped.is_empty() {
        for queue in queues {
            // A hint only: what was reaped is found without it, later.
            let _ = notify_behind(client, queue).await;
        }
    }
    Ok(reaped)
}

/// Reaps the jobs of workers that were missed for their grace time, in these queues and in every other that they poll, and
/// says goodbye for those whose presence session is gone and which hold nothing any more: a job that somebody had locked is left
/// for the next call. The conditions are those of [`reap`]. What was reaped is added to `reaped`. Answers for whom goodbye was said.
///
/// # Errors
/// Those of the connection; what was reaped by then stays reaped, and is told.
pub async fn bury(
    client: &ClientWrapper,
    queues: &[String],
    workers: &[WorkerId],
    look_at: i64,
    reaped: &mut Vec<Reaped>,
) -> Result<Vec<WorkerId>> {
    let ids: Vec<Uuid> = workers.iter().map(|worker| worker.0).collect();
    let rows = query(client, QUEUES_OF_WORKERS, &[&ids]).await?;
    let theirs = rows.iter().map(|row| Ok(row.try_get(0)?)).collect::<Result<Vec<String>>>()?;
    // One that left no row may have jobs all the same.
    let queues: BTreeSet<String> = queues.iter().cloned().chain(theirs).collect();
    let queues: Vec<String> = queues.into_iter().collect();
    loop {
        let some = reap(client, &queues, workers, look_at).await?;
        let was_full = some.len() >= REAP_LIMIT;
        reaped.extend(some);
        if !was_full {
            break;
        }
    }
    let buried = query(client, BURY, &[&ids, &queues, &look_at]).await?;
    buried.iter().map(|row| Ok(WorkerId(row.try_get("id")?))).collect()
}

/// Every queue that a job, an operator or a live worker names.
///
/// # Errors
/// Those of the connection.
pub async fn queue_names(client: &ClientWrapper) -> Result<Vec<String>> {
    query(client, QUEUE_NAMES, &[]).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
