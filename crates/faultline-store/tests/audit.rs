//! The transition log: what the database itself writes down about every transition while `audit_on()` holds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use faultline_cluster::testing::{self, TestDatabase};
use faultline_core::{JobId, LeaseId, NewJob, WorkerId};
use faultline_store::enqueue::enqueue;
use faultline_store::finish::{Ending, Finish, finish};
use faultline_store::lease::{ClaimedJob, Floors, claim, renew};
use faultline_store::{Database, Plans, Session, audit, migrate, operate, reap};
use serde_json::value::RawValue;
use std::time::Duration;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

const QUEUE: &str = "q";
/// A lease that does not end during a test.
const LONG: Duration = Duration::from_secs(600);
/// Who claims.
const OWNER: WorkerId = WorkerId(Uuid::from_u128(7));
/// Rows that a reap looks at: more than any test has.
const LOOK_AT: i64 = 1000;

struct Db {
    _database: TestDatabase,
    plain: Client,
    session: Session,
}

impl Db {
    async fn audited() -> Self {
        let db = Self::unaudited().await;
        audit::on(&db.session).await.unwrap();
        db
    }

    async fn unaudited() -> Self {
        let database = testing::database(|url| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { migrate::migrate(&mut connect(url).await).await.unwrap() });
        });
        let plain = connect(&database.url()).await;
        let store = Database::new(&database.url(), "test", 60).unwrap();
        let session = store.session("test", Plans::Free).await.unwrap();
        Self { _database: database, plain, session }
    }

    async fn put(&self, n: usize, max_attempts: i32) -> Vec<JobId> {
        let jobs: Vec<NewJob> = (0..n)
            .map(|_| {
                let mut job = NewJob::new(JobId(Uuid::new_v4()), "k", RawValue::from_string("{}".into()).unwrap());
                job.queue = QUEUE.into();
                job.max_attempts = max_attempts;
                job
            })
            .collect();
        enqueue(&self.session, &jobs).await.unwrap();
        jobs.iter().map(|job| job.id).collect()
    }

    async fn claim(&self, lease: u128, ttl: Duration) -> Vec<ClaimedJob> {
        let lease = LeaseId(Uuid::from_u128(lease));
        claim(&self.session, QUEUE, lease, OWNER, ttl, 100, &Floors::head()).await.unwrap()
    }

    async fn end(&self, job: &ClaimedJob, ending: Ending) {
        let finishes = [Finish { id: job.id, lease_id: job.lease_id, ending }];
        finish(&self.session, QUEUE, &finishes).await.unwrap();
    }

    /// The events of a job, in order: `from>to attempt lease reason`.
    async fn events(&self, job: JobId) -> Vec<String> {
        let sql =
            "select format('%s>%s %s %s %s', coalesce(from_state::text, '-'), coalesce(to_state::text, '-'), attempt,
                          coalesce(ltrim(right(lease_id::text, 12), '0'), '-'), reason)
                     from faultline.job_events where job_id = $1 order by seq";
        self.plain.query(sql, &[&job.0]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    async fn count(&self) -> i64 {
        self.plain.query_one("select count(*) from faultline.job_events", &[]).await.unwrap().get(0)
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn failure() -> Ending {
    Ending::Fail { error: "no".into(), delay: Duration::ZERO }
}

#[tokio::test]
async fn a_job_that_succeeds_leaves_one_event_a_transition() {
    let db = Db::audited().await;
    let id = db.put(1, 3).await[0];
    let job = db.claim(1, LONG).await.remove(0);
    renew(&db.session, QUEUE, &[(id, job.lease_id)], LONG * 2).await.unwrap();
    db.end(&job, Ending::Complete(None)).await;
    let expected = [
        "->queued 0 - enqueued",
        "queued>running 1 1 claimed",
        "running>running 1 1 renewed",
        "running>succeeded 1 1 completed",
    ];
    assert_eq!(db.events(id).await, expected);
}

#[tokio::test]
async fn every_way_out_of_running_names_its_reason_and_the_lease_it_left() {
    let db = Db::audited().await;
    let id = db.put(1, 3).await[0];
    let release = Ending::Release { delay: None, reason: "drain".into() };
    for (lease, ending) in (1..).zip([failure(), release, Ending::Snooze(Duration::ZERO)]) {
        let job = db.claim(lease, LONG).await.remove(0);
        db.end(&job, ending).await;
    }
    db.claim(4, Duration::ZERO).await;
    reap::reap(&db.session, &[QUEUE.to_owned()], &[OWNER], LOOK_AT).await.unwrap();
    let job = db.claim(5, LONG).await.remove(0);
    db.end(&job, Ending::FailForGood { error: "no".into(), reason: "fatal" }).await;
    let expected = [
        "->queued 0 - enqueued",
        "queued>running 1 1 claimed",
        "running>queued 1 1 failed",
        "queued>running 2 2 claimed",
        "running>queued 1 2 released",
        "queued>running 2 3 claimed",
        "running>queued 1 3 snoozed",
        "queued>running 2 4 claimed",
        "running>queued 2 4 expired",
        "queued>running 3 5 claimed",
        "running>failed 3 5 fatal",
    ];
    assert_eq!(db.events(id).await, expected);
}

#[tokio::test]
async fn a_crash_loop_and_a_cancel_are_terminal_events_of_their_own_reason() {
    let db = Db::audited().await;
    let id = db.put(1, 1).await[0];
    db.claim(1, Duration::ZERO).await;
    reap::reap(&db.session, &[QUEUE.to_owned()], &[OWNER], LOOK_AT).await.unwrap();
    assert_eq!(db.events(id).await[2], "running>failed 1 1 crash_loop");

    let id = db.put(1, 3).await[0];
    operate::cancel(&db.session, "test", id).await.unwrap();
    assert_eq!(db.events(id).await[1], "queued>cancelled 0 - cancelled");

    let id = db.put(1, 3).await[0];
    let job = db.claim(2, LONG).await.remove(0);
    operate::cancel(&db.session, "test", id).await.unwrap();
    db.end(&job, failure()).await;
    let expected = ["running>running 1 2 cancel_requested", "running>cancelled 1 2 cancelled"];
    assert_eq!(db.events(id).await[2..], expected);

    let id = db.put(1, 3).await[0];
    db.claim(3, Duration::ZERO).await;
    operate::cancel(&db.session, "test", id).await.unwrap();
    reap::reap(&db.session, &[QUEUE.to_owned()], &[OWNER], LOOK_AT).await.unwrap();
    assert_eq!(db.events(id).await[3], "running>cancelled 1 3 worker_lost");
}

#[tokio::test]
async fn one_statement_that_moves_jobs_both_ways_leaves_one_event_for_each() {
    let db = Db::audited().await;
    let (retried, ended) = (db.put(20, 3).await, db.put(20, 1).await);
    let claimed = db.claim(1, LONG).await;
    let finishes: Vec<Finish> =
        claimed.iter().map(|job| Finish { id: job.id, lease_id: job.lease_id, ending: failure() }).collect();
    finish(&db.session, QUEUE, &finishes).await.unwrap();
    for id in retried {
        assert_eq!(db.events(id).await[2..], ["running>queued 1 1 failed"]);
    }
    for id in ended {
        assert_eq!(db.events(id).await[2..], ["running>failed 1 1 attempts_exhausted"]);
    }
}

#[tokio::test]
async fn a_success_inside_the_callers_transaction_is_logged_with_its_commit_only() {
    let db = Db::audited().await;
    let id = db.put(1, 3).await[0];
    let job = db.claim(1, LONG).await.remove(0);
    let complete = format!("select faultline.complete_in_tx('{id}', '{}')", job.lease_id);
    db.plain.batch_execute(&format!("begin; {complete}; rollback")).await.unwrap();
    assert_eq!(db.events(id).await.len(), 2);
    db.plain.batch_execute(&format!("begin; {complete}; commit")).await.unwrap();
    assert_eq!(db.events(id).await[2..], ["running>succeeded 1 1 completed"]);
}

#[tokio::test]
async fn what_is_done_by_hand_is_in_the_log_as_what_it_is() {
    let db = Db::audited().await;
    let id = db.put(1, 3).await[0];
    db.claim(1, LONG).await;
    let put_back = "update faultline.jobs set state = 'queued', lease_id = null, lease_owner = null,
                    lease_expires_at = null, started_at = null";
    db.plain.batch_execute(put_back).await.unwrap();
    db.plain.batch_execute("delete from faultline.jobs").await.unwrap();
    assert_eq!(db.events(id).await[2..], ["running>queued 1 1 unexplained", "queued>- 1 - deleted"]);
}

#[tokio::test]
async fn a_role_that_may_only_write_jobs_still_leaves_events() {
    let db = Db::audited().await;
    db.put(1, 3).await;
    let role = format!("mover_{}", std::process::id());
    let move_a_job = format!(
        "create role {role}; grant usage on schema faultline to {role};
         grant select, update on faultline.jobs to {role}; set role {role};
         update faultline.jobs set next_run_at = clock_timestamp(); reset role;
         drop owned by {role}; drop role {role}"
    );
    db.plain.batch_execute(&move_a_job).await.unwrap();
    assert_eq!(db.count().await, 2);
}

#[tokio::test]
async fn the_log_is_off_by_default_and_off_means_no_trigger() {
    let db = Db::unaudited().await;
    assert!(!audit::is_on(&db.session).await.unwrap());
    db.put(1, 3).await;
    assert_eq!(db.count().await, 0);
    for _ in 0..2 {
        audit::on(&db.session).await.unwrap();
        assert!(audit::is_on(&db.session).await.unwrap());
    }
    db.put(1, 3).await;
    for _ in 0..2 {
        audit::off(&db.session).await.unwrap();
        assert!(!audit::is_on(&db.session).await.unwrap());
    }
    db.put(1, 3).await;
    assert_eq!(db.count().await, 1, "what was logged stays, and nothing is added");
    let triggers = "select count(*) from pg_trigger where tgname like 'jobs\\_audit%'";
    assert_eq!(db.plain.query_one(triggers, &[]).await.unwrap().get::<_, i64>(0), 0);
}
