//! Leases of a worker whose handlers leave its runtime no thread.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{DEADLINE, Running, client, database, plain, wait_for};
use faultline::{JobId, State, Worker};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tokio::sync::Notify;

/// Polls until a query about a job answers true.
async fn until(session: &tokio_postgres::Client, sql: &str, job: JobId) {
    let look = async {
        while !session.query_one(sql, &[&job.0]).await.unwrap().get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, look).await.unwrap_or_else(|_| panic!("never: {sql}"));
}

#[tokio::test]
async fn jobs_of_a_claim_whose_answer_cannot_be_read_keep_their_lease() {
    let database = database();
    let client = client(&database);
    let (block, blocking) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let (told, telling, may_go_on) = (block.clone(), blocking.clone(), Mutex::new(may_go_on));
    let may_go_on = Arc::new(may_go_on);
    // This runtime has one thread, and the handler takes it.
    let worker = Worker::new(&client).lease_ttl(Duration::from_millis(900)).on_kind("blocks", move |_, _| {
        let (told, telling, may_go_on) = (told.clone(), telling.clone(), may_go_on.clone());
        async move {
            told.notified().await;
            telling.notify_one();
            may_go_on.lock().unwrap().recv_timeout(DEADLINE).unwrap();
            Ok(())
        }
    });
    let worker = Running::start(worker.on_kind("waits", |_, _| async { Ok(()) }));
    let blocks = client.enqueue_raw("blocks", ()).await.unwrap().id();
    wait_for(&client, blocks, State::Running).await;

    let (url, waits) =
        (database.url(), client.enqueue_raw("waits", ()).delay(Duration::from_secs(1)).await.unwrap().id());
    let meddler = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut locker, session) = (plain(&url).await, plain(&url).await);
            let lock = locker.transaction().await.unwrap();
            lock.batch_execute("lock table faultline.jobs in exclusive mode").await.unwrap();
            let sent = "select exists (select from pg_stat_activity where application_name like '%claim'
                         and wait_event_type = 'Lock' and $1::uuid is not null)";
            until(&session, sent, waits).await;
            block.notify_one();
            blocking.notified().await;
            // So that this claim takes the job, however early it was sent.
            until(&session, "select next_run_at <= clock_timestamp() from faultline.jobs where id = $1", waits).await;
            lock.rollback().await.unwrap();
            // Claimed, and nobody can read the answer; two leases later it is held all the same.
            let held = "select coalesce((select state = 'running' and lease_expires_at > started_at + interval '2.7 s'
                         from faultline.jobs where id = $1), false)";
            until(&session, held, waits).await;
            go_on.send(()).unwrap();
        });
    });
    for id in [blocks, waits] {
        assert_eq!(wait_for(&client, id, State::Succeeded).await.attempts, 1);
    }
    meddler.join().unwrap();
    assert_eq!(worker.stop().await.leases_lost, 0);
}
