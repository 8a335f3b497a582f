//! The database goes away and comes back: whoever survives keeps its jobs, and pays nothing.

use crate::common::{BRIEF, Stage, TTL, play, secs};
use faultline_sim::Event;
use faultline_store::{Error, Plans};
use std::time::Duration;

const HOSTS: [&str; 2] = ["a", "b"];

#[derive(Debug, Clone, Copy)]
enum Outage {
    /// The server stops and starts again.
    Restart,
    /// Nobody can reach the server; it goes on, and sees every session end at once.
    Refused,
    /// Nothing gets through. What was sent meanwhile arrives when the network is back.
    SilentThenResumed,
    /// Nothing gets through, and in the end all connections are dead.
    SilentThenReset,
    /// Nothing gets through while the server is replaced.
    SilentAndRestarted,
}

const OUTAGES: [Outage; 5] =
    [Outage::Restart, Outage::Refused, Outage::SilentThenResumed, Outage::SilentThenReset, Outage::SilentAndRestarted];

impl Outage {
    async fn happen(self, stage: &Stage, length: Duration) {
        let network = stage.world.network();
        stage.world.note("network", Event::Fault(format!("{self:?} for {length:?}")));
        let each = |change: &dyn Fn(&str)| HOSTS.iter().for_each(|host| change(host));
        match self {
            Self::Restart => stage.world.stop_server(),
            Self::Refused => each(&|host| network.refuse(host)),
            Self::SilentThenResumed | Self::SilentThenReset => each(&|host| network.silence(host)),
            Self::SilentAndRestarted => {
                each(&|host| network.silence(host));
                stage.world.stop_server();
            }
        }
        stage.pass(length).await;
        match self {
            Self::Restart => stage.world.start_server(),
            Self::Refused | Self::SilentThenReset => each(&|host| network.reset(host)),
            Self::SilentThenResumed => each(&|host| network.resume(host)),
            Self::SilentAndRestarted => {
                stage.world.start_server();
                each(&|host| network.resume(host));
            }
        }
        stage.world.note("network", Event::Fault("is well".into()));
    }
}

/// Some jobs end before the outage, some in it and some after it; none of them notices.
fn outlive(outage: Outage, seed: u64, length: Duration) {
    play(seed, async |stage| {
        let workers = HOSTS.map(|host| stage.worker_with(host, |worker| worker.queue("default", 4)));
        stage.enqueue(1..=2, secs(10)).await;
        stage.enqueue(3..=4, secs(40) + length / 2).await;
        stage.enqueue(5..=8, secs(60) + length + 2 * TTL).await;
        stage.pass(secs(30) + Duration::from_millis(617 * seed)).await;
        outage.happen(stage, length).await;
        let healed_ms = stage.world.elapsed_ms();
        stage.pass(secs(60) + 3 * TTL + BRIEF).await;
        for id in 1..=8 {
            assert_eq!(stage.starts(id), 1, "job {id} after {outage:?}, seed {seed}:\n{}", stage.world.log().text());
        }
        stage.assert_all_succeeded_at_once(1..=8);
        assert_eq!(stage.reaps(), 0);
        assert_eq!(stage.count(|event| matches!(event, Event::Dropped { .. })), 0);
        let first_renewal_ms = stage.world.log().entries().iter().find_map(|entry| {
            (matches!(entry.event, Event::Renewed { .. }) && entry.at_ms >= healed_ms).then(|| entry.at_ms - healed_ms)
        });
        assert!(first_renewal_ms.is_some_and(|ms| ms < 2000), "{first_renewal_ms:?}");
        for worker in workers {
            assert_eq!(worker.stop().await.leases_lost, 0);
        }
    });
}

#[test]
fn an_outage_shorter_than_a_lease_is_outlived() {
    for (seed, outage) in (0..).zip(OUTAGES.into_iter().cycle().take(10)) {
        outlive(outage, seed, TTL.mul_f64(0.3));
    }
}

#[test]
fn an_outage_longer_than_a_lease_is_outlived() {
    for (seed, outage) in (0..).zip(OUTAGES.into_iter().cycle().take(10)) {
        outlive(outage, seed, TTL.mul_f64(1.7));
    }
}

#[test]
fn an_outage_of_twenty_lease_times_is_outlived() {
    for (seed, outage) in (0..).zip(OUTAGES.into_iter().cycle().take(5)) {
        outlive(outage, seed, TTL * 20);
    }
}

/// The holdoff protects survivors; who did not survive is relieved when it ends, whether its leases have or not.
#[test]
fn who_did_not_outlive_an_outage_is_relieved_after_one_lease_time_of_contact() {
    for (seed, length) in [(0, TTL.mul_f64(0.3)), (1, TTL.mul_f64(0.3)), (2, TTL * 2), (3, TTL * 2)] {
        play(seed, async |stage| {
            let lost = stage.worker("a");
            stage.pass(secs(2)).await;
            stage.enqueue(1..=4, secs(60)).await;
            stage.pass(secs(2)).await;
            let survivor = stage.worker("b");
            stage.enqueue(5..=8, secs(60)).await;
            stage.pass(secs(20)).await;
            stage.world.stop_server();
            stage.world.network().silence("a");
            stage.pass(length).await;
            stage.world.start_server();
            let healed_ms = stage.world.elapsed_ms();
            stage.until(|event| matches!(event, Event::Reaped { .. })).await;
            let took = Duration::from_millis(stage.world.elapsed_ms() - healed_ms);
            assert!(took >= TTL && took < TTL + BRIEF, "{took:?} after {length:?}:\n{}", stage.world.log().text());
            stage.pass(secs(100)).await;
            assert_eq!(survivor.stop().await.leases_lost, 0);
            assert_eq!(stage.world.store().history.len(), 8);
            lost.stop().await;
        });
    }
}

/// Longer away than the grace of a missing worker, but not longer than the holdoff of those who were away themselves.
#[test]
fn who_comes_back_later_than_others_is_waited_for() {
    for seed in 0..6 {
        play(seed, async |stage| {
            let workers = HOSTS.map(|host| stage.worker_with(host, |worker| worker.queue("default", 4)));
            stage.enqueue(1..=8, secs(120)).await;
            stage.pass(secs(30)).await;
            HOSTS.iter().for_each(|host| stage.world.network().refuse(host));
            stage.pass(secs(20)).await;
            stage.world.network().reset("b");
            stage.pass(secs(4 + seed)).await;
            stage.world.network().reset("a");
            stage.pass(secs(100)).await;
            stage.assert_all_succeeded_at_once(1..=8);
            assert_eq!(stage.reaps(), 0);
            for worker in workers {
                assert_eq!(worker.stop().await.succeeded, 4);
            }
        });
    }
}

/// A server that was stopped accepts connections and says nothing.
#[test]
fn a_session_that_is_never_greeted_is_given_up() {
    play(1, async |stage| {
        stage.world.network().silence("a");
        let answer = stage.world.database("a").session("test", Plans::Free).await;
        assert!(matches!(answer, Err(Error::Unreachable { .. })));
        let took = Duration::from_millis(stage.world.elapsed_ms());
        assert!(took >= secs(5) && took < TTL, "{took:?}");
    });
}
