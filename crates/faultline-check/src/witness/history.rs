use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use uuid::Uuid;

/// The trichotomy of an operation's end, and its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is about to be sent.
    Invoke,
    /// It took place.
    Ok,
    /// It did not take place, and that is certain.
    Fail,
    /// Nobody can tell.
    Info,
}

/// What a process did or asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Enqueue a job, or retry a finished one.
    Enqueue,
    /// Claim jobs; `jobs` of its `ok` are what was claimed.
    Claim,
    /// A handler begins (`ok` alone).
    HandlerStart,
    /// A handler does something that strict mode guards (`ok` alone, with `deadline_boot_ns`).
    HandlerStep,
    /// A handler returned, written before its finish is sent (`ok` alone).
    HandlerEnd,
    /// Complete, fail, release or snooze.
    Finish,
    /// Renew one lease.
    Renew,
    /// Reap; with `contact_ns`, and in `jobs` what was reaped.
    Reap,
    /// Ask what became of operation `of` of the same process.
    Resolve,
    /// A log line or a metric said that the job is done (`ok` alone).
    Said,
    /// Connect to the database.
    Connect,
    /// The process's runtime ran nothing for longer than a lease (`ok` alone).
    Stalled,
    /// From the signal (`invoke`) to the exit (`ok`) of a worker process.
    Shutdown,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Enqueue: a new job.
    Created,
    /// Enqueue: the key's job, which was there.
    Duplicate,
    /// Enqueue, `fail`: the key is taken by another request.
    Conflict,
    /// `fail`: a value was out of bounds.
    Refused,
    /// Finish: the job is so now.
    Succeeded,
    /// Finish: the job is so now.
    Failed,
    /// Finish: the job is so now.
    Cancelled,
    /// Finish: the job waits again.
    Queued,
    /// Renew: done.
    Renewed,
    /// Finish or renew, `fail`: the lease is no longer held.
    LeaseLost,
    /// Handler: returned well.
    Returned,
    /// Handler: returned an error, panicked or timed out.
    Erred,
    /// Handler: was dropped, since its lease was lost or its process stops.
    Dropped,
    /// Resolve: it took place.
    Happened,
    /// Resolve: it did not.
    Absent,
    /// `info`: the other side failed without a reason that it has a name for, such as HTTP 500.
    Broken,
    /// Shutdown: a second signal came.
    AtOnce,
}

/// A line of `history/PROCESS.jsonl`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Beginning or end.
    pub phase: Phase,
    /// Pairs a beginning with its end; unique within the process.
    pub op: u64,
    /// The process, unique in the run: a restarted one has another name.
    pub process: Box<str>,
    /// What was done.
    pub action: Action,
    /// The wall clock of the process.
    pub wall_ns: i64,
    /// Nanoseconds since the machine booted, which no clock skew touches.
    pub boot_ns: i64,
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Uuid>,
    /// The lease in whose name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Uuid>,
    /// The worker incarnation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Uuid>,
    /// The attempt, as the worker knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<i32>,
    /// The queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Box<str>>,
    /// The key of an enqueue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Box<str>>,
    /// What makes two requests the same, in any form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Box<str>>,
    /// The handler of this job writes one effect in its transaction.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub effect_tx: bool,
    /// The jobs of a claim or a reap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<Uuid>,
    /// The local deadline of a handler's step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_boot_ns: Option<i64>,
    /// How long a reaper had been in uninterrupted contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact_ns: Option<i64>,
    /// The operation that a resolve is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// The database's error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<Box<str>>,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// A beginning and its end, folded into one.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The beginning, completed by what only the end could tell; its `phase` is that of the end. `Invoke`: it never ended,
    /// because the process did.
    pub record: Record,
    /// The end, boot time.
    pub ended_boot_ns: Option<i64>,
    /// The end, wall clock.
    pub ended_wall_ns: Option<i64>,
}

impl Operation {
    /// How long it took, where it ended.
    pub fn took_us(&self) -> Option<i64> {
        self.ended_boot_ns.map(|ended| (ended - self.record.boot_ns) / 1000)
    }

    /// The job and the lease in whose name it was done.
    pub fn held(&self) -> Option<(Uuid, Uuid)> {
        self.record.job.zip(self.record.lease)
    }

    /// Whether it may have taken place.
    pub fn may_have_happened(&self) -> bool {
        self.record.phase != Phase::Fail
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let r = &self.record;
        write!(f, "{} op {}: {:?} {:?}", r.process, r.op, r.action, r.phase)?;
        if let Some(answer) = r.answer {
            write!(f, " ({answer:?})")?;
        }
        if let Some(sqlstate) = &r.sqlstate {
            write!(f, " SQLSTATE {sqlstate}")?;
        }
        if let Some(lease) = r.lease {
            write!(f, " under lease {lease}")?;
        }
        write!(f, " at {} ns", r.wall_ns)
    }
}

/// Folds the lines of all processes into operations. A beginning without an end stays open; an end without a beginning is its own.
pub fn operations(records: impl IntoIterator<Item = Record>) -> Vec<Operation> {
    let mut all: Vec<Operation> = Vec::new();
    let mut open: HashMap<(Box<str>, u64), usize> = HashMap::new();
    for record in records {
        let id = (record.process.clone(), record.op);
        match (record.phase, open.remove(&id)) {
            (Phase::Invoke, _) => {
                open.insert(id, all.len());
                all.push(Operation { record, ended_boot_ns: None, ended_wall_ns: None });
            }
            (_, Some(at)) => end(&mut all[at], record),
            (_, None) => {
                let (boot, wall) = (Some(record.boot_ns), Some(record.wall_ns));
                all.push(Operation { record, ended_boot_ns: boot, ended_wall_ns: wall });
            }
        }
    }
    all
}

fn end(operation: &mut Operation, end: Record) {
    operation.ended_boot_ns = Some(end.boot_ns);
    operation.ended_wall_ns = Some(end.wall_ns);
    let r = &mut operation.record;
    r.phase = end.phase;
    // The end knows best: the job of a duplicate is not the one that was proposed.
    r.job = end.job.or(r.job);
    r.lease = end.lease.or(r.lease);
    r.attempt = end.attempt.or(r.attempt);
    r.answer = end.answer;
    r.sqlstate = end.sqlstate;
    if !end.jobs.is_empty() {
        r.jobs = end.jobs;
    }
}
