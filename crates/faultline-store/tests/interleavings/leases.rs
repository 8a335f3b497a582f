//! Who holds a job: zombies, reapers, renewals, finishes and the next holder.

use crate::explore::{Explored, Program, explore};
use crate::step::Step::{
    Begin, Bury, Claim, Commit, Complete, CompleteInTx, Effect, Fail, Pay, Reap, Release, Renew, Rollback, Snooze,
};
use crate::world::Start;

async fn all_of(programs: &[Program]) -> Explored {
    let mut all = Explored { with_waits: 0, seen: std::collections::BTreeSet::new() };
    for program in programs {
        let one = explore(program).await;
        all.with_waits += one.with_waits;
        all.seen.extend(one.seen);
    }
    all
}

/// The holder comes back after its lease has run out, in each way that names a lease.
#[tokio::test]
async fn a_zombie_a_reaper_and_the_next_holder_in_any_order() {
    let all = all_of(&[
        Program::new(Start::Expired, &[0], &[&[Complete], &[Reap], &[Claim, Complete]]),
        Program::new(Start::Expired, &[0], &[&[Fail], &[Reap], &[Claim, Complete]]),
        Program::new(Start::Expired, &[0], &[&[Release], &[Reap], &[Claim, Complete]]),
        Program::new(Start::Expired, &[0], &[&[Snooze], &[Reap], &[Claim, Complete]]),
        Program::new(Start::Expired, &[0], &[&[Begin, Complete, Commit], &[Reap], &[Claim, Complete]]),
    ])
    .await;
    all.must_have_seen(&["Complete: LeaseLost", "Fail: LeaseLost", "Release: LeaseLost", "Snooze: LeaseLost"]);
    all.must_have_seen(&["Reap: reaped to queued", "Claim: claimed, attempt 2", "Complete: Succeeded"]);
}

/// Effects and success in one transaction: one of the two holders has both, the other neither.
#[tokio::test]
async fn a_zombies_transaction_a_reaper_and_the_next_holders_transaction_in_any_order() {
    let program = Program {
        effect: true,
        ..Program::new(Start::Expired, &[0], &[&[Begin, Effect, CompleteInTx, Commit], &[Reap], &[Claim, Pay]])
    };
    let explored = explore(&program).await;
    explored.must_have_seen(&["CompleteInTx: lease lost", "CompleteInTx: succeeded", "Pay: succeeded"]);
    explored.must_have_seen(&["Reap: reaped to queued", "Reap: nothing to reap", "Commit: rolled back"]);
}

#[tokio::test]
async fn finishes_of_one_lease_in_any_order() {
    let all = all_of(&[
        Program::new(Start::Held, &[0, 1, 2], &[&[Begin, Complete, Commit], &[Fail], &[Release]]),
        Program::new(Start::Held, &[0, 1, 2], &[&[Begin, Fail, Rollback], &[Begin, Release, Commit], &[Complete]]),
        Program {
            effect: true,
            ..Program::new(Start::Held, &[0, 1, 2], &[&[Begin, Effect, CompleteInTx, Commit], &[Fail], &[Renew]])
        },
    ])
    .await;
    all.must_have_seen(&["Complete: Succeeded", "Fail: Queued", "Fail: Succeeded", "Release: Queued"]);
    assert!(all.with_waits > 0, "who finishes a row that another has in hand waits");
}

#[tokio::test]
async fn a_renewal_a_reaper_and_the_next_holder_in_any_order() {
    let all = all_of(&[
        Program::new(Start::Expired, &[0], &[&[Begin, Renew, Commit, Complete], &[Reap], &[Claim, Complete]]),
        Program::new(Start::Absent, &[0], &[&[Begin, Renew, Commit, Complete], &[Bury], &[Claim, Complete]]),
    ])
    .await;
    all.must_have_seen(&["Renew: Renewed", "Renew: LeaseLost", "Reap: reaped to queued", "Bury: reaped to queued"]);
    all.must_have_seen(&["Reap: nothing to reap"]);
}

#[tokio::test]
async fn reapers_and_a_renewal_that_is_undone_in_any_order() {
    let all = all_of(&[
        Program::new(Start::Expired, &[2], &[&[Begin, Reap, Commit], &[Reap], &[Begin, Renew, Rollback]]),
        Program { max_attempts: 1, ..Program::new(Start::Expired, &[2], &[&[Begin, Reap, Commit], &[Reap], &[Fail]]) },
        Program { max_attempts: 1, ..Program::new(Start::Absent, &[2], &[&[Bury], &[Bury], &[Renew, Complete]]) },
    ])
    .await;
    all.must_have_seen(&["Reap: reaped to queued", "Reap: reaped to failed", "Renew: LeaseLost", "Fail: Failed"]);
}

#[tokio::test]
async fn claims_and_a_release_in_any_order() {
    let program = Program::new(Start::Held, &[0], &[&[Release], &[Begin, Claim, Commit, Complete], &[Claim, Complete]]);
    let explored = explore(&program).await;
    explored.must_have_seen(&["Claim: claimed, attempt 1", "Claim: nothing to claim", "Complete: Succeeded"]);
}

/// Claims that hold what they took uncommitted, and undo it.
#[tokio::test]
async fn claims_of_one_job_in_any_order() {
    let all = all_of(&[
        Program::new(Start::Queued, &[], &[&[Begin, Claim, Commit], &[Claim, Complete]]),
        Program::new(Start::Queued, &[], &[&[Begin, Claim, Rollback], &[Begin, Claim, Commit, Complete]]),
    ])
    .await;
    all.must_have_seen(&["Claim: claimed, attempt 1", "Claim: nothing to claim", "Complete: Succeeded"]);
}

/// The next attempt has the number of the one before: only the lease tells them apart.
#[tokio::test]
async fn a_holder_that_gave_back_and_finishes_after_all_ends_nobody_elses_attempt() {
    let all = all_of(&[
        Program::new(Start::Held, &[0], &[&[Release, Complete], &[Claim, Renew, Complete]]),
        Program::new(Start::Held, &[0], &[&[Snooze, Fail], &[Claim, Renew, Complete]]),
    ])
    .await;
    all.must_have_seen(&["Claim: claimed, attempt 1", "Complete: Queued", "Fail: Queued", "Complete: Succeeded"]);
}

/// The next holder is the same worker: only the lease tells the attempts apart.
#[tokio::test]
async fn a_worker_that_claims_its_own_lost_job_again_is_not_finished_by_its_first_handler() {
    let program = Program {
        one_worker: true,
        ..Program::new(Start::Expired, &[0], &[&[Complete], &[Reap], &[Claim, Renew, Complete]])
    };
    explore(&program).await.must_have_seen(&["Complete: LeaseLost", "Claim: claimed, attempt 2", "Renew: Renewed"]);
}
