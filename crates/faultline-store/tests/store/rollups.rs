//! Counts over time are those of what happened.

use crate::common::{
    DEADLINE, Db, EXPIRED, LONG, LOOK_AT, QUEUE, complete, count, end, fail, job, json, put, release, take, take_for,
    value, worker,
};
use faultline_core::{JobId, NewJob};
use faultline_store::dashboard::series::{ALL_QUEUES, Events, by_queue, reach, series};
use faultline_store::finish::Ending;
use faultline_store::operate::cancel;
use faultline_store::reap::reap;
use faultline_store::rollup::{Turn, Work, count_next_after, prune, report};
use faultline_store::{ClientWrapper, Session};
use jiff::Timestamp;
use std::time::Duration;
use tokio_postgres::Client;
use uuid::Uuid;

/// A job with an id of this very moment.
fn fresh(queue: &str) -> NewJob {
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap();
    let mut job = NewJob::new(JobId::new(now, &mut rand::rng()), "k", json("{}"));
    job.queue = queue.into();
    job
}

pub(crate) async fn now(client: &Client) -> Timestamp {
    value(client, "select clock_timestamp()", &[]).await
}

/// Sets the counting back to begin whole spans before now, and not after `start`; answers now.
async fn set_back(session: &Client, start: Timestamp) -> Timestamp {
    let back = "update faultline.rollup_state set boundary = null, counted_to = clock_timestamp()
                - ceil(extract(epoch from clock_timestamp() - $1) / 10 + 0.01) * interval '10 seconds' returning clock_timestamp()";
    value(session, back, &[&start]).await
}

/// Counts until everything before `end` is.
async fn count_to(db: &Db, end: Timestamp) {
    let session = db.session().await;
    let counting = async {
        while reach(&session).await.unwrap().counted_to < end {
            let turn = db.store.run(async |client| count_next_after(client, Duration::ZERO).await).await.unwrap();
            if turn != Turn::Counted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    tokio::time::timeout(DEADLINE * 2, counting).await.unwrap();
}

/// Counts everything from `start` to this moment.
pub(crate) async fn count_since(db: &Db, start: Timestamp) {
    let end = set_back(&db.plain().await, start).await;
    count_to(db, end - jiff::SignedDuration::from_millis(1)).await;
}

/// What the rollups of a width say in all of a queue.
async fn sum(client: &Client, queue: &str, width_s: i32) -> Events {
    let sql = "select coalesce(sum(enqueued), 0)::bigint, coalesce(sum(succeeded), 0)::bigint, coalesce(sum(failed), 0)::bigint,
                      coalesce(sum(cancelled), 0)::bigint, coalesce(sum(retried), 0)::bigint, coalesce(sum(lost), 0)::bigint,
                      coalesce(sum(put_back), 0)::bigint
                 from faultline.rollups where queue = $1 and width_s = $2";
    let row = client.query_one(sql, &[&queue, &width_s]).await.unwrap();
    let [enqueued, succeeded, failed, cancelled, retried, lost, put_back] = std::array::from_fn(|at| row.get(at));
    Events { enqueued, succeeded, failed, cancelled, retried, lost, put_back }
}

async fn one(session: &ClientWrapper, ending: Ending) {
    let claimed = take(session, 1, LONG).await.remove(0);
    end(session, &claimed, ending).await;
}

#[tokio::test]
async fn what_was_enqueued_and_what_ended_badly_is_counted_from_the_rows() {
    let db = Db::migrated();
    let session = db.session().await;
    let start = now(&session).await;
    for _ in 0..7 {
        put(&session, &fresh(QUEUE)).await;
    }
    put(&session, &fresh("other")).await;
    one(&session, complete()).await;
    one(&session, fail()).await;
    one(&session, release()).await;
    one(&session, Ending::FailForGood { error: "no".into(), reason: "fatal" }).await;
    let lost = worker();
    take_for(&session, lost, 1, EXPIRED).await;
    assert_eq!(reap(&session, &[QUEUE.into()], &[lost], LOOK_AT).await.unwrap().len(), 1);
    let waiting: Uuid = value(&session, "select id from faultline.jobs where queue = 'other'", &[]).await;
    cancel(&session, "me", JobId(waiting)).await.unwrap();
    count_since(&db, start).await;
    let in_queue = Events { enqueued: 7, failed: 1, retried: 1, lost: 1, put_back: 1, ..Events::default() };
    let elsewhere = Events { enqueued: 1, cancelled: 1, ..Events::default() };
    for width_s in [10, 60, 600] {
        assert_eq!(sum(&session, QUEUE, width_s).await, in_queue, "{width_s}");
        assert_eq!(sum(&session, "other", width_s).await, elsewhere, "{width_s}");
        assert_eq!(sum(&session, ALL_QUEUES, width_s).await, in_queue.plus(elsewhere), "{width_s}");
    }
    let told = series(&session, QUEUE, 10).await.unwrap();
    let drawn = told.points.iter().fold(Events::default(), |sum, point| sum.plus(point.events));
    assert_eq!(drawn, in_queue);
    assert!(told.reach.counted_to >= start && told.reach.counted_to <= told.reach.now);
    let queues = by_queue(&session, 10).await.unwrap();
    assert_eq!(
        queues.iter().map(|one| (one.queue.as_str(), one.events)).collect::<Vec<_>>(),
        [(QUEUE, in_queue), ("other", elsewhere)]
    );
}

#[tokio::test]
async fn eight_processes_that_count_at_once_count_once() {
    let db = Db::migrated();
    let session = db.session().await;
    let start = now(&session).await;
    for _ in 0..50 {
        put(&session, &fresh(QUEUE)).await;
    }
    let end = set_back(&session, start).await - jiff::SignedDuration::from_millis(1);
    futures_util::future::join_all((0..8).map(|_| count_to(&db, end))).await;
    assert_eq!(sum(&session, QUEUE, 60).await.enqueued, 50);
}

#[tokio::test]
async fn a_transaction_that_is_late_is_waited_for() {
    let db = Db::migrated();
    let session = db.session().await;
    let mut late = db.plain().await;
    let start = now(&session).await;
    let transaction = late.transaction().await.unwrap();
    transaction.batch_execute("select faultline.enqueue('k', queue => 'q')").await.unwrap();
    let mut counting = Box::pin(count_since(&db, start));
    // The counting looks every few milliseconds; it must not get past the open transaction.
    let looks = tokio::time::timeout(Duration::from_millis(300), &mut counting).await;
    assert!(looks.is_err(), "it did not wait");
    assert_eq!(sum(&session, QUEUE, 10).await, Events::default());
    transaction.commit().await.unwrap();
    counting.await;
    assert_eq!(sum(&session, QUEUE, 10).await.enqueued, 1);
}

#[tokio::test]
async fn more_than_can_be_read_one_by_one_is_estimated() {
    let db = Db::migrated();
    let session = db.session().await;
    let many = "insert into faultline.jobs (id, queue, kind, payload, priority, created_at, next_run_at, max_attempts,
                    timeout_ms, backoff_base_ms, backoff_cap_ms)
                select (left(faultline.uuid_at($1::timestamptz + n * interval '100 microseconds')::text, 13) || right(gen_random_uuid()::text, 23))::uuid,
                       'q', 'k', '{}', 2, now(), now(), 20, 1000, 1000, 1000
                  from generate_series(0, 99999) n";
    let start = now(&session).await - jiff::SignedDuration::from_secs(20);
    session.execute(many, &[&start]).await.unwrap();
    count_since(&db, start).await;
    let counted = sum(&session, QUEUE, 600).await.enqueued;
    // The slices at both ends are taken to go on beyond what is there: 2,000 each at most.
    assert!((95_000..=105_000).contains(&counted), "{counted}");
}

fn work(queue: &str, succeeded: u64) -> Work {
    Work { queue: queue.into(), succeeded, start_latency: vec![succeeded, 0, 1], execution: vec![0, succeeded] }
}

#[tokio::test]
async fn a_report_counts_once_however_often_it_is_repeated() {
    let db = Db::migrated();
    let session = db.session().await;
    let (process, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let second = Duration::from_secs(1);
    for number in [1, 1, 2, 1, 2] {
        report(&session, process, number, second, &[work("a", 3), work("b", 10)]).await.unwrap();
    }
    report(&session, other, 1, second, &[work("a", 100)]).await.unwrap();
    report(&session, other, 2, second, &[]).await.unwrap();
    for width_s in [10, 60, 600] {
        assert_eq!(sum(&session, "a", width_s).await.succeeded, 106);
        assert_eq!(sum(&session, "b", width_s).await.succeeded, 20);
        assert_eq!(sum(&session, ALL_QUEUES, width_s).await.succeeded, 126);
    }
    let told = series(&session, "a", 10).await.unwrap();
    let mut latency = told.points[0].start_latency.clone();
    told.points[1..].iter().for_each(|point| latency.add(&point.start_latency));
    assert_eq!(latency.counts, [106, 0, 3]);
    let ran: i64 = told.points.iter().map(|point| point.execution.count()).sum();
    assert_eq!(ran, 106);
}

#[tokio::test]
async fn reports_of_many_processes_at_once_add_up() {
    let db = Db::migrated();
    let sessions = futures_util::future::join_all((0..8).map(|_| db.session())).await;
    let tell = async |session: &Session, process: u128| {
        for number in 1..=20 {
            let some = [work("a", 1), work("b", 2), work("c", 3)];
            report(session, Uuid::from_u128(process), number, Duration::from_secs(1), &some).await.unwrap();
        }
    };
    futures_util::future::join_all(sessions.iter().zip(1..).map(|(session, process)| tell(session, process))).await;
    assert_eq!(sum(&sessions[0], ALL_QUEUES, 600).await.succeeded, 8 * 20 * 6);
    assert_eq!(sum(&sessions[0], "c", 10).await.succeeded, 8 * 20 * 3);
}

#[tokio::test]
async fn what_is_too_fine_for_its_age_goes_and_the_rest_stays() {
    let db = Db::migrated();
    let session = db.session().await;
    let insert = "insert into faultline.rollups (at, width_s, queue)
                  select now() - hours * interval '1 hour', width_s, 'q'
                    from unnest(array[10, 60, 600]) width_s, unnest(array[1, 5, 100, 400]) hours;
                  insert into faultline.error_groups (fingerprint, first_seen, last_seen, occurrences, example_job, pattern, sample, kinds, queues)
                  select gen_random_uuid(), now(), now() - hours * interval '1 hour', 1, gen_random_uuid(), '', '', '{}', '{}'
                    from unnest(array[1, 400]) hours;
                  insert into faultline.error_counts (at, fingerprint)
                  select now() - hours * interval '1 hour', gen_random_uuid() from unnest(array[1, 400]) hours;
                  insert into faultline.rollup_reports values (gen_random_uuid(), 1, now() - interval '2 days')";
    session.batch_execute(insert).await.unwrap();
    assert_eq!(prune(&session).await.unwrap(), 3 + 2 + 1 + 1 + 1 + 1);
    assert_eq!(prune(&session).await.unwrap(), 0);
    let left: Vec<i64> = futures_util::future::join_all([10, 60, 600].map(async |width| {
        value(&session, "select count(*) from faultline.rollups where width_s = $1", &[&width]).await
    }))
    .await;
    assert_eq!(left, [1, 2, 3]);
    assert_eq!(count(&session, "faultline.error_groups").await, 1);
}

/// A job of the helpers has an id of long ago, which is counted with its time and not with ours.
#[tokio::test]
async fn nothing_is_counted_twice_when_there_is_nothing_new() {
    let db = Db::migrated();
    let session = db.session().await;
    put(&session, &job()).await;
    let start = now(&session).await;
    count_since(&db, start).await;
    assert_eq!(count(&session, "faultline.rollups").await, 0);
}
