//! Operators against workers: cancel, retry, pause.

use crate::explore::{Program, explore};
use crate::step::Step::{
    self, Begin, Cancel, Claim, Commit, Complete, CompleteInTx, Effect, Fail, Pause, Pay, Reap, Resume, Retry, Rollback,
};
use crate::world::Start;

#[tokio::test]
async fn a_cancel_and_a_handlers_transaction_in_any_order() {
    const COMMITS: &[&[Step]] = &[&[Begin, Effect, CompleteInTx, Commit], &[Begin, Cancel, Commit]];
    const ROLLS_BACK: &[&[Step]] = &[&[Begin, Effect, CompleteInTx, Rollback], &[Cancel], &[Fail]];
    for sessions in [COMMITS, ROLLS_BACK] {
        let program = Program { effect: true, ..Program::new(Start::Held, &[0, 2], sessions) };
        let explored = explore(&program).await;
        explored.must_have_seen(&["Cancel: Requested", "CompleteInTx: succeeded"]);
        assert!(explored.with_waits > 0);
    }
}

#[tokio::test]
async fn a_cancel_a_reaper_and_a_late_failure_in_any_order() {
    let program =
        Program { effect: true, ..Program::new(Start::Expired, &[0], &[&[Fail], &[Cancel], &[Reap, Claim, Pay]]) };
    let explored = explore(&program).await;
    explored.must_have_seen(&["Reap: reaped to cancelled", "Fail: Cancelled", "Cancel: Cancelled", "Fail: LeaseLost"]);
}

#[tokio::test]
async fn a_retry_a_cancel_and_a_claim_in_any_order() {
    let program = Program::new(Start::Scheduled, &[], &[&[Begin, Cancel, Commit], &[Retry], &[Claim, Complete]]);
    let explored = explore(&program).await;
    explored.must_have_seen(&["Retry: MovedToNow", "Retry: successor, created true", "Claim: claimed, attempt 1"]);
}

#[tokio::test]
async fn two_retries_of_a_job_that_is_ending_in_any_order() {
    let program = Program::new(Start::Held, &[0], &[&[Begin, Complete, Commit], &[Retry], &[Retry]]);
    let explored = explore(&program).await;
    explored.must_have_seen(&["Retry: Running", "Retry: successor, created true", "Retry: successor, created false"]);
}

#[tokio::test]
async fn a_pause_and_claims_in_any_order() {
    let program = Program::new(Start::Queued, &[], &[&[Pause, Resume], &[Begin, Claim, Rollback], &[Claim]]);
    let explored = explore(&program).await;
    explored.must_have_seen(&["Claim: nothing to claim", "Claim: claimed, attempt 1", "Resume: resumed true"]);
}
