//! A worker that is told to stop: what ends within the grace ends well, the rest is given back, and it stops within a bound,
//! whatever the database does.

use crate::common::{Running, Stage, play, secs};
use faultline_sim::{Event, Loss, Statement};
use std::time::Duration;

const GRACE: Duration = faultline::DEFAULT_GRACE;

async fn stopping(stage: &Stage, worker: Running) -> (faultline::Summary, Duration) {
    let told_ms = stage.world.elapsed_ms();
    let summary = worker.stop().await;
    (summary, Duration::from_millis(stage.world.elapsed_ms() - told_ms))
}

#[test]
fn handlers_that_end_within_the_grace_end_well() {
    for seed in 0..6 {
        play(seed, async |stage| {
            let worker = stage.worker_with("a", |worker| worker.queue("default", 4));
            stage.pass(secs(1)).await;
            stage.enqueue(1..=4, secs(20)).await;
            stage.enqueue(5..=9, secs(1)).await;
            stage.pass(secs(3)).await;
            let (summary, took) = stopping(stage, worker).await;
            assert_eq!(
                (summary.claimed, summary.succeeded, summary.put_back),
                (4, 4, 0),
                "nothing is claimed any more"
            );
            assert!(took > secs(15) && took < secs(20), "{took:?}");
            stage.assert_all_succeeded_at_once(1..=4);
            let store = stage.world.store();
            assert!(store.workers.values().all(|worker| worker.is_stopped), "it said goodbye");
            assert_eq!(store.jobs.len(), 5);
        });
    }
}

#[test]
fn handlers_that_outlast_the_grace_are_dropped_and_their_jobs_given_back_uncharged() {
    for seed in 0..6 {
        play(seed, async |stage| {
            let worker = stage.worker("a");
            stage.enqueue(1..=3, secs(100)).await;
            stage.enqueue(4..=6, secs(10)).await;
            stage.pass(secs(2) + Duration::from_millis(97 * seed)).await;
            let (summary, took) = stopping(stage, worker).await;
            assert_eq!((summary.succeeded, summary.put_back), (3, 3));
            assert!(took >= GRACE && took < GRACE + secs(1), "{took:?}");
            assert!(stage.world.store().jobs.values().all(|job| job.lease.is_none() && job.attempts == 0));
            let heir = stage.worker("b");
            stage.pass(secs(110)).await;
            heir.stop().await;
            stage.assert_all_succeeded_at_once(1..=6);
        });
    }
}

/// After the grace: for handlers to reach an await, for finishes to be told, for goodbyes.
const LAST_WORDS: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Stopped,
    Refused,
    Silent,
    /// A claim is on its way when everything falls silent.
    SilentClaim,
}

/// Stops a worker that can't tell anybody; answers how long it takes.
fn stop_in(trouble: Trouble, seed: u64, jobs: Duration) -> Duration {
    play(seed, async |stage| {
        let worker = stage.worker("a");
        stage.pass(secs(2)).await;
        stage.enqueue(1..=3, jobs).await;
        stage.pass(secs(3) + Duration::from_millis(97 * seed)).await;
        match trouble {
            Trouble::Stopped => stage.world.stop_server(),
            Trouble::Refused => stage.world.network().refuse("a"),
            Trouble::Silent => stage.world.network().silence("a"),
            Trouble::SilentClaim => {
                stage.world.network().lose("a", Statement::Claim, Loss::AnswerSilent);
                stage.enqueue(4..=6, jobs).await;
                stage.until(|event| matches!(event, Event::Claimed { job, .. } if job.as_u128() == 6)).await;
                stage.world.network().silence("a");
            }
        }
        stage.pass(secs(2)).await;
        let told_ms = stage.world.elapsed_ms();
        let (_, took) = stopping(stage, worker).await;
        for entry in stage.world.log().entries().iter().filter(|entry| matches!(entry.event, Event::Dropped { .. })) {
            let after = Duration::from_millis(entry.at_ms - told_ms);
            assert!(after >= GRACE && after < GRACE + secs(1), "the grace is {after:?} with {trouble:?}, seed {seed}");
        }
        took
    })
}

#[test]
fn a_worker_stops_in_an_outage_within_its_bound() {
    for trouble in [Trouble::Stopped, Trouble::Refused, Trouble::Silent, Trouble::SilentClaim] {
        for seed in 0..2 {
            // What ended in the outage can't be told, and the worker tries until its last words are over.
            let took = stop_in(trouble, seed, secs(6));
            assert!(took < GRACE + 3 * LAST_WORDS, "{took:?} with {trouble:?}, seed {seed}");
            let took = stop_in(trouble, seed, secs(100));
            assert!(took >= GRACE && took < GRACE + 3 * LAST_WORDS + secs(1), "{took:?} with {trouble:?}, seed {seed}");
        }
    }
}

/// The claim is answered when the worker has been told to stop already: what it claimed is given back.
#[test]
fn a_claim_that_is_answered_after_the_word_to_stop_starts_nothing() {
    let mut late = 0;
    for seed in 0..10 {
        play(seed, async |stage| {
            let worker = stage.worker("a");
            stage.pass(secs(2)).await;
            stage.enqueue(1..=3, secs(5)).await;
            stage.until(|event| matches!(event, Event::Claimed { .. })).await;
            stage.world.network().silence("a");
            worker.tell_to_stop();
            let told_ms = stage.world.elapsed_ms();
            stage.pass(secs(3)).await;
            stage.world.network().resume("a");
            let summary = worker.stop().await;
            let log = stage.world.log().entries();
            let started_ms =
                log.iter().find(|entry| matches!(entry.event, Event::Started { .. })).map(|entry| entry.at_ms);
            let ended = (summary.claimed, summary.put_back, summary.succeeded);
            if started_ms.is_some() {
                // The answer was quicker than the silence.
                assert!(started_ms <= Some(told_ms), "seed {seed}:\n{}", stage.world.log().text());
                assert_eq!(ended, (3, 0, 3));
            } else {
                late += 1;
                assert_eq!(ended, (3, 3, 0), "seed {seed}:\n{}", stage.world.log().text());
                assert!(stage.world.store().jobs.values().all(|job| job.lease.is_none() && job.attempts == 0));
            }
            assert_eq!(stage.reaps(), 0);
        });
    }
    assert!(late > 0, "no seed made an answer late");
}

/// Whoever stops goes on asking for as long as it goes on telling.
#[test]
fn a_lost_claim_is_given_back_after_an_outage_that_the_last_words_outlast() {
    for seed in 0..6 {
        play(seed, async |stage| {
            let worker = stage.worker("a");
            stage.pass(secs(2)).await;
            stage.world.network().lose("a", Statement::Claim, Loss::AnswerReset);
            stage.enqueue(1..=3, secs(5)).await;
            stage.until(|event| matches!(event, Event::Claimed { job, .. } if job.as_u128() == 3)).await;
            stage.world.network().refuse("a");
            worker.tell_to_stop();
            stage.pass(LAST_WORDS - secs(2)).await;
            stage.world.network().reset("a");
            assert_eq!(worker.stop().await.put_back, 3, "seed {seed}:\n{}", stage.world.log().text());
            assert!(stage.world.store().jobs.values().all(|job| job.lease.is_none() && job.attempts == 0));
        });
    }
}
