//! What the database itself refuses: each illegal edge of the state machine, each impossible shape of a row, by whatever
//! statement it is tried.

use crate::common::{Db, facts, refusal};
use crate::steps::{Case, Start};

/// SQLSTATE of an illegal transition.
const ILLEGAL: &str = "FLT03";
/// SQLSTATE of a shape that a CHECK refuses.
const SHAPE: &str = "23514";

/// A state, an assignment, and what refuses it.
#[rustfmt::skip]
const REFUSED: &[(Start, &str, &str)] = &[
    // Claims that are none.
    (Start::Queued, "state = 'running', attempts = attempts + 1", SHAPE),
    (Start::Queued, "state = 'running', attempts = attempts, LEASE", ILLEGAL),
    (Start::Queued, "state = 'running', attempts = attempts + 2, LEASE", ILLEGAL),
    (Start::Queued, "LEASE", SHAPE),
    (Start::Queued, "cancel_requested_at = now()", SHAPE),
    // A queued job moves in time only.
    (Start::Queued, "attempts = attempts + 1", ILLEGAL),
    (Start::Queued, "queue = 'other'", ILLEGAL),
    (Start::Queued, "kind = 'other'", ILLEGAL),
    (Start::Queued, "id = gen_random_uuid()", ILLEGAL),
    (Start::Queued, "created_at = now() - interval '1 day'", ILLEGAL),
    // No terminal state in this table.
    (Start::Queued, "state = 'succeeded'", ILLEGAL),
    (Start::Queued, "state = 'cancelled'", ILLEGAL),
    (Start::Running, "state = 'succeeded', NO_LEASE", SHAPE),
    (Start::Running, "state = 'failed', NO_LEASE", SHAPE),
    // A lease never changes hands, never shortens, is never taken in part.
    (Start::Running, "lease_id = gen_random_uuid()", ILLEGAL),
    (Start::Running, "lease_owner = gen_random_uuid()", ILLEGAL),
    (Start::Running, "lease_expires_at = lease_expires_at - interval '1 second'", ILLEGAL),
    (Start::Running, "started_at = now() + interval '1 second'", ILLEGAL),
    (Start::Running, "attempts = attempts + 1", ILLEGAL),
    (Start::Running, "attempts = attempts - 1", ILLEGAL),
    (Start::Running, "queue = 'other'", ILLEGAL),
    (Start::Running, "lease_id = null", SHAPE),
    (Start::Running, "lease_owner = null", SHAPE),
    (Start::Running, "lease_expires_at = null", SHAPE),
    (Start::Running, "started_at = null", SHAPE),
    // Back to the queue with an attempt fewer at most, without any rest of the lease.
    (Start::Running, "state = 'queued'", SHAPE),
    (Start::Running, "state = 'queued', NO_LEASE, attempts = attempts + 1", ILLEGAL),
    (Start::Running, "state = 'queued', NO_LEASE, attempts = attempts - 2", ILLEGAL),
    (Start::CancelRequested, "state = 'queued', lease_id = null, lease_owner = null, lease_expires_at = null, started_at = null", SHAPE),
    // A job without an attempt left never waits for one, nor is it claimed beyond its maximum.
    (Start::LastAttempt, "state = 'queued', NO_LEASE", SHAPE),
    (Start::Queued, "max_attempts = 0", SHAPE),
    (Start::Running, "max_attempts = 0", SHAPE),
    // Values.
    (Start::Queued, "priority = 0", SHAPE),
    (Start::Queued, "priority = 5", SHAPE),
    (Start::Queued, "timeout_ms = 0", SHAPE),
    (Start::Queued, "backoff_base_ms = -1", SHAPE),
    (Start::Queued, "backoff_cap_ms = -1", SHAPE),
    (Start::Queued, "crashes = -1", SHAPE),
];

const LEASE: &str =
    "lease_id = gen_random_uuid(), lease_owner = gen_random_uuid(), lease_expires_at = now(), started_at = now()";
const NO_LEASE: &str =
    "lease_id = null, lease_owner = null, lease_expires_at = null, started_at = null, cancel_requested_at = null";

#[tokio::test]
async fn the_database_refuses_every_illegal_change_of_a_job() {
    let db = Db::migrated();
    let session = db.session().await;
    let mut wrong = Vec::new();
    for (start, assignment, refused_by) in REFUSED {
        let case = Case::at(*start, &session).await;
        let before = facts(&session, case.id()).await;
        let assignment = assignment.replace("NO_LEASE", NO_LEASE).replace("LEASE", LEASE);
        let sql = format!("update faultline.jobs set {assignment} where id = $1");
        match session.query(&sql, &[&case.id().0]).await {
            Ok(_) => wrong.push(format!("{start:?}: {assignment}: accepted")),
            refused => {
                let (code, message, _) = refusal(refused);
                if code != *refused_by {
                    wrong.push(format!("{start:?}: {assignment}: refused by {code}: {message}"));
                }
                assert_eq!(facts(&session, case.id()).await, before);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn history_never_changes() {
    let db = Db::migrated();
    let session = db.session().await;
    let ended = Case::at(Start::Succeeded, &session).await;
    let failed = Case::at(Start::Running, &session).await;
    crate::steps::Step::Fail.take(&session, &failed).await;
    for sql in [
        "update faultline.job_history set state = 'failed'",
        "update faultline.job_history set result = '2'",
        "update faultline.job_history set finished_at = now() + interval '1 day'",
        "update faultline.job_attempts set charged = false",
    ] {
        assert_eq!(refusal(session.query(sql, &[]).await).0, ILLEGAL, "{sql}");
    }
    assert_eq!(facts(&session, ended.id()).await.state, "succeeded");
}

#[tokio::test]
async fn no_row_can_be_inserted_in_an_impossible_shape() {
    let db = Db::migrated();
    let session = db.session().await;
    let insert = "insert into faultline.jobs (id, queue, kind, payload, priority, created_at, next_run_at, max_attempts,
                      timeout_ms, backoff_base_ms, backoff_cap_ms, state, attempts)
                  values (gen_random_uuid(), $1, 'k', '{}', 1, now(), now(), 3, 1, 0, 0, $2::text::faultline.job_state, $3)";
    let long = "x".repeat(129);
    for (queue, state, attempts) in [
        ("q", "running", 1),
        ("q", "succeeded", 0),
        ("q", "failed", 0),
        ("q", "cancelled", 0),
        ("q", "queued", 3),
        ("q", "queued", -1),
        ("", "queued", 0),
        (long.as_str(), "queued", 0),
    ] {
        let (code, ..) = refusal(session.query(insert, &[&queue, &state, &attempts]).await);
        assert_eq!(code, SHAPE, "{queue:?} {state} {attempts}");
    }
}
