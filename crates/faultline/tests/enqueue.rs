//! Ways in: alone, in bulk, in transactions of several drivers.

mod common;

use common::{Running, client, database, plain, wait_for};
use faultline::{Enqueued, Error, Failure, Job, Retry, Run, State, Worker};
use serde::{Deserialize, Serialize};
#[cfg(feature = "sqlx")]
use std::sync::Arc;
#[cfg(feature = "sqlx")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[derive(Serialize, Deserialize)]
struct SendEmail {
    to: String,
}

impl Job for SendEmail {
    const KIND: &'static str = "send_email";
    const QUEUE: &'static str = "mail";
}

fn mail() -> SendEmail {
    SendEmail { to: "ann@example.com".into() }
}

#[tokio::test]
async fn options_arrive_as_they_were_set() {
    let database = database();
    let client = client(&database);
    let enqueued = client
        .enqueue(&mail())
        .key("order-42")
        .priority(1)
        .max_attempts(3)
        .timeout(Duration::from_secs(7))
        .backoff(Duration::from_millis(10), Duration::from_secs(1))
        .delay(Duration::from_secs(60))
        .await
        .unwrap();
    let job = client.get(enqueued.id()).await.unwrap().unwrap();
    assert_eq!((job.queue.as_str(), job.kind.as_str(), job.key.as_deref()), ("mail", "send_email", Some("order-42")));
    assert_eq!((job.priority, job.max_attempts, job.timeout_ms), (1, 3, 7000));
    assert_eq!((job.backoff_base_ms, job.backoff_cap_ms), (10, 1000));
    let delay = job.next_run_at.duration_since(job.created_at);
    assert_eq!(delay.as_secs(), 60);
}

#[tokio::test]
async fn a_key_makes_one_job_and_refuses_another_request() {
    let database = database();
    let client = client(&database);
    let first = client.enqueue(&mail()).key("k").await.unwrap();
    let again = client.enqueue(&mail()).key("k").await.unwrap();
    assert_eq!((first, again), (Enqueued::Created(first.id()), Enqueued::Duplicate(first.id())));
    let other = client.enqueue(&SendEmail { to: "bob@example.com".into() }).key("k").await;
    assert!(matches!(other, Err(Error::KeyConflict { holder }) if holder == first.id()));
    let elsewhere = client.enqueue(&mail()).key("k").queue("other").await.unwrap();
    assert!(matches!(elsewhere, Enqueued::Created(_)));
}

#[tokio::test]
async fn values_out_of_bounds_are_refused_before_anything_is_sent() {
    let client = faultline::Client::lazy("postgres://nobody@127.0.0.1:1/none").unwrap();
    let refused = client.enqueue(&mail()).priority(9).await.unwrap_err();
    assert_eq!(refused.to_string(), "priority: must be 1 to 4");
    let refused = client.enqueue(&mail()).headers([1]).await.unwrap_err();
    assert_eq!(refused.to_string(), "headers: must be an object");
    let refused = client.enqueue_raw("k", "nul \0").await.unwrap_err();
    assert_eq!(refused.to_string(), "payload: must not contain the character NUL (\\u0000)");
    let unreachable = client.enqueue(&mail()).await.unwrap_err().to_string();
    assert!(unreachable.starts_with("cannot reach the database"), "{unreachable}");
}

#[tokio::test]
async fn a_transaction_decides_whether_the_job_exists() {
    let database = database();
    let client = client(&database);
    let mut connection = plain(&database.url()).await;

    let mut tx = connection.transaction().await.unwrap();
    let undone = client.enqueue(&mail()).key("a").within(&mut tx).await.unwrap();
    tx.rollback().await.unwrap();
    assert!(client.get(undone.id()).await.unwrap().is_none());

    let mut tx = connection.transaction().await.unwrap();
    let done = client.enqueue(&mail()).key("a").within(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(done, Enqueued::Created(done.id()));
    assert!(client.get(done.id()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_bulk_of_many_statements_is_answered_in_order() {
    let database = database();
    let client = client(&database);
    let jobs: Vec<_> = (0..25_000).map(|n| client.enqueue_raw("bulk", n).into_new_job().unwrap()).collect();
    let answers = client.enqueue_all(&jobs).await.unwrap();
    assert!(jobs.iter().zip(&answers).all(|(job, answer)| *answer == Enqueued::Created(job.id)));
    let count: i64 =
        plain(&database.url()).await.query_one("select count(*) from faultline.jobs", &[]).await.unwrap().get(0);
    assert_eq!(count, 25_000);
}

#[tokio::test]
async fn retrying_a_finished_job_twice_makes_one_successor() {
    let database = database();
    let client = client(&database);
    let worker =
        Running::start(Worker::new(&client).on_kind("once", |_, _| async { Err::<(), _>(Failure::fatal("no")) }));
    let id = client.enqueue_raw("once", ()).await.unwrap().id();
    wait_for(&client, id, State::Failed).await;
    let first = client.retry(id).await.unwrap();
    let Retry::Successor { id: successor, created: true } = first else { panic!("{first:?}") };
    assert_eq!(client.retry(id).await.unwrap(), Retry::Successor { id: successor, created: false });
    assert_eq!(wait_for(&client, successor, State::Failed).await.retry_of, Some(id));
    worker.stop().await;

    let later = client.enqueue_raw("once", ()).delay(Duration::from_secs(3600)).await.unwrap().id();
    assert_eq!(client.retry(later).await.unwrap(), Retry::MovedToNow);
    assert_eq!(client.retry(later).await.unwrap(), Retry::AlreadyDue);
    assert_eq!(client.retry(faultline::JobId(later.0.max(id.0))).await.unwrap(), Retry::AlreadyDue);
}

/// Effects and success commit together: committed, rolled back, and forgotten.
#[tokio::test]
async fn complete_in_ties_the_effect_to_the_success() {
    let database = database();
    let client = client(&database);
    let url = database.url();
    plain(&url).await.batch_execute("create table effects (job text)").await.unwrap();
    let worker_url = url.clone();
    let worker = Running::start(Worker::new(&client).on_kind("pay", move |how, run: Run| {
        let url = worker_url.clone();
        async move {
            let mut connection = plain(&url).await;
            let mut tx = connection.transaction().await?;
            tx.execute("insert into effects values ($1)", &[&run.id().to_string()]).await?;
            run.complete_in(&mut tx, &"paid").await?;
            match (how.get(), run.attempt()) {
                ("\"commit\"", _) | (_, 2..) => tx.commit().await?,
                ("\"fail\"", _) => {
                    tx.rollback().await?;
                    return Err(Failure::new("changed my mind"));
                }
                // Forgotten: dropped, which rolls back, and Ok all the same.
                _ => drop(tx),
            }
            Ok(())
        }
    }));
    let none = Duration::ZERO;
    for (how, attempts, error) in [
        ("commit", 1, None),
        ("fail", 2, Some("changed my mind")),
        ("forget", 2, Some("complete_in was called, but its transaction was not committed")),
    ] {
        let id = client.enqueue_raw("pay", how).backoff(none, none).await.unwrap().id();
        let job = wait_for(&client, id, State::Succeeded).await;
        assert_eq!((job.attempts, job.last_error.as_deref()), (attempts, error), "{how}");
        assert_eq!(job.result.unwrap().get(), "\"paid\"");
        let row = plain(&url)
            .await
            .query_one("select count(*) from effects where job = $1", &[&id.to_string()])
            .await
            .unwrap();
        assert_eq!(row.get::<_, i64>(0), 1, "{how}");
    }
    worker.stop().await;
}

#[cfg(feature = "sqlx")]
#[tokio::test]
async fn sqlx_transactions_enqueue_and_complete() {
    use sqlx::Connection;
    let database = database();
    let client = client(&database);
    let mut connection = sqlx::PgConnection::connect(&database.url()).await.unwrap();

    let mut tx = connection.begin().await.unwrap();
    let undone = client.enqueue(&mail()).within_sqlx(&mut tx).await.unwrap();
    tx.rollback().await.unwrap();
    assert!(client.get(undone.id()).await.unwrap().is_none());

    let mut tx = connection.begin().await.unwrap();
    let done =
        client.enqueue(&mail()).key("k").headers(serde_json::json!({"a": 1})).within_sqlx(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(client.enqueue(&mail()).key("k").await.unwrap(), Enqueued::Duplicate(done.id()));

    let url = database.url();
    let lost = Arc::new(AtomicBool::new(false));
    let worker = Running::start(Worker::new(&client).queue("mail", 1).on(move |_: SendEmail, run: Run| {
        let url = url.clone();
        let lost = lost.clone();
        async move {
            let mut connection = sqlx::PgConnection::connect(&url).await?;
            let mut tx = connection.begin().await?;
            run.complete_in_sqlx(&mut tx, &7).await?;
            let again = run.complete_in_sqlx(&mut tx, &8).await;
            assert!(matches!(again, Err(Error::LeaseLost)), "{again:?}");
            lost.store(true, Ordering::SeqCst);
            // The refusal has spoilt the transaction; once more without it.
            tx.rollback().await?;
            let mut tx = connection.begin().await?;
            run.complete_in_sqlx(&mut tx, &9).await?;
            tx.commit().await?;
            Ok(())
        }
    }));
    assert_eq!(wait_for(&client, done.id(), State::Succeeded).await.result.unwrap().get(), "9");
    worker.stop().await;
}

#[cfg(feature = "diesel")]
#[tokio::test]
async fn diesel_transactions_enqueue() {
    use diesel_async::{AsyncConnection, AsyncPgConnection};
    let database = database();
    let client = client(&database);
    let mut connection = AsyncPgConnection::establish(&database.url()).await.unwrap();
    let in_transaction = client.clone();
    let done = connection
        .transaction::<_, faultline::Error, _>(async |connection| {
            in_transaction.enqueue(&mail()).key("k").within_diesel(connection).await
        })
        .await
        .unwrap();
    assert_eq!(client.enqueue(&mail()).key("k").await.unwrap(), Enqueued::Duplicate(done.id()));
}
