//! A worker whose session is gone is missed after two seconds; one that comes back before is not.

use crate::common::{BRIEF, Stage, TTL, play, secs};
use faultline_sim::Event;
use std::time::Duration;

/// Cuts a worker off for so long, beside another that looks on; answers when its jobs were reaped, if they were.
async fn absence(stage: &Stage, length: Duration) -> Option<u64> {
    let worker = stage.worker("a");
    stage.pass(secs(2)).await;
    stage.enqueue(1..=4, secs(60)).await;
    stage.pass(secs(2)).await;
    let witness = stage.worker("b");
    stage.pass(2 * TTL).await;
    let cut_ms = stage.world.elapsed_ms();
    stage.world.network().refuse("a");
    stage.pass(length).await;
    stage.world.network().reset("a");
    stage.pass(secs(120) + BRIEF).await;
    worker.stop().await;
    witness.stop().await;
    let log = stage.world.log().entries();
    let reaped = log.iter().find(|entry| matches!(entry.event, Event::Reaped { outcome: "lost", .. }));
    reaped.map(|entry| entry.at_ms - cut_ms)
}

#[test]
fn a_worker_that_is_back_within_the_grace_keeps_its_jobs() {
    for seed in 0..10 {
        play(seed, async |stage| {
            let reaped_ms = absence(stage, Duration::from_millis(120 * seed)).await;
            assert_eq!(reaped_ms, None, "seed {seed}:\n{}", stage.world.log().text());
            stage.assert_all_succeeded_at_once(1..=4);
        });
    }
}

#[test]
fn a_worker_that_is_missing_for_longer_loses_its_jobs_long_before_its_leases_end() {
    for seed in 0..10 {
        play(seed, async |stage| {
            let reaped_ms = absence(stage, secs(20)).await;
            let reaped_ms = reaped_ms.unwrap_or_else(|| panic!("seed {seed}:\n{}", stage.world.log().text()));
            assert!((2000..4000).contains(&reaped_ms), "after {reaped_ms} ms");
            let store = stage.world.store();
            assert_eq!(store.history.iter().filter(|ended| ended.state == "succeeded").count(), 4);
            // One of several that fell together may be the culprit; nobody is charged the first time.
            assert!(store.history.iter().all(|ended| (ended.job.attempts, ended.job.crashes) == (2, 1)));
        });
    }
}
