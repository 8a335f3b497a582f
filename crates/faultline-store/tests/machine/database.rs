//! The same by the shipped statements.

use crate::command::{Asked, How, NOBODY, Pair, Request};
use crate::rows::ROWS;
use faultline_cluster::testing::{self, TestDatabase};
use faultline_core::{JobId, LeaseId, NewJob, Start, WorkerId};
use faultline_store::enqueue::{Enqueued, enqueue, enqueue_again};
use faultline_store::finish::{Ending, Finish, Finished, finish};
use faultline_store::lease::{ClaimedJob, Floors, claim, recover_claim, renew};
use faultline_store::operate::{Retry, cancel, pause, resume, retry};
use faultline_store::reap::{reap, watch};
use faultline_store::{Database, LEASE_LOST, Plans, Session, migrate};
use serde_json::value::RawValue;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

const QUEUE: &str = "q";
/// A lease that does not end during a sequence, and a delay that lasts as long.
const HOUR: Duration = Duration::from_secs(3600);
/// Rows that a look covers: more than a sequence has.
const LOOK_AT: i64 = 1000;
/// What lets leases run out without waiting: the trigger that keeps leases from being shortened does not fire.
const EXPIRE: &str = "update faultline.jobs set lease_expires_at = clock_timestamp() - interval '1 ms'
    where (id = $1 and lease_id = $2 or lease_owner = $3) and lease_expires_at > clock_timestamp()";

/// What a sequence leaves behind.
const EMPTY: &str =
    "rollback; delete from faultline.jobs; delete from faultline.job_history; delete from faultline.job_attempts;
    delete from faultline.idempotency_keys; delete from faultline.queues";
/// One for all sequences, one after the other: sessions are as warm as those of a worker, and a sequence takes a tenth of the time.
static STORE: LazyLock<Store> = LazyLock::new(Store::start);

/// A migrated database with the sessions that a worker, a reaper, a producer and an operator have.
pub(crate) struct Store {
    runtime: Runtime,
    /// As producers and operators have it.
    free: Session,
    /// The pool, for what needs a session of its own.
    pool: Database,
    /// As the finish and renewal loops have it.
    by_id: Session,
    /// As the claim loop and the reaper have it.
    in_order: Session,
    admin: Client,
    _database: TestDatabase,
}

fn migrated(url: &str) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = Database::new(url, "test", 1).unwrap();
        database.run(async |client| migrate::migrate(client).await).await.unwrap();
    });
}

fn job_id(n: usize) -> JobId {
    JobId(Uuid::from_u128(n as u128))
}

fn lease_id(n: usize) -> LeaseId {
    LeaseId(Uuid::from_u128(n as u128))
}

fn number(id: Uuid) -> usize {
    usize::try_from(id.as_u128()).unwrap()
}

fn new_job(n: usize, request: Request, key: Option<u8>) -> NewJob {
    let mut job = NewJob::new(job_id(n), "k", RawValue::from_string("{}".into()).unwrap());
    job.queue = QUEUE.into();
    job.key = key.map(|key| key.to_string());
    job.priority = request.priority;
    job.max_attempts = request.max_attempts;
    job.start = Start::After(if request.delayed { HOUR } else { Duration::ZERO });
    job
}

fn ending(how: How) -> Ending {
    let delay = |delayed| if delayed { HOUR } else { Duration::ZERO };
    match how {
        How::Complete => Ending::Complete(Some(RawValue::from_string("1".into()).unwrap())),
        How::Fail { delayed } => Ending::Fail { error: "boom".into(), delay: delay(delayed) },
        How::FailForGood => Ending::FailForGood { error: "bad".into(), reason: "fatal" },
        How::Release { delayed } => Ending::Release { delay: delayed.then_some(HOUR), reason: "drain".into() },
        How::Snooze => Ending::Snooze(HOUR),
    }
}

fn claimed(jobs: &[ClaimedJob]) -> String {
    let jobs: Vec<(usize, i32)> = jobs.iter().map(|job| (number(job.id.0), job.attempt)).collect();
    format!("{jobs:?}")
}

impl Store {
    /// Without any rows.
    pub(crate) fn empty() -> &'static Self {
        let store = &*STORE;
        store.runtime.block_on(store.admin.batch_execute(EMPTY)).unwrap();
        store
    }

    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let database = testing::database(migrated);
        let store = Database::new(&database.url(), "test", 1).unwrap();
        let (free, by_id, in_order, admin) = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute("set session_replication_role = replica").await.unwrap();
            let session = async |plans| store.session("test", plans).await.unwrap();
            (session(Plans::Free).await, session(Plans::ById).await, session(Plans::InOrder).await, client)
        });
        Self { runtime, free, pool: store, by_id, in_order, admin, _database: database }
    }

    pub(crate) fn rows(&self) -> Vec<String> {
        let rows = self.runtime.block_on(self.admin.query(ROWS, &[])).unwrap();
        let mut lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        lines.sort_unstable();
        lines
    }

    /// Does what is asked; answers in the words of the reference.
    pub(crate) fn take(&self, asked: &Asked) -> String {
        self.runtime.block_on(self.answer(asked))
    }

    async fn answer(&self, asked: &Asked) -> String {
        let free = &self.free;
        match asked {
            Asked::Nothing => String::new(),
            Asked::Enqueue { job, request, key, is_second_try } => {
                let jobs = [new_job(*job, *request, *key)];
                let answers = if *is_second_try {
                    self.pool.run(async |client| enqueue_again(client, &jobs).await).await.unwrap()
                } else {
                    enqueue(free, &jobs).await.unwrap()
                };
                match answers[0] {
                    Enqueued::Created(id) => format!("created {}", number(id.0)),
                    Enqueued::Duplicate(id) => format!("duplicate {}", number(id.0)),
                    Enqueued::Conflict(id) => format!("conflict {}", number(id.0)),
                }
            }
            Asked::Claim { lease, worker, limit, expired } => self.claim(*lease, *worker, *limit, *expired).await,
            Asked::Fall { lease, limit } => {
                let claimed = self.claim(*lease, 0, *limit, true).await;
                format!("{claimed} {}", self.reap().await)
            }
            Asked::RecoverClaim { lease } => {
                let lease = lease_id(*lease);
                claimed(&recover_claim(&self.in_order, QUEUE, lease, &Floors::head(), LOOK_AT).await.unwrap())
            }
            Asked::Renew { pairs } => self.renew(pairs).await,
            Asked::Finish { ends } => self.finish(ends).await,
            Asked::CompleteInTx { pair, commit } => self.complete_in_tx(*pair, *commit).await,
            Asked::Cancel { job } => format!("{:?}", cancel(free, "test", job_id(*job)).await.unwrap()),
            Asked::Retry { job, successor } => {
                match retry(free, "test", job_id(*job), job_id(*successor)).await.unwrap() {
                    Retry::Successor { id, created } => format!("successor {}, created {created}", number(id.0)),
                    Retry::MovedToNow => "moved to now".into(),
                    Retry::AlreadyDue => "already due".into(),
                    Retry::Running => "running".into(),
                    Retry::Unknown => "unknown".into(),
                }
            }
            Asked::Expire { pair: (job, lease) } => self.expire(job_id(*job), lease_id(*lease), None).await,
            Asked::Reap { of } => {
                self.expire(job_id(0), lease_id(NOBODY), *of).await;
                self.reap().await
            }
            Asked::Pause => {
                pause(free, "test", QUEUE, None).await.unwrap();
                String::new()
            }
            Asked::Resume => resume(free, "test", QUEUE).await.unwrap().to_string(),
        }
    }

    async fn claim(&self, lease: usize, worker: u8, limit: usize, expired: bool) -> String {
        let ttl = if expired { Duration::ZERO } else { HOUR };
        let owner = WorkerId(Uuid::from_u128(worker.into()));
        let lease = lease_id(lease);
        claimed(&claim(&self.in_order, QUEUE, lease, owner, ttl, limit, &Floors::head()).await.unwrap())
    }

    async fn reap(&self) -> String {
        let queues = [QUEUE.into()];
        let expired = watch(&self.in_order, &queues, LOOK_AT).await.unwrap().expired;
        let reaped = reap(&self.in_order, &queues, &expired, LOOK_AT).await.unwrap();
        let mut reaped: Vec<_> = reaped.iter().map(|one| (number(one.id.0), one.state.as_str())).collect();
        reaped.sort_unstable();
        format!("{reaped:?}")
    }

    async fn expire(&self, job: JobId, lease: LeaseId, all_of: Option<u8>) -> String {
        let owner = all_of.map(|worker| Uuid::from_u128(worker.into()));
        self.admin.execute(EXPIRE, &[&job.0, &lease.0, &owner]).await.unwrap();
        String::new()
    }

    async fn renew(&self, pairs: &[Pair]) -> String {
        let held: Vec<_> = pairs.iter().map(|(job, lease)| (job_id(*job), lease_id(*lease))).collect();
        let renewed = renew(&self.by_id, QUEUE, &held, HOUR).await.unwrap();
        let mut kept: Vec<_> =
            renewed.iter().map(|one| (number(one.id.0), number(one.lease_id.0), one.cancel)).collect();
        kept.sort_unstable();
        format!("{kept:?}")
    }

    async fn finish(&self, ends: &[(Pair, How)]) -> String {
        let finishes: Vec<Finish> = ends
            .iter()
            .map(|((job, lease), how)| Finish { id: job_id(*job), lease_id: lease_id(*lease), ending: ending(*how) })
            .collect();
        let answers = finish(&self.by_id, QUEUE, &finishes).await.unwrap();
        let answers: Vec<&str> = answers
            .iter()
            .map(|answer| match answer {
                Finished::Moved(state) => state.as_str(),
                Finished::LeaseLost => "lost",
            })
            .collect();
        answers.join(", ")
    }

    async fn complete_in_tx(&self, (job, lease): Pair, commit: bool) -> String {
        let complete = "select faultline.complete_in_tx($1, $2, '1')";
        self.admin.batch_execute("begin; set local session_replication_role = origin").await.unwrap();
        let answer = self.admin.execute(complete, &[&job_id(job).0, &lease_id(lease).0]).await;
        self.admin.batch_execute(if commit && answer.is_ok() { "commit" } else { "rollback" }).await.unwrap();
        match answer {
            Ok(_) => "done".into(),
            Err(error) if error.code().is_some_and(|code| code.code() == LEASE_LOST) => LEASE_LOST.into(),
            Err(error) => panic!("{error}"),
        }
    }
}
