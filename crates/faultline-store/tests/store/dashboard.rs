//! What the pages read is what happened.

use crate::common::{
    Db, EXPIRED, LONG, QUEUE, count, end, facts_of, fail, job, keyed, put, put_many, running, take, take_for, worker,
};
use faultline_core::{JobId, State};
use faultline_store::dashboard::queues::{Precision, queues};
use faultline_store::dashboard::{job as story, workers};
use faultline_store::operate::{Retry, pause, retry};
use faultline_store::presence::register;
use faultline_store::read::COUNT_LIMIT;
use std::time::Duration;

#[tokio::test]
async fn a_queue_is_told_by_state_with_its_oldest_due_job_its_pause_and_its_workers() {
    let db = Db::migrated();
    let session = db.session().await;
    let someone = worker();
    register(&session, &facts_of(someone), false).await.unwrap();
    put_many(&session, 5).await;
    take_for(&session, someone, 2, LONG).await;
    let mut later = job();
    later.start = faultline_core::Start::After(Duration::from_secs(3600));
    put(&session, &later).await;
    let failed = take(&session, 1, LONG).await.remove(0);
    let again = faultline_store::finish::Ending::Fail { error: "boom".into(), delay: Duration::from_secs(60) };
    end(&session, &failed, again).await;
    pause(&session, "me", QUEUE, Some("because")).await.unwrap();
    let seen = queues(&session, None, 10).await.unwrap();
    assert_eq!(seen.known, 1);
    let q = &seen.queues[0];
    let numbers = [q.due, q.scheduled, q.retrying, q.running];
    assert!(numbers.iter().all(|count| count.precision == Precision::Exact), "{numbers:?}");
    assert_eq!(numbers.map(|count| count.jobs), [2, 1, 1, 2]);
    assert_eq!((q.workers, q.slots, q.paused_reason.as_deref()), (1, 10, Some("because")));
    let oldest: Option<jiff::Timestamp> =
        crate::common::value(&session, "select min(next_run_at) from faultline.jobs where state = 'queued'", &[]).await;
    assert_eq!(q.oldest_due_at, oldest);
    assert_eq!(seen.totals(), numbers);
}

#[tokio::test]
async fn a_long_queue_is_counted_as_far_as_the_bound_and_estimated_once_there_are_statistics() {
    let db = Db::migrated();
    let session = db.session().await;
    let many = "insert into faultline.jobs (id, queue, kind, payload, priority, created_at, next_run_at, max_attempts,
                    timeout_ms, backoff_base_ms, backoff_cap_ms)
                select gen_random_uuid(), 'q', 'k', '{}', 2, now(), now() - interval '1 h', 20, 1000, 1000, 1000
                  from generate_series(1, 30000)";
    session.batch_execute("alter table faultline.jobs set (autovacuum_enabled = false)").await.unwrap();
    session.batch_execute(many).await.unwrap();
    let seen = queues(&session, None, 0).await.unwrap();
    let due = seen.queues[0].due;
    assert_eq!(due.precision, Precision::AtLeast);
    assert!((100..COUNT_LIMIT).contains(&due.jobs), "{due:?}");
    session.batch_execute("analyze faultline.jobs").await.unwrap();
    let due = queues(&session, Some(QUEUE), 0).await.unwrap().queues[0].due;
    assert_eq!(due.precision, Precision::About);
    assert!((29_000..=31_000).contains(&due.jobs), "{due:?}");
}

#[tokio::test]
async fn what_runs_is_told_with_its_worker_and_what_is_left_of_its_lease() {
    let db = Db::migrated();
    let session = db.session().await;
    put_many(&session, 3).await;
    let (alive, dead) = (worker(), worker());
    let held = take_for(&session, alive, 1, LONG).await.remove(0);
    let lost = take_for(&session, dead, 1, EXPIRED).await.remove(0);
    let mut seen = workers::running(&session, None, 10).await.unwrap();
    seen.sort_by_key(|job| job.id != held.id);
    assert_eq!(seen.iter().map(|job| (job.id, job.worker)).collect::<Vec<_>>(), [(held.id, alive), (lost.id, dead)]);
    assert!(seen[0].lease_left_ms > 0 && seen[1].lease_left_ms <= 0, "{seen:?}");
}

#[tokio::test]
async fn a_story_has_the_attempts_the_lease_the_reasons_and_the_retries_both_ways() {
    let db = Db::migrated();
    let session = db.session().await;
    let first = running(&session, &keyed("a"), LONG).await;
    end(&session, &first, fail()).await;
    let again = take(&session, 1, LONG).await.remove(0);
    let told = story::story(&session, first.id).await.unwrap().unwrap();
    assert_eq!(told.attempts.iter().map(|a| (a.attempt, a.lease_id)).collect::<Vec<_>>(), [(1, first.lease_id)]);
    assert_eq!(told.job.lease.map(|lease| lease.id), Some(again.lease_id));
    assert!(told.explanation.is_some() && told.relatives.is_empty());
    let fatal = faultline_store::finish::Ending::FailForGood { error: "no".into(), reason: "fatal" };
    end(&session, &again, fatal).await;
    let mut ids = vec![first.id];
    for _ in 0..2 {
        let last = *ids.last().unwrap();
        let successor = JobId::new(1_700_000_000_000, &mut rand::rng());
        let answer = retry(&session, "me", last, successor).await.unwrap();
        assert_eq!(answer, Retry::Successor { id: successor, created: true });
        let claimed = take(&session, 1, LONG).await.remove(0);
        end(&session, &claimed, crate::common::complete()).await;
        ids.push(successor);
    }
    for (at, id) in ids.iter().enumerate() {
        let told = story::story(&session, *id).await.unwrap().unwrap();
        let around: Vec<(JobId, i32)> = told.relatives.iter().map(|other| (other.id, other.step)).collect();
        let expected: Vec<(JobId, i32)> = (0..3)
            .filter(|n| *n != at)
            .map(|n| (ids[n], i32::try_from(n).unwrap() - i32::try_from(at).unwrap()))
            .collect();
        assert_eq!(around, expected);
        assert!(told.explanation.is_none());
    }
    assert_eq!(told_state(&session, ids[0]).await, State::Failed);
    assert_eq!(count(&session, "faultline.job_history").await, 3);
    let nobody = JobId::new(1, &mut rand::rng());
    assert!(story::story(&session, nobody).await.unwrap().is_none());
}

async fn told_state(session: &faultline_store::Session, id: JobId) -> State {
    story::story(session, id).await.unwrap().unwrap().job.state
}
