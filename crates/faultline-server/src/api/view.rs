//! What answers look like. The shapes are the contract with clients: fields are added, never changed or taken away.

use faultline_core::durations::format_ms;
use faultline_core::job::millis;
use faultline_core::{JobId, LeaseId, NewJob, State, WorkerId};
use faultline_store::enqueue::Times;
use faultline_store::read;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JobState {
    /// Waits for its time and a free slot.
    Queued,
    /// A worker holds its lease.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Ended by an operator.
    Cancelled,
}

impl From<State> for JobState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Running => Self::Running,
            State::Succeeded => Self::Succeeded,
            State::Failed => Self::Failed,
            State::Cancelled => Self::Cancelled,
        }
    }
}

/// The lease under which a job runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Lease)]
pub(crate) struct LeaseView {
    /// The fence of this attempt.
    #[schema(value_type = Uuid)]
    id: LeaseId,
    /// The worker that holds it.
    #[schema(value_type = Uuid)]
    owner: WorkerId,
    /// When it may be reaped unless it is renewed, on the database's clock.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// How long failed attempts wait.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Backoff)]
pub(crate) struct BackoffView {
    /// The longest delay after the first attempt; it doubles with each further one.
    #[schema(example = "1s")]
    base: String,
    /// The longest delay of all.
    #[schema(example = "10m")]
    cap: String,
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView {
    /// Its id, a UUID of version 7.
    #[schema(value_type = Uuid)]
    id: JobId,
    /// The queue it waits in.
    queue: String,
    /// What is to be done: the name of its handler.
    kind: String,
    /// Where it is in its life.
    state: JobState,
    /// 1 is first, 4 is last.
    #[schema(minimum = 1, maximum = 4)]
    priority: i16,
    /// The handler's input: any JSON.
    #[schema(value_type = serde_json::Value)]
    payload: Box<RawValue>,
    /// Trace context and tags.
    #[schema(value_type = Option<Object>)]
    headers: Option<Box<RawValue>>,
    /// Its idempotency key.
    key: Option<String>,
    /// Attempts that count, the running one included.
    attempts: i32,
    /// The most attempts it may have.
    max_attempts: i32,
    /// When it may start, or was due.
    #[schema(value_type = String, format = DateTime)]
    next_run_at: Timestamp,
    /// When it was enqueued.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When its running or last attempt began.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// The lease under which it runs.
    lease: Option<LeaseView>,
    /// What its handler returned: any JSON.
    #[schema(value_type = Option<serde_json::Value>)]
    result: Option<Box<RawValue>>,
    /// What its last failed attempt said.
    last_error: Option<String>,
    /// Why it ended as it did: a word such as `attempts_exhausted`, `crash_loop`, `fatal` or `cancelled`.
    reason: Option<String>,
    /// How often a worker was lost while it ran.
    crashes: i32,
    /// Whether somebody asked it to stop while it ran.
    cancel_requested: bool,
    /// How long one attempt may take.
    #[schema(example = "1h")]
    timeout: String,
    /// How long failed attempts wait.
    backoff: BackoffView,
    /// The finished job that an operator retried with this one.
    #[schema(value_type = Option<Uuid>)]
    retry_of: Option<JobId>,
}

impl From<read::Job> for JobView {
    fn from(job: read::Job) -> Self {
        Self {
            id: job.id,
            queue: job.queue,
            kind: job.kind,
            state: job.state.into(),
            priority: job.priority,
            payload: job.payload,
            headers: job.headers,
            key: job.key,
            attempts: job.attempts,
            max_attempts: job.max_attempts,
            next_run_at: job.next_run_at,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            lease: job.lease.map(|lease| LeaseView { id: lease.id, owner: lease.owner, expires_at: lease.expires_at }),
            result: job.result,
            last_error: job.last_error,
            reason: job.reason,
            crashes: job.crashes,
            cancel_requested: job.cancel_requested,
            timeout: format_ms(job.timeout_ms.into()),
            backoff: BackoffView {
                base: format_ms(job.backoff_base_ms.into()),
                cap: format_ms(job.backoff_cap_ms.into()),
            },
            retry_of: job.retry_of,
        }
    }
}

impl JobView {
    pub(crate) fn id(&self) -> JobId {
        self.id
    }

    /// A job that was just created: what was asked for, and the times as they were stored.
    pub(crate) fn created(job: NewJob, times: Times) -> Self {
        Self {
            id: job.id,
            queue: job.queue,
            kind: job.kind,
            state: JobState::Queued,
            priority: job.priority,
            payload: job.payload,
            headers: job.headers,
            key: job.key,
            attempts: 0,
            max_attempts: job.max_attempts,
            next_run_at: times.next_run_at,
            created_at: times.created_at,
            started_at: None,
            finished_at: None,
            lease: None,
            result: None,
            last_error: None,
            reason: None,
            crashes: 0,
            cancel_requested: false,
            timeout: format_ms(millis(job.timeout)),
            backoff: BackoffView {
                base: format_ms(job.backoff.base_ms.into()),
                cap: format_ms(job.backoff.cap_ms.into()),
            },
            retry_of: None,
        }
    }
}

/// A job, and whether this request created it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EnqueuedJob)]
pub(crate) struct EnqueuedView {
    /// Whether this request created the job.
    pub(crate) created: bool,
    #[serde(flatten)]
    pub(crate) job: JobView,
}

/// An enqueued job of which only the id is known at the moment, or no more than that is kept.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EnqueuedId)]
pub(crate) struct EnqueuedIdView {
    /// The job's id.
    #[schema(value_type = Uuid)]
    pub(crate) id: JobId,
    /// Whether this request created the job.
    pub(crate) created: bool,
}

/// An enqueue that may or may not have been committed. Ask for the id, or repeat the request with the same key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Indeterminate)]
pub(crate) struct IndeterminateView {
    /// The id that the job has if it was created by this request.
    #[schema(value_type = Uuid)]
    pub(crate) id: JobId,
    /// Always true.
    pub(crate) indeterminate: bool,
    /// The job's key.
    pub(crate) key: Option<String>,
}

/// An attempt that did not end its job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(crate) struct AttemptView {
    /// Its number.
    attempt: i32,
    /// `failed`, `expired`, `lost`, `released` or `snoozed`.
    outcome: String,
    /// Whether it counts.
    charged: bool,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    ended_at: Timestamp,
    /// When the job was due again.
    #[schema(value_type = String, format = DateTime)]
    next_run_at: Timestamp,
    /// The lease it ran under.
    #[schema(value_type = Uuid)]
    lease_id: LeaseId,
    /// The worker that ran it.
    #[schema(value_type = Uuid)]
    worker: WorkerId,
    /// What it said.
    error: Option<String>,
}

impl From<read::Attempt> for AttemptView {
    fn from(attempt: read::Attempt) -> Self {
        Self {
            attempt: attempt.attempt,
            outcome: attempt.outcome,
            charged: attempt.charged,
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            next_run_at: attempt.next_run_at,
            lease_id: attempt.lease_id,
            worker: attempt.worker,
            error: attempt.error,
        }
    }
}

/// A job, with its attempts where they were asked for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobWithAttempts)]
pub(crate) struct JobWithAttemptsView {
    #[serde(flatten)]
    pub(crate) job: JobView,
    /// The attempts that did not end the job, in order, at most 1,000. Only with `include=attempts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) past_attempts: Option<Vec<AttemptView>>,
}

/// A page of jobs, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobList)]
pub(crate) struct JobListView {
    /// The jobs.
    pub(crate) jobs: Vec<JobView>,
    /// Where the next page begins; null on the last one.
    pub(crate) next_cursor: Option<String>,
    /// Present when the time for one page was over before it was full: jobs enqueued since then were looked at. Go on with
    /// `next_cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) searched_back_to: Option<Timestamp>,
}
