//! What the loops ask of the database when there is nothing to do, and for each job when there is: statements, counted.

use crate::common::{play, secs};
use faultline_sim::{Event, Statement};
use std::time::Duration;

/// Long enough for every period that the loops have but the daily partitions.
const WATCHED: Duration = Duration::from_secs(600);
/// What a worker does at its start: sessions, registration, partitions, a first look.
const START: Duration = Duration::from_secs(20);

fn is_statement(event: &Event) -> bool {
    matches!(event, Event::Ran(_))
}

#[test]
fn an_idle_worker_asks_at_most_once_a_second_whoever_is_beside_it() {
    for workers in [1, 4] {
        play(1, async |stage| {
            let running: Vec<_> = ["a", "b", "c", "d"][..workers]
                .iter()
                .map(|host| stage.worker_with(host, |worker| worker.queue("default", 1000)))
                .collect();
            stage.pass(START).await;
            let before = stage.world.log().count(is_statement);
            stage.pass(WATCHED).await;
            let asked = stage.world.log().count(is_statement) - before;
            let seconds = usize::try_from(WATCHED.as_secs()).unwrap() * workers;
            println!("{workers} workers: {asked} statements in {seconds} worker seconds");
            // Not silent either: what was not notified is found by looking.
            assert!((seconds / 4..=seconds).contains(&asked), "{workers} workers: {asked} statements in {seconds} s");
            for worker in running {
                worker.stop().await;
            }
        });
    }
}

#[test]
fn a_burst_of_jobs_costs_few_statements_a_job() {
    const JOBS: u128 = 5000;
    for seed in 0..3 {
        play(seed, async |stage| {
            let worker = stage.worker_with("a", |worker| worker.queue("default", 1000));
            stage.pass(START).await;
            let of = |statement| stage.world.log().count(|event| *event == Event::Ran(statement));
            stage.enqueue(1..=JOBS, Duration::from_millis(20)).await;
            stage.pass(secs(10)).await;
            let (claims, finishes, enqueues) =
                (of(Statement::Claim), of(Statement::Complete), of(Statement::EnqueueAlike));
            println!("seed {seed}: {claims} claims, {finishes} finishes, {enqueues} enqueues for {JOBS} jobs");
            assert_eq!(worker.stop().await.succeeded, JOBS as u64);
            assert_eq!(enqueues, 1);
            // The last two of the claims find less than there are slots, and look once more.
            assert!(claims <= 30 && finishes <= 30, "{claims} claims and {finishes} finishes for {JOBS} jobs");
        });
    }
}
