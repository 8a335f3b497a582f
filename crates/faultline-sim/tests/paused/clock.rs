//! The database's clock is set: leases are written and compared by it, so all of them seem to end at once, or much later.

use crate::common::{BRIEF, TTL, play, secs};
use faultline_sim::Event;
use jiff::SignedDuration;
use std::time::Duration;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Every lease has expired for whoever asks the clock; those who hold them renew before anybody is allowed to take them.
#[test]
fn a_clock_that_is_set_ahead_costs_no_living_worker_its_jobs() {
    for seed in 0..20 {
        play(seed, async |stage| {
            let workers = ["a", "b"].map(|host| stage.worker_with(host, |worker| worker.queue("default", 4)));
            stage.enqueue(1..=8, secs(120)).await;
            stage.pass(secs(30) + TTL.mul_f64(0.05) * u32::try_from(seed).unwrap()).await;
            stage.world.set_clock(HOUR);
            stage.pass(secs(100) + BRIEF).await;
            stage.assert_all_succeeded_at_once(1..=8);
            assert_eq!(stage.reaps(), 0);
            for worker in workers {
                assert_eq!(worker.stop().await.leases_lost, 0);
            }
        });
    }
}

/// A lease that a dead worker left lasts an hour longer by the clock; that its session is gone is seen without asking the clock.
#[test]
fn a_clock_that_is_set_back_delays_no_recovery() {
    for seed in 0..10 {
        play(seed, async |stage| {
            let lost = stage.worker("a");
            stage.pass(secs(2)).await;
            stage.enqueue(1..=4, secs(60)).await;
            stage.pass(secs(2)).await;
            let survivor = stage.worker("b");
            stage.pass(secs(20)).await;
            stage.world.set_clock(-HOUR);
            stage.pass(secs(20)).await;
            stage.world.network().refuse("a");
            let gone_ms = stage.world.elapsed_ms();
            stage.until(|event| matches!(event, Event::Reaped { .. })).await;
            let took = Duration::from_millis(stage.world.elapsed_ms() - gone_ms);
            assert!(took < BRIEF, "{took:?}:\n{}", stage.world.log().text());
            stage.pass(secs(100)).await;
            assert_eq!(stage.world.store().history.len(), 4);
            assert_eq!(survivor.stop().await.leases_lost, 0);
            lost.stop().await;
        });
    }
}
