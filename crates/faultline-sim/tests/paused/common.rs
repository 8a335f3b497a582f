//! What these tests share: a stage with a world and its workers, and what must hold of every log.

use faultline::{Failure, JobId, Summary, Worker};
use faultline_core::NewJob;
use faultline_sim::{Entry, Event, World};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const TTL: Duration = faultline::DEFAULT_LEASE_TTL;
/// Longer than any renewal, look, pause or reconnect takes while the network is well.
pub(crate) const BRIEF: Duration = Duration::from_secs(4);

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Runs a test in a world of its own under paused time.
pub(crate) fn play<T>(seed: u64, test: impl AsyncFnOnce(&Stage) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let stage = Stage { world: World::new(seed) };
        let answer = test(&stage).await;
        stage.judge();
        answer
    })
}

pub(crate) struct Stage {
    pub(crate) world: World,
}

/// A worker under test.
pub(crate) struct Running {
    stop: CancellationToken,
    ended: JoinHandle<Result<Summary, faultline::Error>>,
}

impl Running {
    pub(crate) fn tell_to_stop(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn stop(self) -> Summary {
        self.stop.cancel();
        self.ended.await.unwrap().unwrap()
    }
}

impl Stage {
    /// A worker of the queue `default`; its handler sleeps for the milliseconds of the payload.
    pub(crate) fn worker(&self, host: &'static str) -> Running {
        self.worker_with(host, |worker| worker)
    }

    pub(crate) fn worker_with(&self, host: &'static str, with: impl FnOnce(Worker) -> Worker) -> Running {
        let world = self.world.clone();
        let worker = Worker::new(&world.client(host)).on_kind("sleep", move |payload: Box<RawValue>, run| {
            let mut note =
                Note { world: world.clone(), host, job: run.id().0, lease: run.lease_id().0, is_over: false };
            note.world.note(host, Event::Started { job: note.job, lease: note.lease });
            async move {
                tokio::time::sleep(Duration::from_millis(payload.get().parse().unwrap())).await;
                note.returned();
                Ok::<(), Failure>(())
            }
        });
        let stop = CancellationToken::new();
        let ended = tokio::spawn(with(worker).run_until(stop.clone().cancelled_owned()));
        Running { stop, ended }
    }

    /// Enqueues jobs with the numbers `ids`, each to sleep for so long.
    pub(crate) async fn enqueue(&self, ids: impl IntoIterator<Item = u128>, sleep: Duration) {
        let jobs: Vec<NewJob> = ids.into_iter().map(|id| job(id, sleep)).collect();
        self.world.client("producer").enqueue_all(&jobs).await.unwrap();
    }

    pub(crate) async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Waits until the log holds such an event.
    pub(crate) async fn until(&self, wanted: impl Fn(&Event) -> bool) {
        let happened = tokio::time::timeout(secs(3600), self.world.log().until(wanted)).await;
        assert!(happened.is_ok(), "it did not happen:\n{}", self.world.log().text());
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.world.log().count(wanted)
    }

    /// How often the handlers of a job began.
    pub(crate) fn starts(&self, id: u128) -> usize {
        self.count(|event| matches!(event, Event::Started { job, .. } if job.as_u128() == id))
    }

    pub(crate) fn reaps(&self) -> usize {
        self.count(|event| matches!(event, Event::Reaped { .. }))
    }

    /// Every one of these jobs succeeded with its first attempt.
    pub(crate) fn assert_all_succeeded_at_once(&self, ids: impl IntoIterator<Item = u128>) {
        let store = self.world.store();
        for id in ids {
            let ended = store.history.iter().find(|ended| ended.job.id.as_u128() == id);
            let found = ended.map(|ended| (ended.state, ended.job.attempts, ended.job.crashes));
            assert_eq!(found, Some(("succeeded", 1, 0)), "job {id}:\n{}", self.world.log().text());
        }
    }

    /// What holds of every run, whatever happened.
    fn judge(&self) {
        let log = self.world.log().entries();
        let fail = |what: &str, entry: &Entry| panic!("{what}: {entry}\n{}", self.world.log().text());
        let (mut started, mut over) = (BTreeSet::new(), BTreeSet::new());
        let mut holder: BTreeMap<Uuid, Uuid> = BTreeMap::new();
        let mut opened_ms = BTreeMap::new();
        for entry in &log {
            match &entry.event {
                Event::Opened => {
                    opened_ms.insert(entry.who.clone(), entry.at_ms);
                }
                Event::Started { lease, job } if !started.insert((*lease, *job)) => {
                    fail("a lease starts a handler once", entry);
                }
                Event::Claimed { job, lease, .. } if over.contains(job) || holder.insert(*job, *lease).is_some() => {
                    fail("a claimed job was held or over", entry);
                }
                Event::Moved { job, lease, state } => {
                    if holder.remove(job) != Some(*lease) {
                        fail("only the holder moves a job", entry);
                    }
                    if *state != "queued" {
                        over.insert(*job);
                    }
                }
                Event::Reaped { job, outcome, state, .. } => {
                    holder.remove(job);
                    if *state != "queued" {
                        over.insert(*job);
                    }
                    let contact_ms = opened_ms.get(&entry.who).map(|opened| entry.at_ms - opened);
                    if *outcome == "expired" && u128::from(contact_ms.unwrap_or(0)) < TTL.as_millis() {
                        fail("who reaps an expired lease has been in contact for a lease time", entry);
                    }
                }
                Event::Refused(_) => fail("the simulation knows every statement", entry),
                _ => {}
            }
        }
    }
}

pub(crate) fn job(id: u128, sleep: Duration) -> NewJob {
    let payload = RawValue::from_string(sleep.as_millis().to_string()).unwrap();
    NewJob::new(JobId(Uuid::from_u128(id)), "sleep", payload)
}

/// Tells the log how a handler ended.
struct Note {
    world: World,
    host: &'static str,
    job: Uuid,
    lease: Uuid,
    is_over: bool,
}

impl Note {
    fn returned(&mut self) {
        self.is_over = true;
        self.world.note(self.host, Event::Returned { job: self.job, lease: self.lease });
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if !self.is_over {
            self.world.note(self.host, Event::Dropped { job: self.job, lease: self.lease });
        }
    }
}
