//! Worker processes that are killed or stopped: what becomes of their jobs.

use crate::common::{Background, database, until};
use faultline::{Client, JobId, JobRecord, LeaseId, State, WorkerId};
use faultline_store::finish::{Ending, Finish, Finished, finish};
use faultline_store::read;
use rustix::process::Signal;
use serde_json::json;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The promise: from `kill -9` to the start on another worker, at default settings.
const RECOVERY: Duration = Duration::from_secs(4);

/// A client with the runtime it needs, so that the tests can wait as the others do.
struct Db {
    runtime: Runtime,
    client: Client,
}

impl Db {
    fn new(url: &str) -> Self {
        Self { runtime: Runtime::new().unwrap(), client: Client::lazy(url).unwrap() }
    }

    fn sleepers(&self, count: usize, ms: u64) -> Vec<JobId> {
        let job = || self.client.enqueue_raw("demo.sleep", json!({"ms": ms})).into_new_job().unwrap();
        let jobs: Vec<_> = (0..count).map(|_| job()).collect();
        self.runtime.block_on(self.client.enqueue_all(&jobs)).unwrap();
        jobs.iter().map(|job| job.id).collect()
    }

    /// Waits until a job looks as wanted.
    fn job(&self, what: &str, id: JobId, wanted: impl Fn(&JobRecord) -> bool) -> JobRecord {
        until(what, || self.runtime.block_on(self.client.get(id)).unwrap().filter(|job| wanted(job)))
    }

    fn worker(&self, process: &Background) -> WorkerId {
        let workers = self.runtime.block_on(self.client.database().run(async |c| read::workers(c).await)).unwrap();
        workers.into_iter().find(|worker| worker.pid == process.pid()).unwrap().id
    }

    /// What a worker that is taken for dead may still say of a job.
    fn late_finish(&self, id: JobId, lease_id: LeaseId) -> Finished {
        let late = [Finish { id, lease_id, ending: Ending::Complete(None) }];
        let call = self.client.database().run(async |c| finish(c, "default", &late).await);
        self.runtime.block_on(call).unwrap()[0]
    }
}

#[test]
fn jobs_of_a_killed_worker_start_elsewhere_within_the_promised_time() {
    let database = database();
    let db = Db::new(&database.url());
    let worker = || Background::worker(&database, &["--demo", "--queue", "default:100"]);
    let mut workers: Vec<_> = (0..4).map(|_| worker()).collect();
    let mut recoveries: Vec<Duration> = Vec::new();
    for round in 0..3 {
        let ids = db.sleepers(40, 6000);
        let running: Vec<JobRecord> =
            ids.iter().map(|id| db.job("the job to run", *id, |job| job.state == State::Running)).collect();
        let victim_id = running[0].lease.unwrap().owner;
        let victim = workers.iter().position(|worker| db.worker(worker) == victim_id).unwrap();
        let victim = workers.remove(victim);
        let orphans: Vec<(JobId, LeaseId)> = running
            .iter()
            .filter_map(|job| job.lease.filter(|lease| lease.owner == victim_id).map(|lease| (job.id, lease.id)))
            .collect();
        let killed_at = jiff::Timestamp::now();
        victim.signal(Signal::KILL);
        for (id, old_lease) in &orphans {
            let again = db.job("the job to run again", *id, |job| job.attempts == 2 && job.started_at.is_some());
            recoveries.push(again.started_at.unwrap().duration_since(killed_at).unsigned_abs());
            assert_eq!(db.late_finish(*id, *old_lease), Finished::LeaseLost);
        }
        for id in &ids {
            let attempts = if orphans.iter().any(|(orphan, _)| orphan == id) { 2 } else { 1 };
            let job = db.job("the job to end", *id, |job| job.state.is_terminal());
            assert_eq!((job.state, job.attempts), (State::Succeeded, attempts), "round {round}");
        }
        workers.push(worker());
    }
    recoveries.sort_unstable();
    println!(
        "{} recoveries, median {:?}, max {:?}",
        recoveries.len(),
        recoveries[recoveries.len() / 2],
        recoveries.last()
    );
    assert!(recoveries.last().is_some_and(|longest| *longest < RECOVERY), "{recoveries:?}");
    assert!(workers.iter_mut().all(|worker| worker.stop() == 0));
}

#[test]
fn a_stopped_worker_that_goes_on_is_refused_and_its_handlers_are_cancelled() {
    let database = database();
    let db = Db::new(&database.url());
    let worker = || Background::worker(&database, &["--demo", "--lease-ttl", "1s"]);
    let mut zombie = worker();
    // One handler would end while the process is stopped, the other one long after.
    let ids = [db.sleepers(1, 1500)[0], db.sleepers(1, 600_000)[0]];
    for id in ids {
        db.job("the job to run", id, |job| job.state == State::Running);
    }
    zombie.signal(Signal::STOP);
    let mut heir = worker();
    for id in ids {
        db.job("the job to run again", id, |job| job.attempts == 2 && job.state == State::Running);
    }
    zombie.signal(Signal::CONT);
    // Both handlers: stopped, or refused at their finish.
    until("the zombie to see its leases lost", || {
        (zombie.printed().matches("the lease was lost").count() == 2).then_some(())
    });
    let job = db.job("the short job to end", ids[0], |job| job.state.is_terminal());
    assert_eq!((job.state, job.attempts), (State::Succeeded, 2));
    let attempts = db.runtime.block_on(db.client.attempts(ids[0])).unwrap();
    let outcomes: Vec<&str> = attempts.iter().map(|attempt| attempt.outcome.as_str()).collect();
    assert_eq!(outcomes, ["expired"]);
    let long = db.job("the long job", ids[1], |_| true);
    assert_eq!((long.state, long.lease.unwrap().owner), (State::Running, db.worker(&heir)));
    db.runtime.block_on(db.client.cancel(ids[1])).unwrap();
    db.job("the long job to end", ids[1], |job| job.state == State::Cancelled);
    assert_eq!((zombie.stop(), heir.stop()), (0, 0));
}
