//! What a job may cost the others that run beside it.

mod common;

use common::{Running, client, database, wait_for};
use faultline::{Run, State, Worker};
use std::time::Duration;

#[tokio::test]
async fn a_job_that_crashed_workers_starts_when_no_other_such_job_is_held() {
    let database = database();
    let client = client(&database);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(client.enqueue_raw("suspect", ()).await.unwrap().id());
    }
    common::plain(&database.url()).await.batch_execute("update faultline.jobs set crashes = 2").await.unwrap();
    let url = database.url();
    let worker =
        Running::start(Worker::new(&client).lease_ttl(Duration::from_secs(2)).on_kind("suspect", move |_, _| {
            let url = url.clone();
            async move {
                // Whatever runs now would fall with this one.
                let running = "select count(*) from faultline.jobs where state = 'running'";
                let held: i64 = common::plain(&url).await.query_one(running, &[]).await?.get(0);
                Ok(held)
            }
        }));
    for id in ids {
        let job = wait_for(&client, id, State::Succeeded).await;
        assert_eq!((job.result.unwrap().get(), job.attempts), ("1", 1));
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_transaction_that_commits_late_costs_other_jobs_no_lease() {
    let database = database();
    let client = client(&database);
    let ttl = Duration::from_secs(1);
    let url = database.url();
    let worker = Worker::new(&client)
        .lease_ttl(ttl)
        .on_kind("late", move |_, run: Run| {
            let url = url.clone();
            async move {
                let mut session = common::plain(&url).await;
                let mut tx = session.transaction().await?;
                run.complete_in(&mut tx, &()).await?;
                tokio::time::sleep(4 * ttl).await;
                tx.commit().await?;
                Ok(())
            }
        })
        .on_kind("long", move |_, _| async move {
            tokio::time::sleep(5 * ttl).await;
            Ok(())
        });
    let worker = Running::start(worker);
    let late = client.enqueue_raw("late", ()).await.unwrap().id();
    let long = client.enqueue_raw("long", ()).await.unwrap().id();
    for id in [late, long] {
        let job = wait_for(&client, id, State::Succeeded).await;
        assert_eq!((job.attempts, job.last_error), (1, None));
    }
    assert_eq!(worker.stop().await.leases_lost, 0);
}
