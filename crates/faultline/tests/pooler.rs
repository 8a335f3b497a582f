//! Behind a pooler in transaction mode: nothing is left on a session, nothing is expected of it. The drill `pooler` does the same with
//! PgBouncer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Running, database, plain, wait_for};
use faultline::{Client, Enqueued, Failure, State, Worker};
use faultline_store::enqueue::enqueue_again;
use faultline_store::{operate, read};
use std::time::Duration;

fn pooled(database: &faultline_cluster::testing::TestDatabase) -> Client {
    Client::lazy(&format!("{}?pooler=transaction", database.url())).unwrap()
}

#[tokio::test]
async fn jobs_go_every_way_without_a_session_of_their_own() {
    let database = database();
    let client = pooled(&database);
    assert_eq!(client.migrate().await.unwrap(), 0);
    let worker = Running::start(Worker::new(&client).lease_ttl(Duration::from_secs(1)).on_kind("way", {
        |payload, run| async move {
            match (payload.get(), run.attempt()) {
                ("\"retry\"", 1) => Err(Failure::new("once more")),
                ("\"fatal\"", _) => Err(Failure::fatal("never again")),
                ("\"long\"", _) => {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    Ok(1)
                }
                _ => Ok(2),
            }
        }
    }));
    let way = async |payload: &str| client.enqueue_raw("way", payload).key(payload).await.unwrap().id();
    let ids = [way("plain").await, way("retry").await, way("long").await];
    let fatal = way("fatal").await;
    for id in ids {
        assert!(wait_for(&client, id, State::Succeeded).await.result.is_some());
    }
    wait_for(&client, fatal, State::Failed).await;
    assert!(matches!(client.enqueue_raw("way", "plain").key("plain").await.unwrap(), Enqueued::Duplicate(_)));
    let summary = worker.stop().await;
    assert_eq!((summary.succeeded, summary.failed, summary.leases_lost), (3, 1, 0));
}

#[tokio::test]
async fn operators_and_second_tries_need_no_session_either() {
    let database = database();
    let client = pooled(&database);
    let keyless = client.enqueue_raw("way", ()).into_new_job().unwrap();
    let keyed = client.enqueue_raw("way", ()).key("k").into_new_job().unwrap();
    let jobs = [keyless, keyed];
    for _ in 0..2 {
        let answers = client.database().run(async |session| enqueue_again(session, &jobs).await).await.unwrap();
        assert_eq!(answers, [Enqueued::Created(jobs[0].id), Enqueued::Created(jobs[1].id)]);
    }
    client.cancel(jobs[0].id).await.unwrap();
    client.retry(jobs[0].id).await.unwrap();
    assert!(client.explain(jobs[1].id).await.unwrap().is_some());
    assert_eq!(client.list(&read::Filter::default(), 10).await.unwrap().len(), 3);
    client
        .database()
        .run(async |session| {
            operate::pause(session, "test", "default", Some("because")).await?;
            assert_eq!(read::queues(session, None).await?.len(), 1);
            assert!(operate::resume(session, "test", "default").await?);
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn nothing_stays_on_the_session_and_each_statement_brings_its_settings() {
    let database = database();
    plain(&database.url())
        .await
        .batch_execute(&format!(
            "alter database {} set default_transaction_isolation = 'serializable'",
            database.name()
        ))
        .await
        .unwrap();
    let client = pooled(&database);
    let nobody = "01890000-0000-7000-8000-000000000000".parse().unwrap();
    let left = client
        .database()
        .run(async |session| {
            assert!(!session.is_direct());
            read::get(session, nobody).await?;
            let sql = "select (select count(*) from pg_prepared_statements) = 0 and current_setting('jit') = 'on'
                          and current_setting('search_path') <> 'pg_catalog,pg_temp'";
            Ok(session.query_typed_one(sql, &[]).await?.get::<_, bool>(0))
        })
        .await
        .unwrap();
    assert!(left);
    let id = client.enqueue_raw("way", ()).await.unwrap().id();
    assert_eq!(client.get(id).await.unwrap().unwrap().state, State::Queued);
}
