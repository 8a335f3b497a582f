//! Idempotency keys: at most one job per queue and key within the key's window, whoever asks, however often.

use crate::common::{Db, LONG, Start, complete, count, end, job, json, keyed, put, returned_or_blocked, take, value};
use faultline_core::{Backoff, NewJob, Start as When};
use faultline_store::enqueue::{Enqueued, enqueue, enqueue_in};
use faultline_store::operate::Retry;
use futures_util::future::join_all;
use std::time::Duration;
use tokio_postgres::Client;

#[tokio::test]
async fn of_fifty_clients_with_one_key_one_creates_the_job_and_all_are_told_its_id() {
    let db = Db::migrated();
    let sessions = join_all((0..50).map(|_| db.session())).await;
    let jobs: Vec<NewJob> = (0..50).map(|_| keyed("order-1")).collect();
    let calls = sessions.iter().zip(&jobs).map(|(session, job)| put(session, job));
    let answers = join_all(calls).await;
    let created: Vec<_> = answers.iter().filter(|answer| matches!(answer, Enqueued::Created(_))).collect();
    assert_eq!(created.len(), 1, "{answers:?}");
    let id = created[0].id();
    assert!(answers.iter().all(|answer| *answer == Enqueued::Created(id) || *answer == Enqueued::Duplicate(id)));
    assert_eq!(count(&sessions[0], "faultline.jobs").await, 1);
    assert_eq!(value::<i32>(&sessions[0], "select hits from faultline.idempotency_keys", &[]).await, 49);
}

#[tokio::test]
async fn a_key_with_another_request_is_a_conflict_that_changes_nothing() {
    let db = Db::migrated();
    let session = db.session().await;
    let first = keyed("a");
    put(&session, &first).await;
    let changes: [fn(&mut NewJob); 9] = [
        |job| job.kind = "other".into(),
        |job| job.payload = json("[]"),
        |job| job.priority = 1,
        |job| job.start = When::After(Duration::from_secs(1)),
        |job| job.start = When::At("2030-01-01T00:00:00Z".parse().unwrap()),
        |job| job.max_attempts = 7,
        |job| job.timeout = Duration::from_secs(7),
        |job| job.backoff = Backoff { base_ms: 7, ..job.backoff },
        |job| job.backoff = Backoff { cap_ms: 7, ..job.backoff },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut other = keyed("a");
        change(&mut other);
        assert_eq!(put(&session, &other).await, Enqueued::Conflict(first.id), "change {number}");
    }
    assert_eq!(count(&session, "faultline.jobs").await, 1);
    assert_eq!(put(&session, &keyed("a")).await, Enqueued::Duplicate(first.id), "the request itself still fits");
}

#[tokio::test]
async fn headers_and_the_keys_window_do_not_make_another_request() {
    let db = Db::migrated();
    let session = db.session().await;
    let first = keyed("a");
    put(&session, &first).await;
    let again = NewJob { headers: Some(json(r#"{"trace":"2"}"#)), key_ttl: Duration::from_secs(5), ..keyed("a") };
    assert_eq!(put(&session, &again).await, Enqueued::Duplicate(first.id));
}

#[tokio::test]
async fn a_payload_written_differently_is_the_same_request() {
    let db = Db::migrated();
    let session = db.session().await;
    let first = NewJob { payload: json(r#"{"a":1,"b":[1.50,null]}"#), ..keyed("a") };
    put(&session, &first).await;
    let again = NewJob { payload: json("{ \"b\" : [1.50, null],\n \"a\" : 1 }"), ..keyed("a") };
    assert_eq!(put(&session, &again).await, Enqueued::Duplicate(first.id));
}

#[tokio::test]
async fn the_same_key_in_another_queue_is_another_key() {
    let db = Db::migrated();
    let session = db.session().await;
    put(&session, &keyed("a")).await;
    let other = NewJob { queue: "other".into(), ..keyed("a") };
    assert_eq!(put(&session, &other).await, Enqueued::Created(other.id));
}

#[tokio::test]
async fn a_key_stays_taken_after_its_job_has_ended() {
    let db = Db::migrated();
    let session = db.session().await;
    let first = keyed("a");
    let claimed = crate::common::running(&session, &first, LONG).await;
    end(&session, &claimed, complete()).await;
    assert_eq!(put(&session, &keyed("a")).await, Enqueued::Duplicate(first.id));
    assert!(take(&session, 1, LONG).await.is_empty());
}

async fn end_windows(client: &Client) {
    client.batch_execute("update faultline.idempotency_keys set expires_at = now() - interval '1 ms'").await.unwrap();
}

#[tokio::test]
async fn a_key_whose_window_has_ended_opens_for_one_of_many_and_for_any_request() {
    let db = Db::migrated();
    let sessions = join_all((0..8).map(|_| db.session())).await;
    let old = keyed("a");
    put(&sessions[0], &old).await;
    end_windows(&sessions[0]).await;
    let jobs: Vec<NewJob> = (0..8).map(|_| NewJob { kind: "other".into(), ..keyed("a") }).collect();
    let answers = join_all(sessions.iter().zip(&jobs).map(|(session, job)| put(session, job))).await;
    let created: Vec<_> = answers.iter().filter(|answer| matches!(answer, Enqueued::Created(_))).collect();
    assert_eq!(created.len(), 1, "{answers:?}");
    let id = created[0].id();
    assert!(id != old.id && answers.iter().all(|answer| answer.id() == id));
    assert_eq!(put(&sessions[0], &keyed("a")).await, Enqueued::Conflict(id), "the old request is another one now");
}

#[tokio::test]
async fn a_key_in_a_transaction_that_rolls_back_leaves_nothing_and_lets_the_next_in() {
    let db = Db::migrated();
    let (mut first, second, observer) = (db.plain().await, db.session().await, db.session().await);
    let (refused, accepted) = (keyed("a"), keyed("a"));
    let transaction = first.transaction().await.unwrap();
    let answer = enqueue_in(&transaction, std::slice::from_ref(&refused)).await.unwrap();
    assert_eq!(answer, [Enqueued::Created(refused.id)]);
    let mut call = Box::pin(put(&second, &accepted));
    let Start::Blocked = returned_or_blocked(&observer, &mut call).await else {
        panic!("a key that may still be rolled back was answered")
    };
    transaction.rollback().await.unwrap();
    assert_eq!(call.await, Enqueued::Created(accepted.id));
    assert_eq!(count(&observer, "faultline.jobs").await, 1);
    assert_eq!(count(&observer, "faultline.idempotency_keys").await, 1);
}

#[tokio::test]
async fn duplicates_inside_one_batch_are_one_job_and_a_conflict_among_them_is_told() {
    let db = Db::migrated();
    let session = db.session().await;
    let other = NewJob { kind: "other".into(), ..keyed("a") };
    let batch = [keyed("a"), job(), keyed("a"), other, keyed("b")];
    let answers = enqueue(&session, &batch).await.unwrap();
    let first = batch[0].id;
    let expected = [
        Enqueued::Created(first),
        Enqueued::Created(batch[1].id),
        Enqueued::Duplicate(first),
        Enqueued::Conflict(first),
        Enqueued::Created(batch[4].id),
    ];
    assert_eq!(answers, expected);
    assert_eq!(count(&session, "faultline.jobs").await, 3);
}

#[tokio::test]
async fn batches_with_the_same_keys_in_any_order_do_not_deadlock() {
    let db = Db::migrated();
    let sessions = join_all((0..8).map(|_| db.session())).await;
    let batches: Vec<Vec<NewJob>> = (0..8)
        .map(|n: usize| {
            let mut batch: Vec<NewJob> = (0..200).map(|key| keyed(&format!("key-{key}"))).collect();
            batch.rotate_left(n * 25);
            if n % 2 == 1 {
                batch.reverse();
            }
            batch
        })
        .collect();
    let calls = sessions.iter().zip(&batches).map(|(session, batch)| enqueue(session, batch));
    let answers: Vec<Enqueued> = join_all(calls).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Enqueued::Created(_))).count(), 200);
    assert_eq!(count(&sessions[0], "faultline.jobs").await, 200);
}

#[tokio::test]
async fn ten_thousand_keyed_jobs_in_one_batch_take_no_quadratic_time() {
    let db = Db::migrated();
    let session = db.session().await;
    session.batch_execute("set statement_timeout = '10s'").await.unwrap();
    let batch: Vec<NewJob> = (0..faultline_core::limits::MAX_BATCH).map(|key| keyed(&key.to_string())).collect();
    let answers = enqueue(&session, &batch).await.unwrap();
    assert!(answers.iter().zip(&batch).all(|(answer, job)| *answer == Enqueued::Created(job.id)));
}

#[tokio::test]
async fn sql_and_the_library_agree_on_what_the_same_request_is() {
    let db = Db::migrated();
    let session = db.session().await;
    let run_at = "2031-02-03T04:05:06.789Z";
    let mut requests = vec![(keyed("plain"), "select faultline.enqueue('k', '{}', 'q', 'plain')".to_owned())];
    let full = NewJob {
        kind: "mail".into(),
        payload: json(r#"{"ü": [1, 2.50, 1e3, null, "\u00e9"], "a": {}}"#),
        headers: Some(json("{}")),
        priority: 4,
        max_attempts: 3,
        timeout: Duration::from_millis(1500),
        backoff: Backoff { base_ms: 250, cap_ms: 90_000 },
        ..keyed("full")
    };
    let sql =
        "select faultline.enqueue('mail', '{\"a\":{},\"ü\":[1,2.50,1000,null,\"é\"]}', queue => 'q', key => 'WHICH',
                   priority => 4, max_attempts => 3, timeout => '1.5 seconds', backoff_base => '250 ms',
                   backoff_cap => '1 minute 30 seconds', headers => '{\"other\": 1}', WHEN)";
    let when = |which: &str, when: &str| sql.replace("WHICH", which).replace("WHEN", when);
    requests.push((full.clone(), when("full", "key_ttl => '1 hour'")));
    let delayed = NewJob { start: When::After(Duration::from_secs(90)), key: Some("delay".into()), ..full.clone() };
    requests.push((delayed, when("delay", "delay => '90 seconds'")));
    let at = NewJob { start: When::At(run_at.parse().unwrap()), key: Some("at".into()), ..full };
    requests.push((at, when("at", "run_at => '2031-02-03 05:05:06.789+01'")));
    for (new, sql) in requests {
        let new = NewJob { id: job().id, ..new };
        assert_eq!(put(&session, &new).await, Enqueued::Created(new.id), "{sql}");
        let id: uuid::Uuid = value(&session, &sql, &[]).await;
        assert_eq!(id, new.id.0, "{sql}");
    }
    // And the other way round.
    let id: uuid::Uuid = value(&session, "select faultline.enqueue('k', '[1]', 'q', 'sql first')", &[]).await;
    let again = NewJob { payload: json("[1]"), ..keyed("sql first") };
    assert_eq!(put(&session, &again).await.id().0, id);
    assert!(matches!(put(&session, &keyed("sql first")).await, Enqueued::Conflict(_)));
}

#[tokio::test]
async fn a_key_that_was_asked_for_two_billion_times_is_still_answered() {
    let db = Db::migrated();
    let session = db.session().await;
    let first = keyed("a");
    let claimed = crate::common::running(&session, &first, LONG).await;
    end(&session, &claimed, complete()).await;
    let asked =
        async || session.batch_execute("update faultline.idempotency_keys set hits = 2147483647").await.unwrap();
    asked().await;
    assert_eq!(put(&session, &keyed("a")).await, Enqueued::Duplicate(first.id));
    let retry = async || faultline_store::operate::retry(&session, "test", first.id, job().id).await.unwrap();
    let successor = retry().await;
    asked().await;
    assert!(matches!((successor, retry().await), (
        Retry::Successor { id, created: true },
        Retry::Successor { id: again, created: false },
    ) if id == again));
}

#[tokio::test]
async fn sql_answers_a_conflict_with_its_own_sqlstate_and_the_id_of_the_job() {
    let db = Db::migrated();
    let session = db.session().await;
    let first = keyed("a");
    put(&session, &first).await;
    for sql in [
        "select faultline.enqueue('other', queue => 'q', key => 'a')",
        r#"select * from faultline.enqueue_many('[{"kind": "other", "queue": "q", "key": "a"}]')"#,
    ] {
        let error = session.query(sql, &[]).await.unwrap_err();
        let db_error = error.as_db_error().unwrap();
        assert_eq!((db_error.code().code(), db_error.column()), (faultline_store::KEY_CONFLICT, Some("key")));
        assert_eq!(db_error.detail(), Some(first.id.to_string().as_str()));
    }
}
