//! Claims: each job to one worker, in order, none hidden - whatever the floors say, and whatever became of an answer.

use crate::common::{
    Db, EXPIRED, LONG, LOOK_AT, QUEUE, SUCCEEDED, complete, count, end, job, lease, put, put_many, reap, release, take,
    value, worker,
};
use faultline_core::{JobId, NewJob, Start};
use faultline_store::enqueue::enqueue;
use faultline_store::finish::{Ending, Finish, finish};
use faultline_store::lease::{ClaimedJob, Floors, claim, recover_claim, renew};
use faultline_store::operate::{pause, resume};
use faultline_store::reap::watch;
use faultline_store::{ClientWrapper, Plans, Session};
use futures_util::future::join_all;
use std::collections::HashSet;
use std::time::Duration;

/// What is committed late is left to a sweep.
const AT_ONCE: Duration = Duration::ZERO;

async fn take_from(client: &ClientWrapper, n: usize, floors: &Floors) -> Vec<ClaimedJob> {
    claim(client, QUEUE, lease(), worker(), LONG, n, floors).await.unwrap()
}

fn ids(claimed: &[ClaimedJob]) -> Vec<JobId> {
    claimed.iter().map(|job| job.id).collect()
}

/// Claims and finishes in batches from the floors, as a worker does, until a claim from the head finds nothing.
async fn drain(session: &Session, batch: usize) -> Vec<JobId> {
    let mut floors = Floors::head();
    let mut done = Vec::new();
    loop {
        let mut claimed = take_from(session, batch, &floors).await;
        let swept = claimed.is_empty();
        if swept {
            claimed = take_from(session, batch, &Floors::head()).await;
        }
        if claimed.is_empty() {
            return done;
        }
        floors.after(&claimed, swept && claimed.len() == batch, AT_ONCE);
        done.extend(ids(&claimed));
        let finishes: Vec<Finish> = claimed
            .iter()
            .map(|job| Finish { id: job.id, lease_id: job.lease_id, ending: Ending::Complete(None) })
            .collect();
        assert!(finish(session, QUEUE, &finishes).await.unwrap().iter().all(|answer| *answer == SUCCEEDED));
    }
}

#[tokio::test]
async fn concurrent_claimers_never_get_the_same_job_and_leave_none() {
    for claimers in [2, 8] {
        let db = Db::migrated();
        let sessions = join_all((0..claimers).map(|_| db.session_with(Plans::InOrder))).await;
        let enqueued: HashSet<JobId> = put_many(&sessions[0], 3000).await.into_iter().collect();
        let claimed: Vec<JobId> = join_all(sessions.iter().map(|session| drain(session, 37))).await.concat();
        assert_eq!(claimed.len(), 3000, "{claimers} claimers");
        assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), enqueued);
        assert_eq!(count(&sessions[0], "faultline.job_history where attempts = 1").await, 3000);
    }
}

#[tokio::test]
async fn a_claim_that_is_not_yet_committed_is_gone_around_and_free_again_after_a_rollback() {
    let db = Db::migrated();
    let (first, second) = (db.session().await, db.session().await);
    put_many(&first, 10).await;
    first.batch_execute("begin").await.unwrap();
    let held = ids(&take(&first, 5, LONG).await);
    let others = ids(&take(&second, 10, LONG).await);
    assert_eq!(others.len(), 5);
    assert!(held.iter().all(|id| !others.contains(id)));
    first.batch_execute("rollback").await.unwrap();
    assert_eq!(ids(&take(&second, 10, LONG).await), held);
}

#[tokio::test]
async fn jobs_come_by_priority_and_by_age_within_one() {
    let db = Db::migrated();
    let session = db.session_with(Plans::InOrder).await;
    let mut expected = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for priority in [3, 1, 4, 2, 1, 3, 2, 4] {
        let new = NewJob { priority, ..job() };
        put(&session, &new).await;
        expected[usize::try_from(priority).unwrap() - 1].push(new.id);
    }
    let expected = expected.concat();
    assert_eq!(ids(&take(&session, 3, LONG).await), expected[..3]);
    assert_eq!(ids(&take(&session, 100, LONG).await), expected[3..]);
}

#[tokio::test]
async fn a_claim_counts_the_attempt_and_hands_over_all_that_the_handler_needs() {
    let db = Db::migrated();
    let session = db.session().await;
    let new = NewJob {
        payload: crate::common::json(r#"{"a": [1, 2]}"#),
        headers: Some(crate::common::json(r#"{"t": "x"}"#)),
        key: Some("key".into()),
        max_attempts: 7,
        timeout: Duration::from_millis(1234),
        backoff: faultline_core::Backoff { base_ms: 5, cap_ms: 6 },
        ..job()
    };
    let claimed = crate::common::running(&session, &new, LONG).await;
    assert_eq!((claimed.attempt, claimed.max_attempts, claimed.crashes), (1, 7, 0));
    assert_eq!((claimed.kind.as_str(), claimed.key.as_deref()), ("k", Some("key")));
    assert_eq!((claimed.timeout, claimed.backoff), (new.timeout, new.backoff));
    assert_eq!(claimed.payload.get(), r#"{"a": [1, 2]}"#);
    assert_eq!(claimed.headers.unwrap().get(), r#"{"t": "x"}"#);
    assert!(claimed.created_at <= claimed.due_at);
}

#[tokio::test]
async fn a_paused_queue_gives_nothing_and_what_runs_goes_on() {
    let db = Db::migrated();
    let session = db.session().await;
    put_many(&session, 2).await;
    put(&session, &NewJob { queue: "other".into(), ..job() }).await;
    let running = take(&session, 1, LONG).await;
    pause(&session, "test", QUEUE, Some("maintenance")).await.unwrap();
    pause(&session, "test", QUEUE, Some("twice")).await.unwrap();
    assert!(take(&session, 10, LONG).await.is_empty());
    assert!(watch(&session, &[QUEUE.into()], LOOK_AT).await.unwrap().due.is_empty());
    let elsewhere = claim(&session, "other", lease(), worker(), LONG, 10, &Floors::head()).await.unwrap();
    assert_eq!(elsewhere.len(), 1, "another queue is not paused");
    assert_eq!(end(&session, &running[0], complete()).await, SUCCEEDED);
    assert!(resume(&session, "test", QUEUE).await.unwrap());
    assert!(!resume(&session, "test", QUEUE).await.unwrap());
    assert_eq!(take(&session, 10, LONG).await.len(), 1);
}

#[tokio::test]
async fn a_delayed_job_is_not_claimed_before_its_time_nor_kept_after() {
    let db = Db::migrated();
    let session = db.session().await;
    let later = NewJob { start: Start::After(Duration::from_secs(3600)), ..job() };
    let long_ago = NewJob { start: Start::At("2001-01-01T00:00:00Z".parse().unwrap()), ..job() };
    enqueue(&session, &[later.clone(), long_ago.clone()]).await.unwrap();
    assert_eq!(ids(&take(&session, 10, LONG).await), [long_ago.id], "a time that has passed means now");
    assert!(watch(&session, &[QUEUE.into()], LOOK_AT).await.unwrap().due.is_empty());
    session.execute("update faultline.jobs set next_run_at = now() where id = $1", &[&later.id.0]).await.unwrap();
    assert_eq!(watch(&session, &[QUEUE.into()], LOOK_AT).await.unwrap().due, [QUEUE]);
    assert_eq!(ids(&take(&session, 10, LONG).await), [later.id]);
}

#[tokio::test]
async fn what_lies_behind_the_floor_is_found_from_the_head() {
    let db = Db::migrated();
    let (session, late) = (db.session_with(Plans::InOrder).await, db.session().await);
    let mut floors = Floors::head();
    // Made before the others, committed after them.
    late.batch_execute("begin").await.unwrap();
    let committed_late = put_many(&late, 1).await;
    put_many(&session, 20).await;
    let claimed = take_from(&session, 20, &floors).await;
    assert_eq!(claimed.len(), 20);
    floors.after(&claimed, false, AT_ONCE);
    late.batch_execute("commit").await.unwrap();
    end(&session, &claimed[3], release()).await;
    assert!(take_from(&session, 20, &floors).await.is_empty(), "both lie behind the floor");
    assert_eq!(watch(&session, &[QUEUE.into()], LOOK_AT).await.unwrap().due, [QUEUE], "an idle worker is told");
    let found = take_from(&session, 20, &Floors::head()).await;
    assert_eq!(ids(&found), [committed_late[0], claimed[3].id]);
    let before = format!("{floors:?}");
    floors.after(&found, false, AT_ONCE);
    assert_eq!(format!("{floors:?}"), before, "a sweep that did not fill its batch leaves the floor");
}

#[tokio::test]
async fn what_was_committed_a_little_late_is_found_from_the_floor() {
    let db = Db::migrated();
    let (session, late) = (db.session_with(Plans::InOrder).await, db.session().await);
    let mut floors = Floors::head();
    let older = put_many(&session, 1).await;
    session.execute("update faultline.jobs set next_run_at = next_run_at - interval '1 day'", &[]).await.unwrap();
    late.batch_execute("begin").await.unwrap();
    let committed_late = put_many(&late, 1).await;
    put_many(&session, 20).await;
    let claimed = take_from(&session, 30, &floors).await;
    assert_eq!((claimed.len(), claimed[0].id), (21, older[0]));
    floors.after(&claimed, false, Duration::from_secs(3600));
    late.batch_execute("commit").await.unwrap();
    end(&session, &claimed[0], release()).await;
    assert_eq!(ids(&take_from(&session, 20, &floors).await), committed_late, "without what lies a day behind");
}

#[tokio::test]
async fn a_full_sweep_takes_the_floor_back_so_that_the_rest_behind_it_is_found_at_once() {
    let db = Db::migrated();
    let (session, late) = (db.session_with(Plans::InOrder).await, db.session().await);
    late.batch_execute("begin").await.unwrap();
    put_many(&late, 30).await;
    put_many(&session, 5).await;
    let mut floors = Floors::head();
    floors.after(&take_from(&session, 5, &floors).await, false, AT_ONCE);
    late.batch_execute("commit").await.unwrap();
    let swept = take_from(&session, 10, &Floors::head()).await;
    floors.after(&swept, swept.len() == 10, AT_ONCE);
    assert_eq!(take_from(&session, 100, &floors).await.len(), 20);
}

#[tokio::test]
async fn the_floor_of_one_priority_hides_nothing_of_another() {
    let db = Db::migrated();
    let session = db.session_with(Plans::InOrder).await;
    let urgent = NewJob { priority: 1, ..job() };
    let mut floors = Floors::head();
    put_many(&session, 3).await;
    floors.after(&take_from(&session, 3, &floors).await, false, AT_ONCE);
    put(&session, &urgent).await;
    assert_eq!(ids(&take_from(&session, 3, &floors).await), [urgent.id]);
}

#[tokio::test]
async fn a_lost_claim_is_recovered_exactly() {
    let db = Db::migrated();
    let session = db.session_with(Plans::InOrder).await;
    put_many(&session, 40).await;
    put(&session, &NewJob { priority: 1, ..job() }).await;
    let mut floors = Floors::head();
    let before = take_from(&session, 10, &floors).await;
    floors.after(&before, false, AT_ONCE);
    // The claim whose answer is lost, with claims of others before and after it.
    let lost = lease();
    let claimed = claim(&session, QUEUE, lost, worker(), LONG, 10, &floors).await.unwrap();
    take_from(&session, 5, &floors).await;
    let find = async || recover_claim(&session, QUEUE, lost, &floors, LOOK_AT).await.unwrap();
    let found = find().await;
    assert_eq!(ids(&found), ids(&claimed));
    assert!(found.iter().zip(&claimed).all(|(found, job)| (found.attempt, found.lease_id) == (job.attempt, lost)));
    assert_eq!(ids(&find().await), ids(&claimed), "asking again changes nothing");
    // What has ended or was lost since is not run again.
    assert_eq!(end(&session, &claimed[0], complete()).await, SUCCEEDED);
    end(&session, &claimed[1], release()).await;
    assert_eq!(ids(&find().await), ids(&claimed[2..]));
    assert!(recover_claim(&session, QUEUE, lease(), &floors, LOOK_AT).await.unwrap().is_empty(), "it never arrived");
}

#[tokio::test]
async fn a_recovered_claim_does_not_hold_what_was_reaped_and_claimed_by_another() {
    let db = Db::migrated();
    let session = db.session_with(Plans::InOrder).await;
    put_many(&session, 3).await;
    let lost = lease();
    claim(&session, QUEUE, lost, worker(), EXPIRED, 3, &Floors::head()).await.unwrap();
    reap(&session, &[QUEUE.into()], &[], LOOK_AT).await.unwrap();
    assert_eq!(take(&session, 2, LONG).await.len(), 2);
    assert!(recover_claim(&session, QUEUE, lost, &Floors::head(), LOOK_AT).await.unwrap().is_empty());
}

#[tokio::test]
async fn one_job_with_a_monstrous_payload_does_not_stop_the_queue() {
    let db = Db::migrated();
    let session = db.session().await;
    // As somebody may write it into the table by hand: nested deeper than any reader likes.
    let deep = "insert into faultline.jobs (id, queue, kind, payload, priority, created_at, next_run_at, max_attempts,
                    timeout_ms, backoff_base_ms, backoff_cap_ms)
                select gen_random_uuid(), 'q', 'k', (repeat('[', 5000) || repeat(']', 5000))::jsonb, 1, now(), now(), 1, 1, 0, 0";
    session.batch_execute(deep).await.unwrap();
    put_many(&session, 3).await;
    assert_eq!(take(&session, 10, LONG).await.len(), 4);
}

/// By the clock of whoever claims, a lease would end at once or never where that clock is wrong.
#[tokio::test]
async fn a_lease_lasts_as_long_as_asked_on_the_databases_clock() {
    let db = Db::migrated();
    let session = db.session().await;
    put(&session, &job()).await;
    let claimed = take(&session, 1, LONG).await.remove(0);
    let left = "select extract(epoch from lease_expires_at - clock_timestamp())::float8 from faultline.jobs";
    for ttl in [LONG, 2 * LONG] {
        let seconds: f64 = value(&session, left, &[]).await;
        // What the machine may take from one statement to the next.
        assert!(
            seconds > ttl.as_secs_f64() - 60.0 && seconds <= ttl.as_secs_f64(),
            "{seconds:.0} s are left of {ttl:?}"
        );
        renew(&session, QUEUE, &[(claimed.id, claimed.lease_id)], 2 * LONG).await.unwrap();
    }
}
