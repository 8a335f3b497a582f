//! The database of a test, its sessions, and the job that each run starts with.

use crate::step::{Actor, Knowledge, LONG};
use crate::witness::History;
use faultline_check::witness::{Action, Answer, Phase, Record};
use faultline_cluster::testing::TestDatabase;
use faultline_core::{JobId, LeaseId, NewJob, WorkerId};
use faultline_store::enqueue::enqueue;
use faultline_store::lease::{Floors, claim};
use faultline_store::{Database, Plans, Session};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Client;

/// Most sessions of a program.
pub(crate) const MOST_SESSIONS: usize = 3;

/// Where the job is when a run starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// There is none.
    Empty,
    /// It waits.
    Queued,
    /// It waits for a time in the future.
    Scheduled,
    /// The holders have it, under a lease that lasts.
    Held,
    /// The same under a lease that has run out.
    Expired,
    /// Under a lease that lasts, by a worker whose session is gone.
    Absent,
}

/// The job of a run, and who had it first.
pub(crate) struct Case {
    pub(crate) queue: String,
    pub(crate) job: JobId,
    pub(crate) first_owner: WorkerId,
}

impl Case {
    /// Another job for the queue.
    pub(crate) fn new_job(&self) -> NewJob {
        let mut job = NewJob::new(new_id(), "k", RawValue::from_string("{}".into()).unwrap());
        job.queue.clone_from(&self.queue);
        job
    }
}

fn new_id() -> JobId {
    JobId::new(1_700_000_000_000, &mut rand::rng())
}

pub(crate) struct World {
    pub(crate) actors: Vec<Arc<Actor>>,
    pub(crate) observer: Session,
    /// Dropped last.
    _database: TestDatabase,
}

impl World {
    pub(crate) async fn new() -> Self {
        let database = crate::database();
        let store = Database::new(&database.url(), "interleavings", 1).unwrap();
        let mut actors = Vec::new();
        for _ in 0..MOST_SESSIONS {
            let session = store.session("actor", Plans::Free).await.unwrap();
            let pid = session.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
            actors.push(Arc::new(Actor { session, pid, knows: Knowledge::default().into() }));
        }
        let observer = store.session("observer", Plans::Free).await.unwrap();
        Self { actors, observer, _database: database }
    }

    /// Forgets the last run and brings a new job to its start; answers the records of that too.
    pub(crate) async fn prepare(&self, program: &crate::explore::Program) -> (Case, Vec<Record>) {
        let forget =
            "delete from faultline.jobs; delete from faultline.job_history; delete from faultline.job_attempts;
            delete from faultline.idempotency_keys; delete from faultline.workers; delete from faultline.queues;
            delete from public.effects; delete from faultline.job_events";
        self.observer.batch_execute(forget).await.unwrap();
        let owner = WorkerId::new(&mut rand::rng());
        let case = Case { queue: "q".into(), job: new_id(), first_owner: owner };
        let held = self.start(program, &case, owner).await;
        for (at, actor) in self.actors.iter().enumerate() {
            let knows = &mut *actor.knows.lock().await;
            let is_holder = program.holders.contains(&at);
            let own = is_holder || program.one_worker;
            *knows = Knowledge::default();
            knows.history = History::of(&format!("session-{at}"));
            knows.owner = Some(if own { owner } else { WorkerId::new(&mut rand::rng()) });
            knows.held = held.filter(|_| is_holder);
        }
        let mut setup = History::of("setup");
        if program.start != Start::Empty {
            let mut end = setup.begin(Action::Enqueue, |record| {
                (record.job, record.effect_tx) = (Some(case.job.0), program.effect);
            });
            (end.phase, end.answer) = (Phase::Ok, Some(Answer::Created));
            setup.push(end);
        }
        (case, setup.take())
    }

    async fn start(&self, program: &crate::explore::Program, case: &Case, owner: WorkerId) -> Option<(JobId, LeaseId)> {
        if program.start == Start::Empty {
            return None;
        }
        let mut job = NewJob { id: case.job, max_attempts: program.max_attempts, ..case.new_job() };
        if program.start == Start::Scheduled {
            job.start = faultline_core::Start::After(LONG);
        }
        enqueue(&self.observer, &[job]).await.unwrap();
        let ttl = match program.start {
            Start::Empty | Start::Queued | Start::Scheduled => return None,
            Start::Held | Start::Absent => LONG,
            Start::Expired => Duration::ZERO,
        };
        if program.start == Start::Absent {
            lose_worker(&self.observer, case).await;
        }
        let lease = LeaseId::new(&mut rand::rng());
        let claimed = claim(&self.observer, &case.queue, lease, owner, ttl, 1, &Floors::head()).await.unwrap();
        Some((claimed[0].id, claimed[0].lease_id))
    }
}

/// A row of the first holder whose backend no longer exists.
async fn lose_worker(client: &Client, case: &Case) {
    let insert =
        "insert into faultline.workers (id, pid, slots, lease_ttl_ms, host, version, queues, kinds, presence_pid,
                      presence_started_at, presence_server)
                  values ($1, 1, 1, 1000, 'h', '0', array[$2], array['*'], -1, now(), pg_postmaster_start_time())";
    client.execute(insert, &[&case.first_owner.0, &case.queue]).await.unwrap();
}
