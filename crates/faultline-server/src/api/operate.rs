//! What operators do to jobs: cancel and retry.

use crate::api::jobs::{read_job, unknown_job};
use crate::api::params::PathId;
use crate::api::view::{EnqueuedView, JobState};
use crate::app::{App, new_job_id};
use crate::auth::Actor;
use crate::problem::{Answer, Kind, ProblemBody};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use faultline_core::{JobId, State as CoreState};
use faultline_metrics::Operator;
use faultline_store::operate::{self, Cancel, Retry};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A job that was asked to end.
#[derive(Serialize, ToSchema)]
#[schema(as = CancelAnswer)]
pub(crate) struct CancelView {
    /// The job.
    #[schema(value_type = Uuid)]
    id: JobId,
    /// `cancelled`, or `running`: then its worker is told with the next renewal of the lease, and the handler decides.
    state: JobState,
    /// Whether it runs and was asked to stop.
    cancel_requested: bool,
}

/// Cancel a job.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", operation_id = "cancel_job", tag = "jobs", params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "It has ended, or was asked to stop.", body = CancelView),
        (status = 404, description = "There is no such job.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It had ended before.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    Extension(Actor(actor)): Extension<Actor>,
) -> Answer<Json<CancelView>> {
    let answer = app.call(async |client| operate::cancel(client, &actor, id).await).await?;
    count(&app, answer.metric());
    match answer {
        Cancel::Cancelled => Ok(Json(CancelView { id, state: JobState::Cancelled, cancel_requested: false })),
        Cancel::Requested => Ok(Json(CancelView { id, state: JobState::Running, cancel_requested: true })),
        Cancel::Unknown => Err(unknown_job(id)),
        Cancel::Finished => {
            let state = read_job(&app, id).await?.state;
            Err(Kind::JobFinished.because(format!("the job has ended: it is {state}")).with_job(id, Some(state)))
        }
    }
}

fn count(app: &App, changed: Option<Operator>) {
    if let Some(changed) = changed {
        app.config.metrics.engine().operated(changed);
    }
}

/// Retry a job.
///
/// A job that has ended stays as it is and gets a successor, the same one however often this is asked; one that waits for
/// its time becomes due now.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/retry", operation_id = "retry_job", tag = "jobs", params(("id" = Uuid, Path)),
    responses(
        (status = 201, description = "The successor of a job that had ended.", body = EnqueuedView,
         headers(("Location" = String, description = "The successor's path."))),
        (status = 200, description = "The successor that was made before, or the job itself, which is due now.",
         body = EnqueuedView),
        (status = 404, description = "There is no such job.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It is running.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn retry(
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    Extension(Actor(actor)): Extension<Actor>,
) -> Answer<Response> {
    let successor = new_job_id();
    let answer = app.call(async |client| operate::retry(client, &actor, id, successor).await).await?;
    count(&app, answer.metric());
    let (next, created) = match answer {
        // Our own id: made by this request, though perhaps by a call whose answer was lost.
        Retry::Successor { id: next, created } => (next, created || next == successor),
        Retry::MovedToNow | Retry::AlreadyDue => (id, false),
        Retry::Unknown => return Err(unknown_job(id)),
        Retry::Running => {
            let problem = Kind::JobRunning.because("the job is running; cancel it first, or wait for its end");
            return Err(problem.with_job(id, Some(CoreState::Running)));
        }
    };
    let job = read_job(&app, next).await?;
    app.enqueuer.committer().notifier().hint(&job.queue);
    let view = Json(EnqueuedView { created, job: job.into() });
    if created {
        let location = format!("/v1/jobs/{next}");
        return Ok((StatusCode::CREATED, [(header::LOCATION, location)], view).into_response());
    }
    Ok(view.into_response())
}
