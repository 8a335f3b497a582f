//! What a worker holds is bounded, however much waits and however slow its finishes are.

use crate::common::{play, secs};
use faultline_sim::{Event, Loss, Statement};
use std::time::Duration;

const SLOTS: usize = 1000;
/// Finishes that wait at most, which are no more than there are slots, and those of the batch that is on its way (`FINISH_LIMIT` in the
/// library).
const LINE: usize = SLOTS + 1000;

#[test]
fn a_worker_whose_finishes_are_slower_than_its_claims_claims_no_more_than_its_line_and_its_slots_hold() {
    const JOBS: u128 = 30_000;
    play(1, async |stage| {
        let worker = stage.worker_with("a", |worker| worker.queue("default", SLOTS));
        stage.pass(secs(20)).await;
        stage.world.network().lose("a", Statement::Complete, Loss::AnswerSilent);
        stage.enqueue(1..=JOBS, Duration::ZERO).await;
        stage.pass(secs(10)).await;
        let claimed = stage.world.log().count(|event| matches!(event, Event::Claimed { .. }));
        assert!((2000..=LINE + SLOTS).contains(&claimed), "{claimed} jobs are claimed and not ended");
        stage.pass(secs(60)).await;
        assert_eq!(u128::from(worker.stop().await.succeeded), JOBS);
    });
}
