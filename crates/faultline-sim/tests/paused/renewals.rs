//! Leases are kept for as long as handlers run.

use crate::common::{TTL, play, secs};
use faultline_sim::Event;
use std::collections::BTreeMap;
use std::time::Duration;

#[test]
fn ten_minutes_of_work_keep_their_lease() {
    for seed in 0..4 {
        play(seed, async |stage| {
            let (a, b) = (stage.worker("a"), stage.worker("b"));
            stage.enqueue(1..=3, secs(600)).await;
            stage.pass(secs(620)).await;
            let (a, b) = (a.stop().await, b.stop().await);
            assert_eq!(a.succeeded + b.succeeded, 3);
            stage.assert_all_succeeded_at_once(1..=3);
            assert_eq!(stage.reaps(), 0);
            let mut last_ms = BTreeMap::new();
            for entry in stage.world.log().entries() {
                if let Event::Claimed { job, .. } | Event::Renewed { job, .. } | Event::Moved { job, .. } = entry.event
                    && let Some(last) = last_ms.insert(job, entry.at_ms)
                {
                    assert!(entry.at_ms - last < 6000, "renewed each third of {TTL:?}: {entry}");
                }
            }
            assert_eq!(last_ms.len(), 3);
        });
    }
}

#[test]
fn the_shortest_lease_lasts_through_thousands_of_renewals() {
    play(1, async |stage| {
        let short = Duration::from_millis(300);
        let worker = stage.worker_with("a", |worker| worker.lease_ttl(short));
        let other = stage.worker_with("b", |worker| worker.lease_ttl(short));
        stage.enqueue(1..=2, secs(300)).await;
        stage.pass(secs(310)).await;
        worker.stop().await;
        other.stop().await;
        stage.assert_all_succeeded_at_once(1..=2);
        assert!(stage.count(|event| matches!(event, Event::Renewed { overdue_ms: 0, .. })) > 5000);
        assert_eq!(stage.count(|event| matches!(event, Event::Renewed { overdue_ms: 1.., .. })), 0);
        assert_eq!(stage.reaps(), 0);
    });
}

/// Thousands of renewals take a while, and on the same session come the hints that there is work.
#[test]
fn work_that_comes_amid_thousands_of_renewals_does_not_wait_for_the_rest() {
    const LONG_ONES: u32 = 6000;
    const SHORT_ONE: u128 = 10_000;
    play(3, async |stage| {
        let slots = LONG_ONES as usize + 1;
        let worker = stage.worker_with("a", |worker| worker.queue("default", slots).grace(secs(1)));
        stage.pass(secs(1)).await;
        for first in (1..=u128::from(LONG_ONES)).step_by(1000) {
            stage.enqueue(first..first + 1000, secs(60)).await;
        }
        stage.until(|event| matches!(event, Event::Renewed { .. })).await;
        let sent_ms = stage.world.elapsed_ms();
        stage.enqueue([SHORT_ONE], secs(1)).await;
        stage.until(|event| matches!(event, Event::Started { job, .. } if job.as_u128() == SHORT_ONE)).await;
        let took_ms = stage.world.elapsed_ms() - sent_ms;
        stage.pass(secs(1)).await;
        let log = stage.world.log().entries();
        let renewals = log.iter().filter(|entry| matches!(entry.event, Event::Renewed { .. }));
        let round_ms = renewals.map(|entry| entry.at_ms).max().unwrap() - sent_ms;
        assert!(took_ms < round_ms / 2, "it started after {took_ms} ms, the renewals took {round_ms}");
        worker.stop().await;
    });
}
