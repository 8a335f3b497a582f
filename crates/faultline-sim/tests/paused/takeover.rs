//! A worker that nobody hears of for longer than its leases: others take over, and what it says later is refused.

use crate::common::{BRIEF, TTL, play, secs};
use faultline_sim::{Event, Statement};
use std::time::Duration;

/// Its sessions seem to be there, as they do when a host vanishes, so only the leases tell.
#[test]
fn a_worker_behind_a_silent_network_is_relieved_and_its_late_finish_refused() {
    for seed in 0..6 {
        play(seed, async |stage| {
            let zombie = stage.worker("a");
            stage.pass(secs(2)).await;
            stage.enqueue(1..=3, secs(20)).await;
            stage.pass(secs(2)).await;
            let heir = stage.worker("b");
            stage.pass(Duration::from_millis(300 * seed)).await;
            stage.world.network().silence("a");
            let silent_ms = stage.world.elapsed_ms();
            stage.until(|event| matches!(event, Event::Reaped { .. })).await;
            let took = Duration::from_millis(stage.world.elapsed_ms() - silent_ms);
            assert!(took > TTL && took < TTL + TTL / 2 + BRIEF, "reaped after {took:?}");
            stage.pass(secs(3)).await;
            stage.world.network().resume("a");
            stage.pass(secs(30)).await;
            let (late, new) = (zombie.stop().await, heir.stop().await);
            assert_eq!((new.succeeded, late.succeeded), (3, 0), "seed {seed}:\n{}", stage.world.log().text());
            assert_eq!(late.leases_lost, 3, "{late:?}");
            assert_eq!(stage.count(|event| matches!(event, Event::Moved { state: "succeeded", .. })), 3);
            assert!(
                stage.count(|event| matches!(event, Event::NotMoved { .. })) >= 3,
                "the late finishes were refused"
            );
            for id in 1..=3 {
                assert_eq!(stage.starts(id), 2);
            }
        });
    }
}

/// Its leases run out one by one, and any of its jobs may be what it died of.
#[test]
fn what_a_lost_host_held_is_judged_together() {
    for seed in 0..12 {
        play(seed, async |stage| {
            let lost = stage.worker("a");
            stage.pass(secs(2)).await;
            for id in 1..=6 {
                stage.enqueue([id], secs(100)).await;
                stage.pass(Duration::from_millis(700 + 100 * seed)).await;
            }
            stage.world.network().silence("a");
            let heir = stage.worker("b");
            stage.until(|event| matches!(event, Event::Reaped { .. })).await;
            stage.pass(3 * TTL).await;
            let log = stage.world.log().entries();
            let reaped = log.iter().filter(|entry| matches!(entry.event, Event::Reaped { outcome: "expired", .. }));
            let at_ms: Vec<u64> = reaped.map(|entry| entry.at_ms).collect();
            assert_eq!(at_ms.len(), 6);
            assert!(at_ms.iter().all(|at| *at == at_ms[0]), "seed {seed}: {at_ms:?}\n{}", stage.world.log().text());
            stage.pass(secs(120)).await;
            assert_eq!(heir.stop().await.succeeded, 6);
            lost.stop().await;
        });
    }
}

#[test]
fn a_handler_whose_lease_was_taken_is_dropped_with_the_first_renewal() {
    for seed in 0..6 {
        play(seed, async |stage| {
            let zombie = stage.worker("a");
            stage.pass(secs(2)).await;
            stage.enqueue(1..=3, secs(120)).await;
            stage.pass(secs(2)).await;
            let heir = stage.worker("b");
            stage.world.network().silence("a");
            stage.until(|event| matches!(event, Event::Reaped { .. })).await;
            stage.pass(secs(3)).await;
            stage.world.network().reset("a");
            stage.pass(BRIEF).await;
            assert_eq!(stage.count(|event| matches!(event, Event::Dropped { .. })), 3);
            stage.pass(secs(130)).await;
            assert_eq!(heir.stop().await.succeeded + zombie.stop().await.succeeded, 3);
        });
    }
}

/// Every process stands still, and the database does not: each finds its looks late and holds off.
#[test]
fn after_a_stall_of_the_whole_fleet_renewals_come_before_reaps() {
    for seed in 0..6 {
        play(seed, async |stage| {
            let [a, b] = ["a", "b"].map(|host| stage.worker_with(host, |worker| worker.queue("default", 3)));
            stage.enqueue(1..=6, secs(200)).await;
            stage.pass(secs(30) + Duration::from_millis(211 * seed)).await;
            tokio::time::advance(3 * TTL).await;
            // Coming back takes longer than a look of those who are there.
            stage.world.network().reset("a");
            stage.pass(secs(200)).await;
            let (a, b) = (a.stop().await, b.stop().await);
            assert_eq!((a.succeeded + b.succeeded, a.leases_lost + b.leases_lost), (6, 0));
            stage.assert_all_succeeded_at_once(1..=6);
            assert_eq!(stage.reaps(), 0, "seed {seed}:\n{}", stage.world.log().text());
            assert!(stage.count(|event| matches!(event, Event::Renewed { overdue_ms: 1.., .. })) > 0);
            assert!(stage.count(|event| *event == Event::Ran(Statement::Watch)) > 0);
        });
    }
}
