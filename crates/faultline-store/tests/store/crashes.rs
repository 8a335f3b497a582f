//! Crash accounting: a job that kills its worker ends as a crash loop within bounds, and the jobs beside it lose at most
//! one attempt each - wherever they stand: in the same queue, in another one of the same worker, in another round of a reap.
//!
//! The simulation takes the part of a worker: it claims what its slots hold, runs jobs that fell more than once one at a
//! time and gives the others of them back, and dies with all it holds when the poison is among them.

use crate::common::{
    BACK, Db, LONG, LOOK_AT, SUCCEEDED, complete, count, end_in, facts, facts_of, job, lease, reap, release, worker,
};
use faultline_core::{JobId, NewJob};
use faultline_store::enqueue::enqueue;
use faultline_store::lease::{ClaimedJob, Floors, claim};
use faultline_store::presence::{WorkerFacts, register};
use faultline_store::reap::{REAP_LIMIT, bury, watch};
use faultline_store::{Plans, Session};
use std::time::Duration;

/// Crashes after which a worker runs a job beside no other such one.
const ISOLATE_AFTER: i32 = 2;
/// Attempts that the poison has.
const POISON_ATTEMPTS: i32 = 5;
/// More rounds than any of the tests may need.
const MAX_ROUNDS: usize = 60;

/// How the loss of a worker is noticed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Its session is gone.
    Absent,
    /// Its leases expire.
    Expired,
}

struct Fleet {
    session: Session,
    queues: Vec<String>,
    slots: usize,
    seen: Seen,
    poison: JobId,
}

impl Fleet {
    /// A poison in the first of the queues.
    async fn with_poison(db: &Db, queues: &[&str], slots: usize, seen: Seen) -> Self {
        let session = db.session_with(Plans::InOrder).await;
        let poison = NewJob { queue: queues[0].into(), max_attempts: POISON_ATTEMPTS, ..job() };
        enqueue(&session, std::slice::from_ref(&poison)).await.unwrap();
        let queues = queues.iter().map(|queue| (*queue).to_owned()).collect();
        Self { session, queues, slots, seen, poison: poison.id }
    }

    async fn add_neighbours(&self, queue: &str, n: usize) -> Vec<JobId> {
        let jobs: Vec<NewJob> = (0..n).map(|_| NewJob { queue: queue.into(), max_attempts: 3, ..job() }).collect();
        enqueue(&self.session, &jobs).await.unwrap();
        jobs.iter().map(|job| job.id).collect()
    }

    /// What one worker does; answers whether it died.
    async fn round(&self) -> bool {
        let id = worker();
        let ttl = if self.seen == Seen::Absent { LONG } else { Duration::ZERO };
        let mut runs: Vec<(&String, ClaimedJob)> = Vec::new();
        let mut is_isolated = false;
        for queue in &self.queues {
            for job in claim(&self.session, queue, lease(), id, ttl, self.slots, &Floors::head()).await.unwrap() {
                let isolate = job.crashes >= ISOLATE_AFTER;
                if isolate && is_isolated {
                    assert_eq!(end_in(&self.session, queue, &job, release()).await, BACK);
                } else {
                    is_isolated |= isolate;
                    runs.push((queue, job));
                }
            }
        }
        let dies = runs.iter().any(|(_, job)| job.id == self.poison);
        match (dies, self.seen) {
            (true, Seen::Absent) => self.lose(id).await,
            (true, Seen::Expired) => self.expire().await,
            (false, _) => {
                for (queue, job) in runs {
                    assert_eq!(end_in(&self.session, queue, &job, complete()).await, SUCCEEDED);
                }
            }
        }
        assert_eq!(count(&self.session, "faultline.jobs where state = 'running'").await, 0);
        dies
    }

    async fn lose(&self, id: faultline_core::WorkerId) {
        register(&self.session, &WorkerFacts { queues: self.queues.clone(), ..facts_of(id) }, false).await.unwrap();
        let gone = "update faultline.workers set presence_pid = -1, presence_started_at = now(),
            presence_server = pg_postmaster_start_time() where id = $1";
        self.session.execute(gone, &[&id.0]).await.unwrap();
        assert_eq!(watch(&self.session, &self.queues, LOOK_AT).await.unwrap().absent, [id]);
        bury(&self.session, &[], &[id], LOOK_AT, &mut Vec::new()).await.unwrap();
    }

    async fn expire(&self) {
        while !reap(&self.session, &self.queues, &[], LOOK_AT).await.unwrap().is_empty() {}
    }

    /// Runs until nothing is left; answers how many workers died.
    async fn run(&self) -> i32 {
        let mut deaths = 0;
        for _ in 0..MAX_ROUNDS {
            deaths += i32::from(self.round().await);
            if count(&self.session, "faultline.jobs").await == 0 {
                return deaths;
            }
        }
        panic!("not done after {MAX_ROUNDS} rounds");
    }

    async fn assert_contained(&self, neighbours: &[JobId], deaths: i32) {
        let poison = facts(&self.session, self.poison).await;
        assert_eq!(
            (poison.state.as_str(), poison.reason.as_deref()),
            ("failed", Some("crash_loop")),
            "{}",
            poison.short()
        );
        assert_eq!(poison.attempts, POISON_ATTEMPTS);
        assert!(deaths <= POISON_ATTEMPTS + 1, "{deaths} workers died of {POISON_ATTEMPTS} attempts");
        for id in neighbours {
            let neighbour = facts(&self.session, *id).await;
            let lost = neighbour.log.iter().filter(|(_, _, charged)| *charged).count();
            assert!(neighbour.state == "succeeded" && lost <= 1, "a neighbour: {}", neighbour.short());
        }
    }
}

#[tokio::test]
async fn a_poison_ends_as_a_crash_loop_and_its_neighbours_lose_one_attempt_at_most() {
    for seen in [Seen::Absent, Seen::Expired] {
        let db = Db::migrated();
        let fleet = Fleet::with_poison(&db, &["a"], 10, seen).await;
        let neighbours = fleet.add_neighbours("a", 9).await;
        let deaths = fleet.run().await;
        fleet.assert_contained(&neighbours, deaths).await;
    }
}

#[tokio::test]
async fn a_poison_alone_is_charged_each_time() {
    let db = Db::migrated();
    let fleet = Fleet::with_poison(&db, &["a"], 10, Seen::Absent).await;
    assert_eq!(fleet.run().await, POISON_ATTEMPTS);
    fleet.assert_contained(&[], POISON_ATTEMPTS).await;
}

#[tokio::test]
async fn neighbours_that_arrive_later_pay_nothing_for_a_known_poison() {
    let db = Db::migrated();
    let fleet = Fleet::with_poison(&db, &["a"], 100, Seen::Absent).await;
    let mut neighbours = fleet.add_neighbours("a", 4).await;
    let mut deaths = 0;
    for round in 0..20 {
        deaths += i32::from(fleet.round().await);
        if round > 0 {
            neighbours.extend(fleet.add_neighbours("a", 5).await);
        }
    }
    deaths += fleet.run().await;
    fleet.assert_contained(&neighbours, deaths).await;
    for late in &neighbours[4..] {
        let late = facts(&fleet.session, *late).await;
        assert!(late.log.iter().all(|(_, _, charged)| !charged), "a late neighbour: {}", late.short());
    }
}

#[tokio::test]
async fn neighbours_in_another_queue_of_the_worker_lose_one_attempt_at_most() {
    for seen in [Seen::Absent, Seen::Expired] {
        let db = Db::migrated();
        let fleet = Fleet::with_poison(&db, &["a", "b"], 10, seen).await;
        let neighbours = fleet.add_neighbours("b", 3).await;
        let deaths = fleet.run().await;
        fleet.assert_contained(&neighbours, deaths).await;
    }
}

#[tokio::test]
async fn more_neighbours_than_one_statement_reaps_pay_nothing_for_a_known_poison() {
    let db = Db::migrated();
    let slots = REAP_LIMIT + 100;
    let fleet = Fleet::with_poison(&db, &["a", "b"], slots, Seen::Absent).await;
    fleet.session.batch_execute("update faultline.jobs set crashes = 1").await.unwrap();
    let mut neighbours = fleet.add_neighbours("a", slots - 1).await;
    neighbours.extend(fleet.add_neighbours("b", slots).await);
    let deaths = fleet.run().await;
    fleet.assert_contained(&neighbours, deaths).await;
    assert_eq!(count(&fleet.session, "faultline.job_attempts where charged").await, i64::from(POISON_ATTEMPTS) - 1);
}
