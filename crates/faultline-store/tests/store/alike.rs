//! The short way in, for batches whose jobs differ in id, payload and headers only, writes what the long one writes.

use crate::common::{Db, QUEUE, count, job, json, value};
use faultline_core::{Backoff, NewJob, Start};
use faultline_store::Error;
use faultline_store::enqueue::{Enqueued, enqueue, enqueue_in};
use std::time::Duration;

/// All columns but the id and the moment; of the moments what is relative to it.
const STORED: &str = "select string_agg(concat_ws(' ', to_jsonb(j) - '{id,created_at,next_run_at,tie}'::text[],
    j.next_run_at - j.created_at, j.tie is not null), e'\\n' order by j.payload) from faultline.jobs j";

/// Three jobs that are alike, with every value that can be set.
fn alike() -> Vec<NewJob> {
    let headers = [Some(r#"{"tag": "x"}"#), None, Some("{}")];
    let each = (0..).zip(headers).map(|(number, headers)| NewJob {
        payload: json(&format!("{{\"n\": {number}}}")),
        headers: headers.map(json),
        kind: "k:v2".into(),
        queue: QUEUE.into(),
        priority: 4,
        start: Start::After(Duration::from_millis(90_500)),
        max_attempts: 7,
        timeout: Duration::from_secs(77),
        backoff: Backoff { base_ms: 11, cap_ms: 1234 },
        ..job()
    });
    each.collect()
}

#[tokio::test]
async fn jobs_that_are_alike_are_stored_as_others_are() {
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let whole = at.round(jiff::Unit::Second).unwrap();
    let times = [Start::After(Duration::from_millis(90_500)), Start::After(Duration::ZERO), Start::At(whole)];
    for (start, has_headers) in times.into_iter().flat_map(|start| [(start, true), (start, false)]) {
        let stored_with = async |odd_one_out: bool| {
            let db = Db::migrated();
            let session = db.session().await;
            let mut jobs = alike();
            for job in &mut jobs {
                job.start = start;
                job.headers = job.headers.take().filter(|_| has_headers);
            }
            if odd_one_out {
                jobs.push(NewJob { kind: "other".into(), payload: json("\"last\""), ..job() });
            }
            let answers = enqueue(&session, &jobs).await.unwrap();
            assert_eq!(answers, jobs.iter().map(|job| Enqueued::Created(job.id)).collect::<Vec<_>>());
            session.batch_execute("delete from faultline.jobs where kind = 'other'").await.unwrap();
            if matches!(start, Start::At(_)) {
                let due: bool =
                    value(&session, "select bool_and(next_run_at = $1) from faultline.jobs", &[&whole]).await;
                assert!(due);
                session.batch_execute("update faultline.jobs set next_run_at = created_at").await.unwrap();
            }
            value::<String>(&session, STORED, &[]).await
        };
        assert_eq!(stored_with(false).await, stored_with(true).await, "{start:?}, headers: {has_headers}");
    }
}

#[tokio::test]
async fn jobs_that_are_alike_keep_their_order() {
    let db = Db::migrated();
    let session = db.session().await;
    let jobs: Vec<NewJob> = (0..1000).map(|number| NewJob { payload: json(&number.to_string()), ..job() }).collect();
    enqueue(&session, &jobs).await.unwrap();
    let in_order = "select bool_and(next_run_at >= before) and count(distinct next_run_at) > 1
         from (select next_run_at, lag(next_run_at, 1, '-infinity') over (order by payload::int) as before
                 from faultline.jobs) j";
    assert!(value::<bool>(&session, in_order, &[]).await);
}

#[tokio::test]
async fn a_batch_of_jobs_that_are_alike_is_created_whole_or_not_at_all() {
    let db = Db::migrated();
    let session = db.session().await;
    let jobs = alike();
    enqueue(&session, &jobs[..1]).await.unwrap();
    let again = enqueue(&session, &jobs).await;
    assert!(matches!(&again, Err(Error::Refused { code, .. }) if code == "23505"), "{again:?}");
    assert_eq!(count(&session, "faultline.jobs").await, 1);
    let bad = [alike(), vec![NewJob { payload: json("1e999"), ..alike().remove(0) }]].concat();
    assert!(matches!(enqueue(&session, &bad).await, Err(Error::Invalid(_))));
    assert_eq!(count(&session, "faultline.jobs").await, 1);
    let mut own = db.plain().await;
    let transaction = own.transaction().await.unwrap();
    let two = alike();
    assert_eq!(enqueue_in(&transaction, &two).await.unwrap()[2], Enqueued::Created(two[2].id));
    transaction.rollback().await.unwrap();
    assert_eq!(count(&session, "faultline.jobs").await, 1);
}
