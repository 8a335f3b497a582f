//! Queues and workers.

use crate::api::params::PathQueue;
use crate::app::App;
use crate::auth::Actor;
use crate::body::{self, Bounds};
use crate::limits::MAX_SMALL_BODY_BYTES;
use crate::problem::{Answer, Kind, ProblemBody};
use axum::extract::{Request, State};
use axum::{Extension, Json};
use faultline_core::WorkerId;
use faultline_store::{operate, read};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// What stands in a queue. Counts end at 10,000 jobs a priority.
#[derive(Serialize, ToSchema)]
#[schema(as = Queue)]
pub(crate) struct QueueView {
    /// Its name.
    name: String,
    /// Whether it is paused: no job of it starts.
    paused: bool,
    /// Since when.
    #[schema(value_type = Option<String>, format = DateTime)]
    paused_at: Option<Timestamp>,
    /// Why, in the operator's words.
    paused_reason: Option<String>,
    /// Jobs that could start now.
    due: i64,
    /// Jobs that wait for their time, first starts and retries.
    scheduled: i64,
    /// Jobs under a lease.
    running: i64,
    /// Whether there are more than were counted.
    bounded: bool,
    /// Since when the oldest due job has been due.
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest_due_at: Option<Timestamp>,
    /// Live workers that poll it.
    workers: i64,
}

impl From<read::Queue> for QueueView {
    fn from(queue: read::Queue) -> Self {
        Self {
            name: queue.name,
            paused: queue.paused_at.is_some(),
            paused_at: queue.paused_at,
            paused_reason: queue.paused_reason,
            due: queue.due,
            scheduled: queue.scheduled,
            running: queue.running,
            bounded: queue.bounded,
            oldest_due_at: queue.oldest_due_at,
            workers: queue.workers,
        }
    }
}

/// Every queue that a job, an operator or a live worker names.
#[derive(Serialize, ToSchema)]
#[schema(as = QueueList)]
pub(crate) struct QueueListView {
    /// The queues, by name.
    queues: Vec<QueueView>,
}

/// List the queues.
#[utoipa::path(
    get, path = "/v1/queues", operation_id = "list_queues", tag = "queues",
    responses(
        (status = 200, description = "The queues.", body = QueueListView),
        (status = 503, description = "The database is away.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(State(app): State<Arc<App>>) -> Answer<Json<QueueListView>> {
    let queues = app.call(async |client| read::queues(client, None).await).await?;
    Ok(Json(QueueListView { queues: queues.into_iter().map(Into::into).collect() }))
}

/// Read one queue.
///
/// A queue exists by being named: one that nothing names is empty.
#[utoipa::path(
    get, path = "/v1/queues/{name}", operation_id = "get_queue", tag = "queues", params(("name" = String, Path)),
    responses(
        (status = 200, description = "The queue.", body = QueueView),
        (status = 400, description = "Not a name.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(State(app): State<Arc<App>>, PathQueue(name): PathQueue) -> Answer<Json<QueueView>> {
    read_queue(&app, &name).await.map(Json)
}

async fn read_queue(app: &App, name: &str) -> Answer<QueueView> {
    let mut queues = app.call(async |client| read::queues(client, Some(name)).await).await?;
    Ok(queues.pop().ok_or_else(|| Kind::Internal.because("the queue's row is missing"))?.into())
}

/// Why a queue is paused.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PauseRequest)]
pub(crate) struct PauseRequest {
    /// For people; shown with the queue.
    reason: Option<String>,
}

/// Pause a queue: no job of it starts until it is resumed; what runs goes on.
#[utoipa::path(
    post, path = "/v1/queues/{name}/pause", operation_id = "pause_queue", tag = "queues", params(("name" = String, Path)),
    request_body = Option<PauseRequest>,
    responses(
        (status = 200, description = "The queue, paused.", body = QueueView),
        (status = 400, description = "Not a name.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    PathQueue(name): PathQueue,
    Extension(Actor(actor)): Extension<Actor>,
    request: Request,
) -> Answer<Json<QueueView>> {
    let bounds = Bounds { max_bytes: MAX_SMALL_BODY_BYTES, time: app.config.body_time };
    let arrived = body::read(&app, request, bounds).await?;
    let asked: PauseRequest = if arrived.is_empty() { PauseRequest::default() } else { arrived.object()? };
    let reason = asked.reason.as_deref();
    app.call(async |client| operate::pause(client, &actor, &name, reason).await).await?;
    read_queue(&app, &name).await.map(Json)
}

/// Resume a queue; one that is not paused stays as it is.
#[utoipa::path(
    post, path = "/v1/queues/{name}/resume", operation_id = "resume_queue", tag = "queues", params(("name" = String, Path)),
    responses(
        (status = 200, description = "The queue.", body = QueueView),
        (status = 400, description = "Not a name.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    PathQueue(name): PathQueue,
    Extension(Actor(actor)): Extension<Actor>,
) -> Answer<Json<QueueView>> {
    app.call(async |client| operate::resume(client, &actor, &name).await).await?;
    app.enqueuer.committer().notifier().hint(&name);
    read_queue(&app, &name).await.map(Json)
}

/// A worker as it was last heard of.
#[derive(Serialize, ToSchema)]
#[schema(as = Worker)]
pub(crate) struct WorkerView {
    /// This incarnation of it.
    #[schema(value_type = Uuid)]
    id: WorkerId,
    /// Its host's name.
    host: String,
    /// Its process id there.
    pid: i32,
    /// Its program's version.
    version: String,
    /// The queues it polls.
    queues: Vec<String>,
    /// The kinds it has handlers for; `*` for any.
    kinds: Vec<String>,
    /// How many jobs it runs at once.
    slots: i32,
    /// How many it ran when it was last heard of.
    running: i32,
    /// Whether an operator asked it to drain.
    draining: bool,
    /// When it started.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it was last heard of.
    #[schema(value_type = String, format = DateTime)]
    heartbeat_at: Timestamp,
    /// When it said goodbye.
    #[schema(value_type = Option<String>, format = DateTime)]
    stopped_at: Option<Timestamp>,
    /// Whether it was heard of lately and has not said goodbye.
    alive: bool,
}

impl From<read::Worker> for WorkerView {
    fn from(worker: read::Worker) -> Self {
        Self {
            id: worker.id,
            host: worker.host,
            pid: worker.pid,
            version: worker.version,
            queues: worker.queues,
            kinds: worker.kinds,
            slots: worker.slots,
            running: worker.running,
            draining: worker.draining,
            started_at: worker.started_at,
            heartbeat_at: worker.heartbeat_at,
            stopped_at: worker.stopped_at,
            alive: worker.alive,
        }
    }
}

/// Workers heard of within the last day.
#[derive(Serialize, ToSchema)]
#[schema(as = WorkerList)]
pub(crate) struct WorkerListView {
    /// The workers, newest first, at most 1,000.
    workers: Vec<WorkerView>,
}

/// List the workers.
#[utoipa::path(
    get, path = "/v1/workers", operation_id = "list_workers", tag = "workers",
    responses(
        (status = 200, description = "The workers.", body = WorkerListView),
        (status = 503, description = "The database is away.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn workers(State(app): State<Arc<App>>) -> Answer<Json<WorkerListView>> {
    let workers = app.call(async |client| read::workers(client).await).await?;
    Ok(Json(WorkerListView { workers: workers.into_iter().map(Into::into).collect() }))
}
