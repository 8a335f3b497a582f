//! Enqueues under one key, in transactions that commit and that don't.

use crate::explore::{Program, explore};
use crate::step::Step::{Begin, Claim, Commit, Complete, Enqueue, EnqueueOther, Rollback};
use crate::world::Start;

#[tokio::test]
async fn enqueues_under_one_key_in_any_order() {
    let program =
        Program::new(Start::Empty, &[], &[&[Begin, Enqueue, Commit], &[Begin, Enqueue, Rollback], &[Enqueue]]);
    let explored = explore(&program).await;
    explored.must_have_seen(&["Enqueue: Created", "Enqueue: Duplicate"]);
    assert!(explored.with_waits > 0, "a duplicate waits for the first one's end");
}

#[tokio::test]
async fn another_request_under_the_key_and_a_claim_in_any_order() {
    let program =
        Program::new(Start::Empty, &[], &[&[Begin, Enqueue, Commit], &[EnqueueOther], &[Enqueue, Claim, Complete]]);
    let explored = explore(&program).await;
    explored.must_have_seen(&["Enqueue: Conflict", "EnqueueOther: Conflict", "EnqueueOther: Created"]);
    explored.must_have_seen(&["Complete: Succeeded"]);
}
