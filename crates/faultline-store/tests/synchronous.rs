//! Synchronous replication: nothing is answered as done before a standby has it, whatever cuts the wait short.
//!
//! The cluster of each test waits for a standby that does not exist, until the test lets it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use faultline_cluster::{Cluster, Programs};
use faultline_core::{JobId, LeaseId, NewJob, State, WorkerId};
use faultline_store::enqueue::{Enqueued, enqueue, enqueue_again};
use faultline_store::finish::{Ending, Finish, Finished, finish, look};
use faultline_store::lease::{Floors, claim, recover_claim};
use faultline_store::{Database, Error, migrate};
use serde_json::value::RawValue;
use std::time::Duration;
use tokio_postgres::NoTls;
use uuid::Uuid;

const QUEUE: &str = "q";
const LIMIT: Duration = Duration::from_secs(60);
const WAITS: &str = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";

struct Db {
    cluster: Cluster,
    store: Database,
}

impl Db {
    async fn migrated() -> Self {
        let cluster = Cluster::builder(Programs::find().unwrap()).durable(false).start().unwrap();
        let (mut client, connection) = tokio_postgres::connect(&cluster.url("postgres"), NoTls).await.unwrap();
        tokio::spawn(connection);
        migrate::migrate(&mut client).await.unwrap();
        let store = Database::new(&cluster.url("postgres"), "test", 8).unwrap();
        Self { cluster, store }
    }

    fn wait_for(&self, standby: &str) {
        self.cluster.configure("synchronous_standby_names", standby).unwrap();
    }

    async fn until_waiting(&self, sessions: u32) {
        let waiting = async {
            while self.cluster.psql("postgres", WAITS).unwrap() != sessions.to_string() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.expect("no commit waits for the standby");
    }

    /// Runs a call whose commit will wait, and ends the wait by `end`, a function of Postgres that takes a process id.
    async fn cut<T>(&self, end: &str, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let cutting = async {
            self.until_waiting(1).await;
            let sql = format!("select {end}(pid) from pg_stat_activity where wait_event = 'SyncRep'");
            self.cluster.psql("postgres", &sql).unwrap();
        };
        tokio::join!(call, cutting).0
    }

    /// What a call answers that may not answer before there is a standby to wait for no more.
    async fn answered_late<T: std::fmt::Debug>(&self, call: impl Future<Output = T>) -> T {
        let mut call = Box::pin(call);
        tokio::select! {
            biased;
            answer = &mut call => panic!("answered before any standby had it: {answer:?}"),
            () = self.until_waiting(1) => {}
        }
        self.wait_for("");
        tokio::time::timeout(LIMIT, call).await.expect("no answer though nobody waits")
    }
}

fn job(key: Option<&str>) -> NewJob {
    let mut job = NewJob::new(JobId(Uuid::new_v4()), "k", RawValue::from_string("{}".into()).unwrap());
    (job.queue, job.key) = (QUEUE.into(), key.map(str::to_owned));
    job
}

/// Postgres answers such a commit as done, with a warning; only the warning tells.
#[tokio::test]
async fn a_commit_whose_wait_was_cancelled_or_ended_is_no_success() {
    let db = Db::migrated().await;
    db.wait_for("nobody");
    for end in ["pg_cancel_backend", "pg_terminate_backend"] {
        let one = [job(None)];
        let answer = db.cut(end, db.store.run(async |client| enqueue(client, &one).await)).await;
        assert!(matches!(answer, Err(Error::Indeterminate { .. })), "{end}: {answer:?}");
    }
}

#[tokio::test]
async fn an_enqueue_that_is_repeated_is_not_answered_from_a_row_that_no_standby_has() {
    let db = Db::migrated().await;
    for key in [Some("key"), None] {
        db.wait_for("nobody");
        let one = [job(key)];
        let first = db.cut("pg_cancel_backend", db.store.run(async |client| enqueue(client, &one).await)).await;
        assert!(matches!(first, Err(Error::Indeterminate { .. })), "{first:?}");
        let again = db.store.run(async |client| enqueue_again(client, &one).await);
        assert_eq!(db.answered_late(again).await.unwrap(), [Enqueued::Created(one[0].id)]);
    }
    // Somebody else with the same key, too.
    db.wait_for("nobody");
    let other = [job(Some("key"))];
    let answer = db.answered_late(db.store.run(async |client| enqueue(client, &other).await)).await.unwrap();
    assert!(matches!(answer[0], Enqueued::Duplicate(id) if id != other[0].id), "{answer:?}");
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_not_found_before_a_standby_has_it() {
    let db = Db::migrated().await;
    db.store.run(async |client| enqueue(client, &[job(None)]).await).await.unwrap();
    db.wait_for("nobody");
    let (lease_id, owner, floors) = (LeaseId(Uuid::new_v4()), WorkerId(Uuid::new_v4()), Floors::head());
    let first = db.store.run(async |client| claim(client, QUEUE, lease_id, owner, LIMIT, 1, &floors).await);
    let first = db.cut("pg_cancel_backend", first).await;
    assert!(matches!(first, Err(Error::Indeterminate { .. })), "{first:?}");
    let found = db.store.run(async |client| recover_claim(client, QUEUE, lease_id, &floors, 100).await);
    assert_eq!(db.answered_late(found).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_finish_that_is_repeated_is_not_answered_from_a_row_that_no_standby_has() {
    let db = Db::migrated().await;
    let (one, lease_id) = (job(None), LeaseId(Uuid::new_v4()));
    let (id, owner) = (one.id, WorkerId(Uuid::new_v4()));
    db.store.run(async |client| enqueue(client, &[one]).await).await.unwrap();
    let floors = Floors::head();
    let claimed = db.store.run(async |client| claim(client, QUEUE, lease_id, owner, LIMIT, 1, &floors).await).await;
    assert_eq!(claimed.unwrap().len(), 1);
    db.wait_for("nobody");
    let end = [Finish { id, lease_id, ending: Ending::Complete(None) }];
    let first = db.cut("pg_cancel_backend", db.store.run(async |client| finish(client, QUEUE, &end).await)).await;
    assert!(matches!(first, Err(Error::Indeterminate { .. })), "{first:?}");
    let succeeded = Finished::Moved(State::Succeeded);
    let again = db.store.run(async |client| finish(client, QUEUE, &end).await);
    assert_eq!(db.answered_late(again).await.unwrap(), [succeeded]);
    db.wait_for("nobody");
    let seen = db.store.run(async |client| look(client, id, lease_id).await);
    assert_eq!(db.answered_late(seen).await.unwrap(), Some(succeeded));
}
