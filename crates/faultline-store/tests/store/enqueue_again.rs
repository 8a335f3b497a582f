//! The second try of an enqueue whose answer was lost: it tells what is true, and never makes a second job.

use crate::common::{
    BACK, Db, LONG, Start, complete, count, end, facts, fail, job, keyed, put, returned_or_blocked, take,
};
use faultline_core::NewJob;
use faultline_store::enqueue::{Enqueued, enqueue, enqueue_again};

/// Both ways to be known again: by its own id, and by its key.
fn both() -> [NewJob; 2] {
    [job(), keyed("a")]
}

fn created(jobs: &[NewJob]) -> Vec<Enqueued> {
    jobs.iter().map(|job| Enqueued::Created(job.id)).collect()
}

async fn again(db: &Db, jobs: &[NewJob]) -> Vec<Enqueued> {
    db.store.run(async |client| enqueue_again(client, jobs).await).await.unwrap()
}

#[tokio::test]
async fn a_second_try_after_a_commit_answers_as_the_first_and_adds_nothing() {
    let db = Db::migrated();
    let session = db.session().await;
    let jobs = both();
    assert_eq!(enqueue(&session, &jobs).await.unwrap(), created(&jobs));
    for _ in 0..3 {
        assert_eq!(again(&db, &jobs).await, created(&jobs));
    }
    assert_eq!(count(&session, "faultline.jobs").await, 2);
}

#[tokio::test]
async fn a_second_try_after_nothing_was_committed_makes_the_jobs() {
    let db = Db::migrated();
    let session = db.session().await;
    let jobs = both();
    assert_eq!(again(&db, &jobs).await, created(&jobs));
    assert_eq!(count(&session, "faultline.jobs").await, 2);
}

#[tokio::test]
async fn a_second_try_knows_jobs_that_run_wait_for_a_retry_or_have_ended() {
    let db = Db::migrated();
    let session = db.session().await;
    let jobs: Vec<NewJob> = (0..3).map(|_| job()).chain((0..3).map(|n| keyed(&n.to_string()))).collect();
    enqueue(&session, &jobs).await.unwrap();
    for claimed in take(&session, 6, LONG).await {
        let ending = match jobs.iter().position(|job| job.id == claimed.id).unwrap() % 3 {
            0 => complete(),
            1 => fail(),
            _ => continue,
        };
        end(&session, &claimed, ending).await;
    }
    // And one that was never committed.
    let all: Vec<NewJob> = jobs.iter().cloned().chain([job()]).collect();
    assert_eq!(again(&db, &all).await, created(&all));
    let states: Vec<String> = futures_util::future::join_all(jobs.iter().map(|job| facts(&session, job.id)))
        .await
        .into_iter()
        .map(|facts| facts.state)
        .collect();
    assert_eq!(states, ["succeeded", "queued", "running", "succeeded", "queued", "running"]);
    assert_eq!(count(&session, "faultline.jobs").await, 5);
}

#[tokio::test]
async fn a_second_try_tells_a_key_that_another_request_has_taken() {
    let db = Db::migrated();
    let session = db.session().await;
    let (ours, theirs) = (keyed("a"), keyed("a"));
    put(&session, &theirs).await;
    let other = NewJob { kind: "other".into(), ..keyed("a") };
    let answer = again(&db, &[ours, other]).await;
    assert_eq!(answer, [Enqueued::Duplicate(theirs.id), Enqueued::Conflict(theirs.id)]);
}

#[tokio::test]
async fn a_second_try_waits_for_a_first_one_that_is_still_committing() {
    let db = Db::migrated();
    let (first, observer) = (db.session().await, db.session().await);
    for one in both() {
        for (ending, jobs_left) in [("commit", 1), ("rollback", 1)] {
            let new = NewJob { id: job().id, ..one.clone() };
            first.batch_execute("begin").await.unwrap();
            put(&first, &new).await;
            let jobs = [new];
            let mut call = Box::pin(again(&db, &jobs));
            let Start::Blocked = returned_or_blocked(&observer, &mut call).await else {
                panic!("answered before the first try was known")
            };
            first.batch_execute(ending).await.unwrap();
            assert_eq!(call.await, created(&jobs), "{ending}");
            assert_eq!(count(&observer, "faultline.jobs").await, jobs_left, "{ending}");
            observer.batch_execute("truncate faultline.jobs, faultline.idempotency_keys").await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_second_try_waits_for_a_finish_and_does_not_run_the_job_again() {
    let db = Db::migrated();
    let (first, observer) = (db.session().await, db.session().await);
    let jobs = [job()];
    let claimed = crate::common::running(&observer, &jobs[0], LONG).await;
    first.batch_execute("begin").await.unwrap();
    end(&first, &claimed, complete()).await;
    let mut call = Box::pin(again(&db, &jobs));
    let Start::Blocked = returned_or_blocked(&observer, &mut call).await else {
        panic!("answered while the job was neither here nor there")
    };
    first.batch_execute("commit").await.unwrap();
    assert_eq!(call.await, created(&jobs));
    assert_eq!(facts(&observer, jobs[0].id).await.state, "succeeded");
    assert_eq!(count(&observer, "faultline.jobs").await, 0);
}

#[tokio::test]
async fn a_second_try_under_stricter_defaults_of_the_database_still_sees_what_has_ended() {
    let db = Db::migrated();
    let name = db.database.name();
    let plain = db.plain().await;
    let strict = format!("alter database {name} set default_transaction_isolation = 'repeatable read'");
    plain.batch_execute(&strict).await.unwrap();
    let (first, observer) = (db.session().await, db.session().await);
    let jobs = [job()];
    let claimed = crate::common::running(&observer, &jobs[0], LONG).await;
    first.batch_execute("begin").await.unwrap();
    end(&first, &claimed, complete()).await;
    let mut call = Box::pin(again(&db, &jobs));
    assert!(matches!(returned_or_blocked(&observer, &mut call).await, Start::Blocked));
    first.batch_execute("commit").await.unwrap();
    assert_eq!(call.await, created(&jobs));
    assert_eq!(facts(&observer, jobs[0].id).await.state, "succeeded");
    // A claim that meets a row which has just changed goes around it instead of failing.
    let again = crate::common::running(&observer, &job(), LONG).await;
    assert_eq!(end(&observer, &again, fail()).await, BACK);
}
