//! What is shown over time is what happened.

mod common;

use common::{DEADLINE, client, database, plain};
use faultline::{Failure, JobId, Rollups, Run, Worker};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Every handler that ended is there once the worker has stopped, whatever became of its job.
#[tokio::test]
async fn a_worker_that_has_stopped_has_reported_all_that_its_handlers_did() {
    let database = database();
    let client = client(&database);
    let job =
        |n: usize| client.enqueue_raw("k", json!({ "n": n })).queue(format!("q{}", n % 2)).into_new_job().unwrap();
    client.enqueue_all(&(0..60).map(job).collect::<Vec<_>>()).await.unwrap();
    let ended = Arc::new(AtomicUsize::new(0));
    let stop = CancellationToken::new();
    let (counted, enough) = (ended.clone(), stop.clone());
    let worker = Worker::new(&client).queue("q0", 4).queue("q1", 4).on_any(
        move |payload: Box<serde_json::value::RawValue>, run: Run| {
            let (counted, enough) = (counted.clone(), enough.clone());
            async move {
                let payload: Value = serde_json::from_str(payload.get())?;
                let n = payload["n"].as_u64().unwrap_or_default();
                if run.attempt() == 1 && n.is_multiple_of(10) {
                    return Err(Failure::retry_in(Duration::ZERO, "once more"));
                }
                if counted.fetch_add(1, Ordering::SeqCst) + 1 == 60 {
                    enough.cancel();
                }
                if n % 10 == 1 { Err(Failure::fatal("no")) } else { Ok(()) }
            }
        },
    );
    let summary = tokio::time::timeout(DEADLINE, worker.run_until(stop.cancelled_owned())).await.unwrap().unwrap();
    assert_eq!((summary.succeeded, summary.failed, summary.retried), (54, 6, 6));
    let session = plain(&database.url()).await;
    let sql = "select queue, sum(succeeded)::bigint,
                      (select sum(n) from faultline.rollups s, unnest(s.start_latency) n where s.queue = r.queue and s.width_s = 60)::bigint,
                      (select sum(n) from faultline.rollups s, unnest(s.execution) n where s.queue = r.queue and s.width_s = 600)::bigint
                 from faultline.rollups r where width_s = 10 group by queue order by queue";
    let told: Vec<(String, i64, i64, i64)> = session
        .query(sql, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect();
    // Even numbers are in q0, and those that are tried twice are even.
    assert_eq!(told, [("".into(), 54, 60, 66), ("q0".into(), 30, 30, 36), ("q1".into(), 24, 30, 30)]);
}

#[tokio::test]
async fn spans_are_counted_once_they_have_settled() {
    let database = database();
    let client = client(&database);
    let session = plain(&database.url()).await;
    session
        .batch_execute("update faultline.rollup_state set counted_to = counted_to - interval '1 minute'")
        .await
        .unwrap();
    let half_a_minute_ago: i64 = session
        .query_one("select (extract(epoch from clock_timestamp()) * 1000)::bigint - 30000", &[])
        .await
        .unwrap()
        .get(0);
    let mut job = client.enqueue_raw("k", json!({})).queue("q").into_new_job().unwrap();
    job.id = JobId::new(half_a_minute_ago.unsigned_abs(), &mut rand::rng());
    client.enqueue_all(&[job]).await.unwrap();
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(Rollups::new(&client).run_until(stop));
    let counting = async {
        let sql = "select count(*) from faultline.rollups where queue = 'q' and width_s = 10 and enqueued = 1";
        while session.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) != 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, counting).await.unwrap();
}
