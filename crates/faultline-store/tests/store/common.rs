//! What the tests of the store share: a migrated database, sessions as the engine opens them, and short words for
//! enqueue, claim and finish.

use faultline_cluster::testing::{self, TestDatabase};
use faultline_core::{JobId, LeaseId, NewJob, State, WorkerId};
use faultline_store::enqueue::{Enqueued, enqueue};
use faultline_store::finish::{Ending, Finish, Finished, finish};
use faultline_store::lease::{ClaimedJob, Floors, claim};
use faultline_store::presence::WorkerFacts;
use faultline_store::reap::{self, Reaped, watch};
use faultline_store::{ClientWrapper, Database, Plans, Session, migrate};
use serde_json::value::RawValue;
use std::future::Future;
use std::time::Duration;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row};

/// How long anything in a test may take; generous, since the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// A lease that does not end during a test.
pub(crate) const LONG: Duration = Duration::from_secs(600);
/// A lease that has expired when its claim returns.
pub(crate) const EXPIRED: Duration = Duration::ZERO;
/// Rows that a look covers: more than any test has.
pub(crate) const LOOK_AT: i64 = 1_000_000;
/// The queue of most jobs.
pub(crate) const QUEUE: &str = "q";

/// Reaps what these workers hold, and whoever holds an expired lease.
pub(crate) async fn reap(
    client: &ClientWrapper,
    queues: &[String],
    workers: &[WorkerId],
    look_at: i64,
) -> faultline_store::Result<Vec<Reaped>> {
    let expired = watch(client, queues, look_at).await?.expired;
    reap::reap(client, queues, &[workers, &expired].concat(), look_at).await
}

/// A database for one test.
pub(crate) struct Db {
    pub(crate) database: TestDatabase,
    pub(crate) store: Database,
}

impl Db {
    /// A migrated one.
    pub(crate) fn migrated() -> Self {
        Self::prepared(migrate_at)
    }

    /// One without a schema.
    pub(crate) fn empty() -> Self {
        Self::prepared(|_| {})
    }

    fn prepared(prepare: fn(&str)) -> Self {
        let database = testing::database(prepare);
        let store = Database::new(&database.url(), "test", 60).unwrap();
        Self { database, store }
    }

    /// A session as the pool has them.
    pub(crate) async fn session(&self) -> Session {
        self.store.session("test", Plans::Free).await.unwrap()
    }

    /// A session as a loop of a worker has it.
    pub(crate) async fn session_with(&self, plans: Plans) -> Session {
        self.store.session("test", plans).await.unwrap()
    }

    /// A connection without any of the engine's settings.
    pub(crate) async fn plain(&self) -> Client {
        connect(&self.database.url()).await
    }
}

fn migrate_at(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { migrate::migrate(&mut connect(url).await).await.unwrap() });
}

/// A connection that ends with its value.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A job of queue [`QUEUE`] with an id of its own.
pub(crate) fn job() -> NewJob {
    let id = JobId::new(1_700_000_000_000, &mut rand::rng());
    let mut job = NewJob::new(id, "k", json("{}"));
    job.queue = QUEUE.into();
    job
}

/// A job with a key.
pub(crate) fn keyed(key: &str) -> NewJob {
    let mut job = job();
    job.key = Some(key.into());
    job
}

pub(crate) fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.into()).unwrap()
}

pub(crate) fn lease() -> LeaseId {
    LeaseId::new(&mut rand::rng())
}

pub(crate) fn worker() -> WorkerId {
    WorkerId::new(&mut rand::rng())
}

pub(crate) fn facts_of(worker: WorkerId) -> WorkerFacts {
    WorkerFacts {
        id: worker,
        pid: 1,
        slots: 10,
        lease_ttl: LONG,
        host: "h".into(),
        version: "0".into(),
        queues: vec![QUEUE.into()],
        kinds: vec!["*".into()],
        started_at: "2026-01-01T00:00:00Z".parse().unwrap(),
    }
}

/// Enqueues one job.
pub(crate) async fn put(client: &ClientWrapper, job: &NewJob) -> Enqueued {
    enqueue(client, std::slice::from_ref(job)).await.unwrap()[0]
}

/// Enqueues `n` jobs of [`QUEUE`] in one batch; their ids in the order in which they will be claimed is not known.
pub(crate) async fn put_many(client: &ClientWrapper, n: usize) -> Vec<JobId> {
    let jobs: Vec<NewJob> = (0..n).map(|_| job()).collect();
    enqueue(client, &jobs).await.unwrap();
    jobs.iter().map(|job| job.id).collect()
}

/// Claims from the head of [`QUEUE`] under a new lease, for the worker.
pub(crate) async fn take_for(client: &ClientWrapper, owner: WorkerId, n: usize, ttl: Duration) -> Vec<ClaimedJob> {
    claim(client, QUEUE, lease(), owner, ttl, n, &Floors::head()).await.unwrap()
}

/// Claims from the head of [`QUEUE`] under a new lease, for nobody in particular.
pub(crate) async fn take(client: &ClientWrapper, n: usize, ttl: Duration) -> Vec<ClaimedJob> {
    take_for(client, worker(), n, ttl).await
}

/// Enqueues a job and claims it.
pub(crate) async fn running(client: &ClientWrapper, job: &NewJob, ttl: Duration) -> ClaimedJob {
    put(client, job).await;
    let mut claimed = take(client, 1, ttl).await;
    assert_eq!(claimed.len(), 1, "the job was not claimed");
    let claimed = claimed.remove(0);
    assert_eq!(claimed.id, job.id, "another job was in the way");
    claimed
}

/// Ends one attempt.
pub(crate) async fn end(client: &ClientWrapper, job: &ClaimedJob, ending: Ending) -> Finished {
    end_in(client, QUEUE, job, ending).await
}

/// Ends one attempt of another queue.
pub(crate) async fn end_in(client: &ClientWrapper, queue: &str, job: &ClaimedJob, ending: Ending) -> Finished {
    let one = Finish { id: job.id, lease_id: job.lease_id, ending };
    finish(client, queue, &[one]).await.unwrap()[0]
}

pub(crate) fn complete() -> Ending {
    Ending::Complete(Some(json("1")))
}

pub(crate) fn fail() -> Ending {
    Ending::Fail { error: "boom".into(), delay: Duration::ZERO }
}

pub(crate) fn release() -> Ending {
    Ending::Release { delay: None, reason: "drain".into() }
}

pub(crate) const SUCCEEDED: Finished = Finished::Moved(State::Succeeded);
pub(crate) const BACK: Finished = Finished::Moved(State::Queued);

/// Everything about a job that a transition can change, times aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) state: String,
    pub(crate) attempts: i32,
    pub(crate) crashes: i32,
    pub(crate) cancel_requested: bool,
    pub(crate) reason: Option<String>,
    pub(crate) last_error: Option<String>,
    pub(crate) result: Option<String>,
    /// The timeline: attempt, outcome, whether it is charged.
    pub(crate) log: Vec<(i32, String, bool)>,
}

impl Facts {
    /// State, attempts, crashes and the timeline's outcomes in one line.
    pub(crate) fn short(&self) -> String {
        let log: Vec<String> =
            self.log.iter().map(|(n, how, charged)| format!("{n}:{how}{}", if *charged { "" } else { "-" })).collect();
        format!("{} {}/{} [{}]", self.state, self.attempts, self.crashes, log.join(" "))
    }
}

/// The facts of a job, which must be in exactly one place.
pub(crate) async fn facts(client: &Client, id: JobId) -> Facts {
    let rows = client
        .query(
            "select state::text, attempts, crashes, cancel_requested_at is not null as cancel_requested, reason,
                       last_error, result::text from faultline.all_jobs where id = $1",
            &[&id.0],
        )
        .await
        .unwrap();
    assert_eq!(rows.len(), 1, "job {id} is in {} places", rows.len());
    let log = client
        .query(
            "select attempt, outcome::text, charged from faultline.job_attempts where job_id = $1
                order by ended_at",
            &[&id.0],
        )
        .await
        .unwrap();
    Facts {
        state: rows[0].get("state"),
        attempts: rows[0].get("attempts"),
        crashes: rows[0].get("crashes"),
        cancel_requested: rows[0].get("cancel_requested"),
        reason: rows[0].get("reason"),
        last_error: rows[0].get("last_error"),
        result: rows[0].get("result"),
        log: log.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect(),
    }
}

/// One value of one row.
pub(crate) async fn value<T: for<'a> tokio_postgres::types::FromSql<'a>>(
    client: &Client,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> T {
    client.query_one(sql, params).await.unwrap().get(0)
}

pub(crate) async fn count(client: &Client, what: &str) -> i64 {
    value(client, &format!("select count(*) from {what}"), &[]).await
}

/// Asks until the answer is yes.
pub(crate) async fn until(client: &Client, what: &str, params: &[&(dyn ToSql + Sync)]) {
    let asking = async {
        while !value::<bool>(client, what, params).await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking).await.unwrap_or_else(|_| panic!("never became true: {what}"));
}

/// How a call began that somebody's lock may hold up.
pub(crate) enum Start<T> {
    /// It came back at once.
    Returned(T),
    /// It waits for a lock.
    Blocked,
}

/// Drives a call until it returns or a session of this database is seen waiting for a lock.
pub(crate) async fn returned_or_blocked<T>(
    observer: &Client,
    call: &mut (impl Future<Output = T> + Unpin),
) -> Start<T> {
    let blocked = "select exists (select from pg_stat_activity where datname = current_database()
                       and wait_event_type = 'Lock' and cardinality(pg_blocking_pids(pid)) > 0)";
    tokio::select! {
        biased;
        answer = call => Start::Returned(answer),
        () = until(observer, blocked, &[]) => Start::Blocked,
    }
}

/// The error of a statement that must be refused, with its SQLSTATE and the column that it names.
pub(crate) fn refusal(answer: Result<Vec<Row>, tokio_postgres::Error>) -> (String, String, Option<String>) {
    let error = answer.expect_err("should be refused");
    let db = error.as_db_error().unwrap_or_else(|| panic!("not an answer of the database: {error}"));
    (db.code().code().to_owned(), db.message().to_owned(), db.column().map(str::to_owned))
}
