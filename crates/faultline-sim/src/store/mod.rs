//! The tables, in memory, and the statements that change them: one function each, all pure but for the ties of the claim order,
//! which are drawn from a seed. Every statement is a transaction of its own and they run one after the other, so there are no
//! locks to wait for and no rows to skip: what several sessions do to one row at once is looked at elsewhere, on real Postgres.
//!
//! Left out: keys, transactions of users, pausing queues, reads for people. Who asks for them is refused.

mod finish;
mod jobs;
mod reap;
mod run;

use crate::log::Event;
use jiff::{SignedDuration, Timestamp};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use uuid::Uuid;

/// A row of `faultline.jobs`. It runs while it has a lease.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id.
    pub id: Uuid,
    /// Its queue.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// 1 is first, 4 is last.
    pub priority: i16,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When it is due.
    pub next_run_at: Timestamp,
    /// Breaks ties of the claim order.
    pub tie: i32,
    /// Attempts so far.
    pub attempts: i32,
    /// The most attempts it may have.
    pub max_attempts: i32,
    /// How often its worker was lost.
    pub crashes: i32,
    /// The time-out of an attempt, ms.
    pub timeout_ms: i32,
    /// The first back-off, ms.
    pub backoff_base_ms: i32,
    /// The longest back-off, ms.
    pub backoff_cap_ms: i32,
    /// Who runs it.
    pub lease: Option<Lease>,
    /// Whether somebody asked for its end.
    pub is_cancel_requested: bool,
    /// Headers as JSON.
    pub headers: Option<String>,
    /// The handler's input as JSON.
    pub payload: String,
}

/// The columns of a running job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The fence.
    pub id: Uuid,
    /// The worker.
    pub owner: Uuid,
    /// When the attempt began.
    pub started_at: Timestamp,
    /// When it may be reaped.
    pub expires_at: Timestamp,
}

/// A row of `faultline.job_history`.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The job as it was.
    pub job: Job,
    /// When.
    pub at: Timestamp,
    /// `succeeded`, `failed` or `cancelled`.
    pub state: &'static str,
    /// Why, unless it succeeded.
    pub reason: Option<String>,
}

/// A row of `faultline.job_attempts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The job.
    pub job: Uuid,
    /// The lease under which it ran.
    pub lease: Uuid,
    /// Its number.
    pub number: i32,
    /// Whether it counts.
    pub is_charged: bool,
    /// `failed`, `expired`, `lost`, `released` or `snoozed`.
    pub outcome: String,
}

/// A row of `faultline.workers`.
#[derive(Debug, Clone)]
pub struct Worker {
    /// When it was last heard of.
    pub heartbeat_at: Timestamp,
    /// Whether it said goodbye, or others did in its stead.
    pub is_stopped: bool,
    /// Whether an operator asked it to drain.
    pub is_draining: bool,
    /// Jobs that it runs at most.
    pub slots: i32,
    /// Its queues.
    pub queues: Vec<String>,
    presence: Option<Presence>,
}

/// The backend whose end says that the process is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Presence {
    pid: i32,
    /// When its server started.
    server: Timestamp,
}

/// A line of `pg_stat_activity`.
struct Session {
    listens: bool,
    notifications: mpsc::UnboundedSender<String>,
}

/// The database.
pub struct Store {
    /// `faultline.jobs`
    pub jobs: BTreeMap<Uuid, Job>,
    /// `faultline.job_history`
    pub history: Vec<Ended>,
    /// `faultline.job_attempts`
    pub attempts: Vec<Attempt>,
    /// `faultline.workers`
    pub workers: BTreeMap<Uuid, Worker>,
    sessions: BTreeMap<i32, Session>,
    last_pid: i32,
    server_started_at: Timestamp,
    random: StdRng,
    /// What the statement that runs has done.
    events: Vec<Event>,
}

impl Store {
    pub(crate) fn new(seed: u64, now: Timestamp) -> Self {
        Self {
            jobs: BTreeMap::new(),
            history: Vec::new(),
            attempts: Vec::new(),
            workers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            last_pid: 0,
            server_started_at: now,
            random: StdRng::seed_from_u64(seed),
            events: Vec::new(),
        }
    }

    /// A new session; answers its process id.
    pub(crate) fn open(&mut self, notifications: mpsc::UnboundedSender<String>) -> i32 {
        self.last_pid += 1;
        self.sessions.insert(self.last_pid, Session { listens: false, notifications });
        self.last_pid
    }

    pub(crate) fn listen(&mut self, pid: i32) {
        if let Some(session) = self.sessions.get_mut(&pid) {
            session.listens = true;
        }
    }

    pub(crate) fn close(&mut self, pid: i32) {
        self.sessions.remove(&pid);
    }

    /// The server starts again: what was committed is there, no session is.
    pub(crate) fn restart(&mut self, now: Timestamp) {
        self.sessions.clear();
        self.server_started_at = now;
    }

    fn notify(&mut self, payload: &str) {
        for session in self.sessions.values().filter(|session| session.listens) {
            // A session that is about to end hears nothing.
            let _ = session.notifications.send(payload.to_owned());
        }
    }

    /// Whether the worker's presence session is there.
    fn is_present(&self, presence: Presence) -> bool {
        presence.server == self.server_started_at && self.sessions.contains_key(&presence.pid)
    }

    /// The jobs of a queue and priority that are due, in claim order.
    fn due(&self, queue: &str, priority: i16, now: Timestamp) -> Vec<&Job> {
        let mut due = self.in_order(queue, priority);
        due.retain(|job| job.next_run_at <= now);
        due
    }

    /// The jobs of a queue and priority, in claim order.
    fn in_order(&self, queue: &str, priority: i16) -> Vec<&Job> {
        let mut jobs: Vec<&Job> =
            self.jobs.values().filter(|job| job.queue == queue && job.priority == priority).collect();
        jobs.sort_unstable_by_key(|job| (job.next_run_at, job.tie));
        jobs
    }

    /// The job, if it runs under this lease.
    fn held(&self, queue: &str, id: Uuid, lease: Uuid) -> Option<&Job> {
        let job = self.jobs.get(&id)?;
        (job.queue == queue && job.lease.as_ref()?.id == lease).then_some(job)
    }

    fn end(&mut self, id: Uuid, now: Timestamp, state: &'static str, reason: Option<String>) {
        if let Some(job) = self.jobs.remove(&id) {
            self.history.push(Ended { job, at: now, state, reason });
        }
    }

    /// Takes the lease from a running job and notes the attempt.
    fn put(&mut self, id: Uuid, next_run_at: Timestamp, is_charged: bool, outcome: &str) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(lease) = job.lease.take() else { return };
        let number = job.attempts;
        job.next_run_at = next_run_at;
        job.attempts -= i32::from(!is_charged);
        self.attempts.push(Attempt { job: id, lease: lease.id, number, is_charged, outcome: outcome.to_owned() });
    }
}

fn after(time: Timestamp, ms: i64) -> Timestamp {
    time.saturating_add(SignedDuration::from_millis(ms)).unwrap_or(Timestamp::MAX)
}
