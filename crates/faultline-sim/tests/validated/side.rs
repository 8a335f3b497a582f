//! One of the two sides: the same calls, and how to do to each what an administrator or a crash would do.

use crate::call::{Call, QUEUES, WORKERS};
use faultline_core::{JobId, LeaseId, NewJob, Start, WorkerId};
use faultline_sim::{Entry, Event, World};
use faultline_store::finish::{finish, look};
use faultline_store::lease::{ClaimedJob, Floors, claim, recover_claim, renew, still_held};
use faultline_store::presence::{WorkerFacts, heartbeat, register, stop};
use faultline_store::reap::{LookFloors, Reaped, Watch, bury, queue_names, reap, rehearse, watch, watch_from};
use faultline_store::{Database, Error, Plans, Session, enqueue, maintain, operate};
use jiff::Timestamp;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;
use tokio_postgres::NoTls;
use uuid::Uuid;

enum Kind {
    Postgres(tokio_postgres::Client),
    Simulated(World),
}

pub(crate) struct Side {
    kind: Kind,
    database: Database,
    session: Session,
    /// The workers' sessions.
    present: BTreeMap<usize, Session>,
    floors: BTreeMap<&'static str, Floors>,
    /// Every pair of job and lease that a claim has answered.
    pub(crate) claimed: Vec<(JobId, LeaseId)>,
}

/// What a call answered, and words for what has been seen.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) marks: Vec<String>,
}

impl Answer {
    fn of<T: Debug>(answer: Result<T, Error>, marks: impl FnOnce(&T) -> Vec<String>) -> Self {
        match answer {
            Ok(answer) => Self { text: format!("{answer:?}"), marks: marks(&answer) },
            Err(Error::Refused { .. }) => Self { text: "refused".into(), marks: vec!["refused".into()] },
            // A finish that names the wrong queue: the job is held, and the statement never finds it.
            Err(Error::Indeterminate { reason }) if reason.ends_with("kept changing") => {
                Self { text: reason, marks: Vec::new() }
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort_unstable();
    values
}

fn worker_id(worker: usize) -> WorkerId {
    WorkerId(Uuid::from_u128(1000 + worker as u128))
}

fn worker_ids(workers: &[usize]) -> Vec<WorkerId> {
    workers.iter().map(|worker| worker_id(*worker)).collect()
}

impl Side {
    /// Empties the tables.
    pub(crate) async fn postgres(url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let prepare = "truncate faultline.jobs, faultline.job_history, faultline.job_attempts, faultline.workers;
             set session_replication_role = replica";
        client.batch_execute(prepare).await.unwrap();
        Self::of(Kind::Postgres(client), Database::new(url, "validated", 1).unwrap()).await
    }

    pub(crate) async fn simulated(seed: u64) -> Self {
        let world = World::new(seed);
        world.network().be_instant();
        let database = world.database("caller");
        Self::of(Kind::Simulated(world), database).await
    }

    async fn of(kind: Kind, database: Database) -> Self {
        let session = database.session("calls", Plans::Free).await.unwrap();
        let floors = QUEUES.into_iter().map(|queue| (queue, Floors::head())).collect();
        Self { kind, session, database, present: BTreeMap::new(), floors, claimed: Vec::new() }
    }

    /// Whole hours from now.
    fn in_hours(&self, time: Timestamp) -> i64 {
        let now = match &self.kind {
            Kind::Postgres(_) => Timestamp::now(),
            Kind::Simulated(world) => world.now(),
        };
        (time.duration_since(now).as_secs() as f64 / 3600.0).round() as i64
    }

    pub(crate) async fn run(&mut self, call: &Call) -> Answer {
        match call {
            Call::Enqueue { .. }
            | Call::Claim { .. }
            | Call::Recover { .. }
            | Call::Renew { .. }
            | Call::Finish { .. }
            | Call::Look { .. } => self.attempt(call).await,
            Call::Register { .. } | Call::Vanish { .. } | Call::Advance { .. } | Call::Restart => {
                self.meddle(call).await;
                Answer::default()
            }
            _ => self.care(call).await,
        }
    }

    async fn attempt(&mut self, call: &Call) -> Answer {
        let session = &self.session;
        match call {
            Call::Enqueue { ids, queue, delay, max_attempts } => {
                let jobs: Vec<NewJob> =
                    (1..).zip(ids).map(|(priority, id)| job(*id, queue, *delay, *max_attempts, priority)).collect();
                Answer::of(enqueue::enqueue(session, &jobs).await, |_| vec!["Enqueue".into()])
            }
            Call::Claim { queue, worker, lease, ttl, limit, from_head } => {
                let floors = if *from_head { Floors::head() } else { self.floors[queue].clone() };
                let owner = worker_id(*worker);
                let claimed = claim(session, queue, *lease, owner, *ttl, *limit, &floors).await.unwrap();
                // How late is late depends on how fast the sides are.
                let late = Duration::ZERO;
                self.floors.get_mut(queue).unwrap().after(&claimed, *from_head && claimed.len() == *limit, late);
                self.claimed.extend(claimed.iter().map(|job| (job.id, job.lease_id)));
                Answer::of(Ok(self.show(&claimed)), |shown| vec![format!("Claim: {}", shown.len())])
            }
            Call::Recover { queue, lease, look_at } => {
                let found = recover_claim(session, queue, *lease, &Floors::head(), *look_at).await.unwrap();
                Answer::of(Ok(self.show(&found)), |shown| vec![format!("Recover: {}", shown.len())])
            }
            Call::Renew { queue, pairs, ttl } => {
                let renewed = renew(session, queue, pairs, *ttl).await;
                let renewed =
                    renewed.map(|renewed| sorted(renewed.iter().map(|r| (r.id, r.lease_id, r.cancel)).collect()));
                let held = sorted(still_held(session, queue, pairs).await.unwrap());
                let renewed = renewed.map(|renewed| (renewed, held));
                Answer::of(renewed, |(renewed, _)| vec![format!("Renew: {}", renewed.len())])
            }
            Call::Finish { queue, finishes } => Answer::of(finish(session, queue, finishes).await, |finished| {
                finished.iter().map(|finished| format!("{finished:?}")).collect()
            }),
            Call::Look { id, lease } => Answer::of(look(session, *id, *lease).await, |_| Vec::new()),
            other => unreachable!("{other:?}"),
        }
    }

    fn show(&self, jobs: &[ClaimedJob]) -> Vec<String> {
        jobs.iter()
            .map(|job| {
                let mut shown = job.clone();
                shown.created_at = Timestamp::UNIX_EPOCH;
                shown.due_at = Timestamp::UNIX_EPOCH;
                shown.claimed_at = Timestamp::UNIX_EPOCH;
                let hours = [job.created_at, job.due_at, job.claimed_at].map(|time| self.in_hours(time));
                // The tie is the last field, and drawn.
                let text = format!("{shown:?}");
                format!("{} {hours:?}", text.split(" tie: ").next().unwrap())
            })
            .collect()
    }

    /// Rounded, and in order.
    fn without_times(mut found: Watch) -> Watch {
        found.floors = LookFloors::default();
        found.expired.sort_unstable();
        found.absent.sort_unstable();
        found.not_back.sort_unstable();
        for (_, wait) in &mut found.next_due {
            *wait = whole_hours(*wait);
        }
        found
    }

    async fn care(&mut self, call: &Call) -> Answer {
        let session = &self.session;
        match call {
            Call::Watch { queues, look_at } => {
                let found = watch(session, queues, *look_at).await.unwrap();
                let again = watch_from(session, &found.floors, *look_at).await.unwrap();
                let found = Self::without_times(found);
                assert_eq!(found, Self::without_times(again), "a look from its floors sees the same");
                Answer::of(Ok(found), |found| {
                    vec![
                        format!("absent: {}", found.absent.len()),
                        format!("not_back: {}", found.not_back.len()),
                        format!("expired: {}", found.expired.len()),
                    ]
                })
            }
            Call::Reap { queues, workers, look_at } => {
                let workers = worker_ids(workers);
                rehearse(session, queues, &workers, *look_at).await.unwrap();
                let reaped = reap(session, queues, &workers, *look_at).await;
                Answer::of(reaped.map(by_id), |reaped| marks("Reap", reaped))
            }
            Call::Bury { queues, workers, look_at } => {
                let mut reaped = Vec::new();
                let buried = bury(session, queues, &worker_ids(workers), *look_at, &mut reaped).await;
                Answer::of(buried.map(|_| by_id(reaped)), |reaped| marks("Bury", reaped))
            }
            Call::QueueNames => Answer::of(queue_names(session).await, |_| Vec::new()),
            Call::Heartbeat { worker } => {
                let answer = heartbeat(session, worker_id(*worker), 1).await;
                Answer::of(answer, |answer| vec![format!("Heartbeat: {answer:?}")])
            }
            Call::StopWorker { worker } => Answer::of(stop(session, worker_id(*worker)).await, |()| Vec::new()),
            Call::Cancel { id } => {
                Answer::of(operate::cancel(session, "test", *id).await, |answer| vec![format!("{answer:?}")])
            }
            Call::Prune => {
                Answer::of(maintain::prune(session).await, |(_, workers)| vec![format!("Prune: {}", (*workers).min(1))])
            }
            other => unreachable!("{other:?}"),
        }
    }

    async fn meddle(&mut self, call: &Call) {
        match call {
            Call::Register { worker } => {
                self.vanish(*worker).await;
                let database = |host: &str| match &self.kind {
                    Kind::Postgres(_) => self.database.clone(),
                    Kind::Simulated(world) => world.database(host),
                };
                let late = database("late").session("presence", Plans::ById).await.unwrap();
                let session = database(&host(*worker)).session("presence", Plans::ById).await.unwrap();
                assert!(session.is_direct() && session.server().is_some());
                register(&session, &facts(*worker), true).await.unwrap();
                // Out of a session that the worker has given up: nothing hangs on that one's end.
                register(&late, &facts(*worker), true).await.unwrap();
                self.present.insert(*worker, session);
            }
            Call::Vanish { worker } => self.vanish(*worker).await,
            Call::Advance { hours } => self.advance(*hours).await,
            Call::Restart => self.restart().await,
            other => unreachable!("{other:?}"),
        }
    }

    async fn advance(&mut self, hours: u64) {
        match &self.kind {
            Kind::Simulated(world) => world.set_clock(jiff::SignedDuration::from_hours(hours.cast_signed())),
            Kind::Postgres(client) => {
                let by = format!("interval '{hours} hours'");
                let age = format!(
                    "update faultline.jobs set created_at = created_at - {by}, next_run_at = next_run_at - {by},
                        started_at = started_at - {by}, lease_expires_at = lease_expires_at - {by};
                     update faultline.workers set heartbeat_at = heartbeat_at - {by}"
                );
                client.batch_execute(&age).await.unwrap();
            }
        }
        // Floors are times of rows, and those of Postgres have moved.
        self.floors.values_mut().for_each(|floors| *floors = Floors::head());
    }

    /// Ends a worker's session, and waits until the server knows.
    async fn vanish(&mut self, worker: usize) {
        let Some(session) = self.present.remove(&worker) else { return };
        match &self.kind {
            Kind::Postgres(client) => {
                let row = session.query_one("select pg_backend_pid()", &[]).await.unwrap();
                let pid: i32 = row.get(0);
                client.query_one("select pg_terminate_backend($1)", &[&pid]).await.unwrap();
                let there = "select from pg_stat_activity where pid = $1";
                while !client.query(there, &[&pid]).await.unwrap().is_empty() {}
            }
            Kind::Simulated(world) => {
                let of_worker = host(worker);
                let is_close = |entry: &Entry| entry.event == Event::Closed && entry.who.starts_with(&of_worker);
                let closed = || world.log().entries().iter().filter(|entry| is_close(entry)).count();
                let before = closed();
                world.network().reset(&of_worker);
                while closed() == before {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// A server's restart: no session is left, and those of before belong to another server.
    async fn restart(&mut self) {
        for worker in 0..WORKERS {
            self.vanish(worker).await;
        }
        match &self.kind {
            Kind::Postgres(client) => {
                let other = "update faultline.workers set presence_server = presence_server - interval '1 day'";
                client.batch_execute(other).await.unwrap();
            }
            Kind::Simulated(world) => {
                world.stop_server();
                world.start_server();
                self.session = self.database.session("calls", Plans::Free).await.unwrap();
            }
        }
    }

    /// What the tables hold in the end, a line each.
    pub(crate) async fn tables(&self) -> Vec<String> {
        let mut lines = match &self.kind {
            Kind::Postgres(client) => self.rows(client).await,
            Kind::Simulated(world) => self.memory(world),
        };
        lines.sort_unstable();
        lines
    }

    async fn rows(&self, client: &tokio_postgres::Client) -> Vec<String> {
        let mut lines = Vec::new();
        let jobs = "select id, queue, attempts, crashes, next_run_at, lease_id, lease_owner, lease_expires_at,
                           cancel_requested_at is not null as cancel from faultline.jobs";
        for row in client.query(jobs, &[]).await.unwrap() {
            let lease = row
                .get::<_, Option<Uuid>>("lease_id")
                .map(|id| (id, row.get::<_, Uuid>("lease_owner"), self.in_hours(row.get("lease_expires_at"))));
            lines.push(job_line(
                row.get("id"),
                row.get("queue"),
                (row.get("attempts"), row.get("crashes"), row.get("cancel")),
                self.in_hours(row.get("next_run_at")),
                lease,
            ));
        }
        let history = "select format('ended %s %s %s %s %s %s', id, state, coalesce(reason, '-'), attempts, crashes,
                              coalesce(lease_id::text, '-')) from faultline.job_history";
        let attempts = "select format('attempt %s %s %s %s %s', job_id, lease_id, attempt, charged, outcome)
                          from faultline.job_attempts";
        for sql in [history, attempts] {
            lines.extend(client.query(sql, &[]).await.unwrap().iter().map(|row| row.get::<_, String>(0)));
        }
        lines
    }

    fn memory(&self, world: &World) -> Vec<String> {
        let store = world.store();
        let jobs = store.jobs.values().map(|job| {
            let lease = job.lease.as_ref().map(|lease| (lease.id, lease.owner, self.in_hours(lease.expires_at)));
            let counts = (job.attempts, job.crashes, job.is_cancel_requested);
            job_line(job.id, &job.queue, counts, self.in_hours(job.next_run_at), lease)
        });
        let history = store.history.iter().map(|ended| {
            let job = &ended.job;
            let reason = ended.reason.as_deref().unwrap_or("-");
            let lease = job.lease.as_ref().map_or("-".to_owned(), |lease| lease.id.to_string());
            format!("ended {} {} {reason} {} {} {lease}", job.id, ended.state, job.attempts, job.crashes)
        });
        let attempts = store.attempts.iter().map(|attempt| {
            let charged = if attempt.is_charged { 't' } else { 'f' };
            format!("attempt {} {} {} {charged} {}", attempt.job, attempt.lease, attempt.number, attempt.outcome)
        });
        jobs.chain(history).chain(attempts).collect()
    }
}

fn job_line(id: Uuid, queue: &str, counts: (i32, i32, bool), due: i64, lease: Option<(Uuid, Uuid, i64)>) -> String {
    format!("job {id} {queue} {counts:?} {due} {lease:?}")
}

fn by_id(mut reaped: Vec<Reaped>) -> Vec<Reaped> {
    reaped.sort_unstable_by_key(|one| one.id);
    for one in &mut reaped {
        one.expired_for = one.expired_for.map(whole_hours);
    }
    reaped
}

fn whole_hours(time: Duration) -> Duration {
    Duration::from_secs((time.as_secs_f64() / 3600.0).round() as u64 * 3600)
}

fn marks(what: &str, reaped: &[Reaped]) -> Vec<String> {
    reaped.iter().map(|one| format!("{what}: {:?}", one.state)).collect()
}

fn host(worker: usize) -> String {
    format!("worker{worker}")
}

fn job(id: u128, queue: &str, delay: Duration, max_attempts: i32, priority: i16) -> NewJob {
    let payload = RawValue::from_string(format!("{{\"number\": {id}}}")).unwrap();
    let mut job = NewJob::new(JobId(Uuid::from_u128(id)), "kind", payload);
    job.queue = queue.to_owned();
    job.start = Start::After(delay);
    (job.max_attempts, job.priority) = (max_attempts, priority);
    job
}

fn facts(worker: usize) -> WorkerFacts {
    WorkerFacts {
        id: worker_id(worker),
        pid: 1,
        slots: 7,
        lease_ttl: Duration::from_secs(3600),
        host: "host".into(),
        version: "1".into(),
        queues: vec![QUEUES[worker % 2].to_owned()],
        kinds: vec!["*".into()],
        started_at: Timestamp::UNIX_EPOCH,
    }
}
