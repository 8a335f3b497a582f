//! The disk of the tables is full: looks are answered and marks are committed, and whatever needs another page is refused.

use crate::common::{BRIEF, TTL, play, secs};
use faultline_sim::{Event, Statement};
use std::time::Duration;

/// What no page has room for.
const WRITES: [Statement; 6] =
    [Statement::Renew, Statement::Rehearse, Statement::Reap, Statement::Complete, Statement::Fail, Statement::PutBack];

fn outlive(seed: u64, length: Duration, with_workers: bool) {
    play(seed, async |stage| {
        let workers = ["a", "b"].map(|host| stage.worker_with(host, |worker| worker.queue("default", 3)));
        stage.enqueue(1..=6, secs(60) + length + 2 * TTL).await;
        stage.pass(secs(30) + Duration::from_millis(317 * seed)).await;
        let more = [Statement::Register, Statement::Heartbeat, Statement::Bury].into_iter().filter(|_| with_workers);
        stage.world.fill_disk(&WRITES.into_iter().chain(more).collect::<Vec<_>>());
        stage.pass(length).await;
        stage.world.clear_disk();
        stage.pass(secs(60) + 3 * TTL + BRIEF).await;
        stage.assert_all_succeeded_at_once(1..=6);
        assert_eq!(stage.reaps(), 0, "seed {seed}, {length:?}:\n{}", stage.world.log().text());
        assert!(stage.count(|event| *event == Event::Fault("no space for Renew".into())) > 0);
        for worker in workers {
            assert_eq!(worker.stop().await.leases_lost, 0);
        }
    });
}

/// Whoever looks first when there is space again sees leases that have expired, and must not be quicker than their renewals.
#[test]
fn a_full_disk_is_outlived_whenever_it_has_space_again() {
    for seed in 0..12 {
        outlive(seed, TTL + Duration::from_millis(331 * seed), false);
    }
}

/// A worker that cannot register seems to be gone as well.
#[test]
fn a_disk_that_is_full_for_the_signs_of_life_as_well_is_outlived() {
    for seed in 0..12 {
        outlive(seed, TTL / 3 + Duration::from_millis(3001 * seed), true);
    }
}
