//! Anything at any time, from a seed: faults that overlap, on workers that come and go. And the same seed twice.

use crate::common::{BRIEF, Running, Stage, TTL, play, secs};
use faultline_sim::{Event, Loss, Statement};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

const HOSTS: [&str; 3] = ["a", "b", "c"];
const JOBS: u128 = 40;
/// Faults of one storm.
const FAULTS: usize = 12;
/// How many storms, unless this variable says otherwise.
const STORMS: u64 = 8;
const STORMS_VARIABLE: &str = "FAULTLINE_STORMS";

const STATEMENTS: [Statement; 8] = [
    Statement::Claim,
    Statement::RecoverClaim,
    Statement::Renew,
    Statement::Complete,
    Statement::PutBack,
    Statement::Watch,
    Statement::Reap,
    Statement::Register,
];
const LOSSES: [Loss; 3] = [Loss::RequestReset, Loss::AnswerReset, Loss::AnswerSilent];

fn ms(random: &mut StdRng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(random.random_range(range))
}

fn one<'a, T>(random: &mut StdRng, of: &'a [T]) -> &'a T {
    &of[random.random_range(0..of.len())]
}

/// One fault; what it begins it ends.
async fn fault(stage: &Stage, random: &mut StdRng, workers: &mut [Option<Running>; 3]) {
    let network = stage.world.network();
    let at = random.random_range(0..HOSTS.len());
    let host = HOSTS[at];
    let length = ms(random, 50..40_000);
    let kind = random.random_range(0..6);
    stage.world.note(host, Event::Fault(format!("{kind} for {length:?}")));
    match kind {
        0 => network.reset(host),
        1 => {
            network.refuse(host);
            stage.pass(length).await;
            network.reset(host);
        }
        2 => {
            network.silence(host);
            stage.pass(length).await;
            if random.random_bool(0.5) { network.resume(host) } else { network.reset(host) }
        }
        3 => {
            stage.world.stop_server();
            stage.pass(length).await;
            stage.world.start_server();
        }
        4 => network.lose(host, *one(random, &STATEMENTS), *one(random, &LOSSES)),
        _ => match workers[at].take() {
            Some(worker) => drop(worker.stop().await),
            None => workers[at] = Some(stage.worker_with(host, |worker| worker.queue("default", 5).grace(secs(5)))),
        },
    }
}

/// Jobs, faults, peace; then everything must have been done. Answers the log.
fn storm(seed: u64) -> String {
    play(seed, async |stage| {
        let mut random = StdRng::seed_from_u64(seed);
        let mut workers = HOSTS.map(|host| Some(stage.worker_with(host, |worker| worker.queue("default", 5))));
        for id in 1..=JOBS {
            let sleep =
                if random.random_bool(0.2) { ms(&mut random, 20_000..90_000) } else { ms(&mut random, 0..5000) };
            stage.enqueue([id], sleep).await;
            if id % (JOBS / FAULTS as u128) == 0 {
                fault(stage, &mut random, &mut workers).await;
            }
            let pause = ms(&mut random, 0..6000);
            stage.pass(pause).await;
        }
        HOSTS.iter().for_each(|host| stage.world.network().reset(host));
        let last = stage.worker("d");
        // A statement that was never answered is waited for; then a lease, and the longest of the jobs, twice.
        stage.pass(secs(40) + 2 * TTL + 2 * secs(90) + BRIEF).await;
        for worker in workers.into_iter().flatten().chain([last]) {
            worker.stop().await;
        }
        let store = stage.world.store();
        assert!(store.jobs.is_empty(), "seed {seed}: {:?}\n{}", store.jobs, stage.world.log().text());
        assert_eq!(store.history.len() as u128, JOBS, "seed {seed}");
        assert!(store.history.iter().all(|ended| ended.state == "succeeded"), "seed {seed}");
        drop(store);
        stage.world.log().text()
    })
}

#[test]
fn storms_leave_nothing_undone() {
    let storms = std::env::var(STORMS_VARIABLE).map_or(STORMS, |number| number.parse().unwrap());
    let mut all = String::new();
    for seed in 0..storms {
        all += &storm(seed);
    }
    for required in ["Reaped", "NotMoved", "NotRenewed", "Buried", "Dropped", "Ran(RecoverClaim)", "Ran(PutBack)"] {
        assert!(all.contains(required), "no storm brought {required}");
    }
}

#[test]
fn the_same_seed_gives_the_same_log_and_another_seed_another() {
    let (first, second) = (storm(1), storm(1));
    let differs = first.lines().zip(second.lines()).find(|(first, second)| first != second);
    assert_eq!(differs, None);
    assert_eq!(first.len(), second.len());
    assert_ne!(first, storm(2));
}
