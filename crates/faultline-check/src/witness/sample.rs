use super::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A line of `samples.jsonl`; lines with the same `sample` were seen in one snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Sample {
    /// A row of the job tables.
    Job(JobRow),
    /// A queue.
    Queue(QueueSample),
    /// A session of the database.
    Session(SessionSample),
    /// A look at `/metrics`.
    Metrics(MetricsSample),
    /// A look at `/health`.
    Health(HealthSample),
}

/// A row of `jobs` or `job_history`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRow {
    /// Counts the snapshots.
    pub sample: u32,
    /// The database's clock in that snapshot.
    pub at_us: i64,
    /// The job.
    pub job: Uuid,
    /// Its state.
    pub state: State,
    /// Attempts so far.
    pub attempts: i32,
    /// The most it may have.
    pub max_attempts: i32,
    /// Its lease; a terminal row may keep its last.
    pub lease: Option<Uuid>,
    /// The holder.
    pub owner: Option<Uuid>,
    /// When the lease ends.
    pub lease_expires_us: Option<i64>,
    /// When the attempt began.
    pub started_us: Option<i64>,
    /// When it is due.
    pub next_run_us: i64,
    /// When it was enqueued.
    pub created_us: i64,
    /// Its queue.
    pub queue: String,
    /// Its key.
    #[serde(default)]
    pub key: Option<String>,
    /// Why it ended.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whether an error is stored with it.
    #[serde(default)]
    pub has_error: bool,
    /// The `seq` of its last event in the same snapshot; without it the row is not compared with the events.
    #[serde(default)]
    pub event_seq: Option<i64>,
}

/// What a queue looked like.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSample {
    /// The snapshot.
    pub sample: u32,
    /// The database's clock.
    pub at_us: i64,
    /// The queue.
    pub queue: String,
    /// Jobs that are due and not claimed.
    pub claimable: u64,
    /// Slots of live workers of the queue that run nothing.
    pub free_slots: u64,
}

/// A session that is in a transaction, or was left behind.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSample {
    /// The snapshot.
    pub sample: u32,
    /// The database's clock.
    pub at_us: i64,
    /// The backend.
    pub pid: i32,
    /// What it calls itself.
    pub application: String,
    /// How long it has been idle in a transaction.
    pub idle_in_transaction_us: i64,
    /// Whether its client knows it no more.
    #[serde(default)]
    pub leaked: bool,
}

/// What a process counted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsSample {
    /// The snapshot.
    pub sample: u32,
    /// The supervisor's clock.
    pub at_us: i64,
    /// The process.
    pub process: String,
    /// Whether it answered; a process that was killed is not asked.
    pub answered: bool,
    /// Counters since its start by the words of [`Reason`](super::Reason) (`claimed`, `completed`, `failed` …), and the gauge
    /// `xmin_age_seconds`.
    #[serde(default)]
    pub values: BTreeMap<String, f64>,
}

/// Whether a process was there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthSample {
    /// The snapshot.
    pub sample: u32,
    /// The supervisor's clock.
    pub at_us: i64,
    /// The process; a process that was killed is not asked.
    pub process: String,
    /// Whether it answered, whatever it said.
    pub answered: bool,
}
