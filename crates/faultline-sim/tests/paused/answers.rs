//! An answer that got lost says nothing: the loops find out, do nothing twice and forget nothing.

use crate::common::{BRIEF, TTL, play, secs};
use faultline_sim::{Loss, Statement};

const LOSSES: [Loss; 2] = [Loss::RequestReset, Loss::AnswerReset];

fn lose(statement: Statement, loss: Loss, seed: u64) {
    play(seed, async |stage| {
        let worker = stage.worker_with("a", |worker| worker.queue("default", 3));
        let witness = stage.worker_with("b", |worker| worker.queue("elsewhere", 1));
        stage.pass(secs(20)).await;
        stage.enqueue(1..=3, secs(3)).await;
        stage.world.network().lose("a", statement, loss);
        stage.enqueue(4..=6, secs(30)).await;
        stage.pass(2 * TTL + 2 * secs(30) + BRIEF).await;
        worker.stop().await;
        witness.stop().await;
        assert_eq!(stage.world.network().losses_left(), 0, "{statement:?} was never run");
        for id in 1..=6 {
            assert_eq!(stage.starts(id), 1, "{loss:?} of {statement:?}:\n{}", stage.world.log().text());
        }
        stage.assert_all_succeeded_at_once(1..=6);
        assert_eq!(stage.reaps(), 0);
    });
}

#[test]
fn a_claim_whose_answer_was_lost_is_found_and_run() {
    for seed in 0..4 {
        LOSSES.iter().for_each(|loss| lose(Statement::Claim, *loss, seed));
    }
}

#[test]
fn a_finish_whose_answer_was_lost_is_told_once_more_and_counts_once() {
    for seed in 0..4 {
        LOSSES.iter().for_each(|loss| lose(Statement::Complete, *loss, seed));
    }
}

#[test]
fn a_renewal_whose_answer_was_lost_costs_no_lease() {
    for seed in 0..2 {
        for statement in [Statement::Renew, Statement::Heartbeat, Statement::Watch] {
            LOSSES.iter().for_each(|loss| lose(statement, *loss, seed));
            lose(statement, Loss::AnswerSilent, seed);
        }
    }
}

/// Until the claim loop gives up waiting, the renewals look for what the claim holds and keep it.
#[test]
fn a_claim_that_is_never_answered_keeps_its_leases_and_its_jobs_run_once() {
    for seed in 0..4 {
        play(seed, async |stage| {
            let worker = stage.worker("a");
            stage.pass(secs(20)).await;
            stage.world.network().lose("a", Statement::Claim, Loss::AnswerSilent);
            stage.enqueue(1..=3, secs(3)).await;
            stage.pass(secs(60)).await;
            assert_eq!(worker.stop().await.succeeded, 3);
            for id in 1..=3 {
                assert_eq!(stage.starts(id), 1, "seed {seed}:\n{}", stage.world.log().text());
            }
            stage.assert_all_succeeded_at_once(1..=3);
            assert_eq!(stage.reaps(), 0);
        });
    }
}

#[test]
fn a_finish_that_is_never_answered_is_told_once_more_while_its_lease_is_kept() {
    for seed in 0..4 {
        play(seed, async |stage| {
            let (a, b) = (stage.worker("a"), stage.worker("b"));
            stage.pass(secs(20)).await;
            for host in ["a", "b"] {
                stage.world.network().lose(host, Statement::Complete, Loss::AnswerSilent);
            }
            stage.enqueue(1..=6, secs(3)).await;
            stage.pass(secs(60)).await;
            let (a, b) = (a.stop().await, b.stop().await);
            assert_eq!((a.succeeded + b.succeeded, a.leases_lost + b.leases_lost), (6, 0));
            stage.assert_all_succeeded_at_once(1..=6);
            assert_eq!(stage.reaps(), 0);
        });
    }
}
