//! Every transition from every state, once and then again: what it answers, and what becomes of the job.
//!
//! The facts read: state, attempts, crashes, the timeline of attempts that did not end the job (`-` is not charged), and how
//! many successors an operator's retry made.

use crate::common::{Db, LONG, facts, lease, value};
use crate::steps::{Case, Start, Step, in_turn};
use faultline_store::lease::{Floors, claim};

/// Start, step, its first answer, its second one, and the facts after either.
#[rustfmt::skip]
const TABLE: &[(Start, Step, &str, &str, &str)] = &[
    // Queued
    (Start::Queued, Step::EnqueueSameKey, "duplicate", "duplicate", "queued 0/0 []"),
    (Start::Queued, Step::Claim, "claimed 1", "nothing", "running 1/0 []"),
    (Start::Queued, Step::Renew, "lost", "lost", "queued 0/0 []"),
    (Start::Queued, Step::Complete, "LeaseLost", "LeaseLost", "queued 0/0 []"),
    (Start::Queued, Step::CompleteInTx, "FLT02", "FLT02", "queued 0/0 []"),
    (Start::Queued, Step::Fail, "LeaseLost", "LeaseLost", "queued 0/0 []"),
    (Start::Queued, Step::FailForGood, "LeaseLost", "LeaseLost", "queued 0/0 []"),
    (Start::Queued, Step::Release, "LeaseLost", "LeaseLost", "queued 0/0 []"),
    (Start::Queued, Step::Snooze, "LeaseLost", "LeaseLost", "queued 0/0 []"),
    (Start::Queued, Step::Cancel, "Cancelled", "Finished", "cancelled 0/0 []"),
    (Start::Queued, Step::Reap, "nothing", "nothing", "queued 0/0 []"),
    (Start::Queued, Step::Retry, "AlreadyDue", "AlreadyDue", "queued 0/0 []"),

    // Scheduled
    (Start::Scheduled, Step::EnqueueSameKey, "duplicate", "duplicate", "queued 0/0 []"),
    (Start::Scheduled, Step::Claim, "nothing", "nothing", "queued 0/0 []"),
    (Start::Scheduled, Step::Renew, "lost", "lost", "queued 0/0 []"),
    (Start::Scheduled, Step::Complete, "LeaseLost", "LeaseLost", "queued 0/0 []"),
    (Start::Scheduled, Step::CompleteInTx, "FLT02", "FLT02", "queued 0/0 []"),
    (Start::Scheduled, Step::Fail, "LeaseLost", "LeaseLost", "queued 0/0 []"),
    (Start::Scheduled, Step::FailForGood, "LeaseLost", "LeaseLost", "queued 0/0 []"),
    (Start::Scheduled, Step::Release, "LeaseLost", "LeaseLost", "queued 0/0 []"),
    (Start::Scheduled, Step::Snooze, "LeaseLost", "LeaseLost", "queued 0/0 []"),
    (Start::Scheduled, Step::Cancel, "Cancelled", "Finished", "cancelled 0/0 []"),
    (Start::Scheduled, Step::Reap, "nothing", "nothing", "queued 0/0 []"),
    (Start::Scheduled, Step::Retry, "MovedToNow", "AlreadyDue", "queued 0/0 []"),

    // Running
    (Start::Running, Step::EnqueueSameKey, "duplicate", "duplicate", "running 1/0 []"),
    (Start::Running, Step::Claim, "nothing", "nothing", "running 1/0 []"),
    (Start::Running, Step::Renew, "renewed, cancel false", "renewed, cancel false", "running 1/0 []"),
    (Start::Running, Step::Complete, "Moved(Succeeded)", "Moved(Succeeded)", "succeeded 1/0 []"),
    (Start::Running, Step::CompleteInTx, "done", "FLT02", "succeeded 1/0 []"),
    (Start::Running, Step::Fail, "Moved(Queued)", "Moved(Queued)", "queued 1/0 [1:failed]"),
    (Start::Running, Step::FailForGood, "Moved(Failed)", "Moved(Failed)", "failed 1/0 []"),
    (Start::Running, Step::Release, "Moved(Queued)", "Moved(Queued)", "queued 0/0 [1:released-]"),
    (Start::Running, Step::Snooze, "Moved(Queued)", "Moved(Queued)", "queued 0/0 [1:snoozed-]"),
    (Start::Running, Step::Cancel, "Requested", "Requested", "running 1/0 []"),
    (Start::Running, Step::Reap, "nothing", "nothing", "running 1/0 []"),
    (Start::Running, Step::Retry, "Running", "Running", "running 1/0 []"),

    // Expired
    (Start::Expired, Step::EnqueueSameKey, "duplicate", "duplicate", "running 1/0 []"),
    (Start::Expired, Step::Claim, "nothing", "nothing", "running 1/0 []"),
    (Start::Expired, Step::Renew, "renewed, cancel false", "renewed, cancel false", "running 1/0 []"),
    (Start::Expired, Step::Complete, "Moved(Succeeded)", "Moved(Succeeded)", "succeeded 1/0 []"),
    (Start::Expired, Step::CompleteInTx, "done", "FLT02", "succeeded 1/0 []"),
    (Start::Expired, Step::Fail, "Moved(Queued)", "Moved(Queued)", "queued 1/0 [1:failed]"),
    (Start::Expired, Step::FailForGood, "Moved(Failed)", "Moved(Failed)", "failed 1/0 []"),
    (Start::Expired, Step::Release, "Moved(Queued)", "Moved(Queued)", "queued 0/0 [1:released-]"),
    (Start::Expired, Step::Snooze, "Moved(Queued)", "Moved(Queued)", "queued 0/0 [1:snoozed-]"),
    (Start::Expired, Step::Cancel, "Requested", "Requested", "running 1/0 []"),
    (Start::Expired, Step::Reap, "reaped to queued", "nothing", "queued 1/1 [1:expired]"),
    (Start::Expired, Step::Retry, "Running", "Running", "running 1/0 []"),

    // Absent
    (Start::Absent, Step::EnqueueSameKey, "duplicate", "duplicate", "running 1/0 []"),
    (Start::Absent, Step::Claim, "nothing", "nothing", "running 1/0 []"),
    (Start::Absent, Step::Renew, "renewed, cancel false", "renewed, cancel false", "running 1/0 []"),
    (Start::Absent, Step::Complete, "Moved(Succeeded)", "Moved(Succeeded)", "succeeded 1/0 []"),
    (Start::Absent, Step::CompleteInTx, "done", "FLT02", "succeeded 1/0 []"),
    (Start::Absent, Step::Fail, "Moved(Queued)", "Moved(Queued)", "queued 1/0 [1:failed]"),
    (Start::Absent, Step::FailForGood, "Moved(Failed)", "Moved(Failed)", "failed 1/0 []"),
    (Start::Absent, Step::Release, "Moved(Queued)", "Moved(Queued)", "queued 0/0 [1:released-]"),
    (Start::Absent, Step::Snooze, "Moved(Queued)", "Moved(Queued)", "queued 0/0 [1:snoozed-]"),
    (Start::Absent, Step::Cancel, "Requested", "Requested", "running 1/0 []"),
    (Start::Absent, Step::Reap, "reaped to queued", "nothing", "queued 1/1 [1:lost]"),
    (Start::Absent, Step::Retry, "Running", "Running", "running 1/0 []"),

    // LastAttempt
    (Start::LastAttempt, Step::EnqueueSameKey, "duplicate", "duplicate", "running 1/0 []"),
    (Start::LastAttempt, Step::Claim, "nothing", "nothing", "running 1/0 []"),
    (Start::LastAttempt, Step::Renew, "renewed, cancel false", "renewed, cancel false", "running 1/0 []"),
    (Start::LastAttempt, Step::Complete, "Moved(Succeeded)", "Moved(Succeeded)", "succeeded 1/0 []"),
    (Start::LastAttempt, Step::CompleteInTx, "done", "FLT02", "succeeded 1/0 []"),
    (Start::LastAttempt, Step::Fail, "Moved(Failed)", "Moved(Failed)", "failed 1/0 []"),
    (Start::LastAttempt, Step::FailForGood, "Moved(Failed)", "Moved(Failed)", "failed 1/0 []"),
    (Start::LastAttempt, Step::Release, "Moved(Queued)", "Moved(Queued)", "queued 0/0 [1:released-]"),
    (Start::LastAttempt, Step::Snooze, "Moved(Queued)", "Moved(Queued)", "queued 0/0 [1:snoozed-]"),
    (Start::LastAttempt, Step::Cancel, "Requested", "Requested", "running 1/0 []"),
    (Start::LastAttempt, Step::Reap, "reaped to failed", "nothing", "failed 1/1 []"),
    (Start::LastAttempt, Step::Retry, "Running", "Running", "running 1/0 []"),

    // CancelRequested
    (Start::CancelRequested, Step::EnqueueSameKey, "duplicate", "duplicate", "running 1/0 []"),
    (Start::CancelRequested, Step::Claim, "nothing", "nothing", "running 1/0 []"),
    (Start::CancelRequested, Step::Renew, "renewed, cancel true", "renewed, cancel true", "running 1/0 []"),
    (Start::CancelRequested, Step::Complete, "Moved(Succeeded)", "Moved(Succeeded)", "succeeded 1/0 []"),
    (Start::CancelRequested, Step::CompleteInTx, "done", "FLT02", "succeeded 1/0 []"),
    (Start::CancelRequested, Step::Fail, "Moved(Cancelled)", "Moved(Cancelled)", "cancelled 1/0 []"),
    (Start::CancelRequested, Step::FailForGood, "Moved(Cancelled)", "Moved(Cancelled)", "cancelled 1/0 []"),
    (Start::CancelRequested, Step::Release, "Moved(Cancelled)", "Moved(Cancelled)", "cancelled 1/0 []"),
    (Start::CancelRequested, Step::Snooze, "Moved(Cancelled)", "Moved(Cancelled)", "cancelled 1/0 []"),
    (Start::CancelRequested, Step::Cancel, "Requested", "Requested", "running 1/0 []"),
    (Start::CancelRequested, Step::Reap, "reaped to cancelled", "nothing", "cancelled 1/1 []"),
    (Start::CancelRequested, Step::Retry, "Running", "Running", "running 1/0 []"),

    // Succeeded
    (Start::Succeeded, Step::EnqueueSameKey, "duplicate", "duplicate", "succeeded 1/0 []"),
    (Start::Succeeded, Step::Claim, "nothing", "nothing", "succeeded 1/0 []"),
    (Start::Succeeded, Step::Renew, "lost", "lost", "succeeded 1/0 []"),
    (Start::Succeeded, Step::Complete, "Moved(Succeeded)", "Moved(Succeeded)", "succeeded 1/0 []"),
    (Start::Succeeded, Step::CompleteInTx, "FLT02", "FLT02", "succeeded 1/0 []"),
    (Start::Succeeded, Step::Fail, "Moved(Succeeded)", "Moved(Succeeded)", "succeeded 1/0 []"),
    (Start::Succeeded, Step::FailForGood, "Moved(Succeeded)", "Moved(Succeeded)", "succeeded 1/0 []"),
    (Start::Succeeded, Step::Release, "Moved(Succeeded)", "Moved(Succeeded)", "succeeded 1/0 []"),
    (Start::Succeeded, Step::Snooze, "Moved(Succeeded)", "Moved(Succeeded)", "succeeded 1/0 []"),
    (Start::Succeeded, Step::Cancel, "Finished", "Finished", "succeeded 1/0 []"),
    (Start::Succeeded, Step::Reap, "nothing", "nothing", "succeeded 1/0 []"),
    (Start::Succeeded, Step::Retry, "successor, created true", "successor, created false", "succeeded 1/0 [] +1"),
];

#[tokio::test]
async fn a_step_taken_again_is_answered_as_documented_and_changes_nothing_more() {
    let db = Db::migrated();
    let session = db.session().await;
    assert_eq!(TABLE.len(), Start::ALL.len() * Step::ALL.len(), "each step from each state");
    for (start, step, first, second, after) in TABLE {
        for (steps, expected) in [(&[*step][..], vec![*first]), (&[*step, *step][..], vec![*first, *second])] {
            let (answers, (facts, successors)) = in_turn(&session, *start, steps).await;
            let successors = if successors > 0 { format!(" +{successors}") } else { String::new() };
            assert_eq!(
                (answers, facts.short() + &successors),
                (to_owned(&expected), (*after).to_owned()),
                "{start:?} {steps:?}"
            );
        }
    }
}

fn to_owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The steps that name a lease, and how each says that it is lost.
const BY_LEASE: [(Step, &str); 7] = [
    (Step::Renew, "lost"),
    (Step::Complete, "LeaseLost"),
    (Step::CompleteInTx, "FLT02"),
    (Step::Fail, "LeaseLost"),
    (Step::FailForGood, "LeaseLost"),
    (Step::Release, "LeaseLost"),
    (Step::Snooze, "LeaseLost"),
];

#[tokio::test]
async fn a_zombie_is_refused_and_harmless_while_its_job_waits_and_while_another_runs_it() {
    let db = Db::migrated();
    let session = db.session().await;
    for (step, refused) in BY_LEASE {
        for start in [Start::Expired, Start::Absent] {
            let zombie = Case::at(start, &session).await;
            assert_eq!(Step::Reap.take(&session, &zombie).await, "reaped to queued");
            let waiting = facts(&session, zombie.id()).await;
            assert_eq!(step.take(&session, &zombie).await, refused, "{step:?} while it waits");
            assert_eq!(facts(&session, zombie.id()).await, waiting);
            // The next holder is as much attempt 1 as the zombie was after a failover: only the lease tells them apart.
            let (queue, head) = (&zombie.job.queue, Floors::head());
            let claimed = claim(&session, queue, lease(), zombie.owner, LONG, 1, &head).await.unwrap();
            assert_eq!(claimed.len(), 1);
            let (running, expires) = (facts(&session, zombie.id()).await, expiry(&session, &zombie).await);
            assert_eq!(step.take(&session, &zombie).await, refused, "{step:?} while another runs it");
            assert_eq!((facts(&session, zombie.id()).await, expiry(&session, &zombie).await), (running, expires));
        }
    }
}

async fn expiry(session: &tokio_postgres::Client, case: &Case) -> jiff::Timestamp {
    value(session, "select lease_expires_at from faultline.jobs where id = $1", &[&case.id().0]).await
}

#[tokio::test]
async fn a_finish_that_comes_after_its_job_was_reaped_for_good_has_lost_its_lease() {
    let db = Db::migrated();
    let session = db.session().await;
    for (start, reaped) in [(Start::LastAttempt, "reaped to failed"), (Start::CancelRequested, "reaped to cancelled")] {
        for (step, refused) in BY_LEASE {
            let (answers, _) = in_turn(&session, start, &[Step::Reap, step]).await;
            assert_eq!(answers, [reaped, refused], "{start:?} {step:?}");
        }
    }
}

#[tokio::test]
async fn a_finish_is_answered_as_the_first_time_after_others_have_moved_the_job_on() {
    let db = Db::migrated();
    let session = db.session().await;
    for first in [Step::Fail, Step::Release] {
        let steps = [first, Step::Claim, first, Step::Complete];
        let (answers, (facts, _)) = in_turn(&session, Start::Running, &steps).await;
        assert_eq!([&answers[0], &answers[2], &answers[3]], ["Moved(Queued)"; 3], "{first:?}");
        assert_eq!(facts.state, "running", "the new holder is left alone");
    }
    let (answers, _) = in_turn(&session, Start::Running, &[Step::CompleteInTx, Step::Complete]).await;
    assert_eq!(answers, ["done", "Moved(Succeeded)"]);
}
