//! `POST /v1/jobs` and `POST /v1/jobs/batch`.

use crate::api::request::{BatchRequest, EnqueueRequest, FromHeaders};
use crate::api::view::{EnqueuedIdView, EnqueuedView, IndeterminateView, JobView};
use crate::app::{App, new_job_id};
use crate::body::{self, Bounds};
use crate::coalesce::Answered;
use crate::commit::Outcome;
use crate::limits::{MAX_BATCH_BODY_BYTES, MAX_BATCH_JOBS, MAX_JOB_BODY_BYTES};
use crate::problem::{Answer, Kind, Problem, ProblemBody};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use faultline_core::{JobId, NewJob};
use faultline_store::enqueue::Enqueued;
use faultline_store::read;
use faultline_trace::{send, sent};
use serde::Serialize;
use std::sync::Arc;
use tracing::{Instrument, Span};
use utoipa::ToSchema;

/// How a trace names what became of an enqueue, beside the words of the answers.
const INDETERMINATE: &str = "indeterminate";
const REFUSED: &str = "refused";

/// Enqueue a job.
///
/// Answered after the commit. Without a key, a request that got no answer must not be repeated blindly: it may have been
/// committed. With a key it may: the job is made once, and every answer names it.
#[utoipa::path(
    post, path = "/v1/jobs", operation_id = "enqueue_job", tag = "jobs",
    params(("Idempotency-Key" = Option<String>, Header, description = "The key, as an alternative to the field `key`."),
           ("traceparent" = Option<String>, Header, description = "W3C trace context, kept in the job's headers."),
           ("tracestate" = Option<String>, Header, description = "What belongs to it.")),
    request_body = EnqueueRequest,
    responses(
        (status = 201, description = "Created.", body = EnqueuedView,
         headers(("Location" = String, description = "The job's path."))),
        (status = 200, description = "The key was used before for the same request: this is its job, or no more than its id if it is no longer kept.", body = EnqueuedView),
        (status = 202, description = "It could not be proven whether it was committed.", body = IndeterminateView),
        (status = 409, description = "The key was used before for another request, by the job `job_id`.",
         body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Certainly not enqueued; try again.", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = "4XX", description = "Refused.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn enqueue(State(app): State<Arc<App>>, request: Request) -> Answer<Response> {
    let from_headers = FromHeaders::read(request.headers())?;
    let bounds = Bounds { max_bytes: MAX_JOB_BODY_BYTES, time: app.config.body_time };
    let arrived = body::read(&app, request, bounds).await?;
    let mut job = arrived.object::<EnqueueRequest>()?.into_job(new_job_id(), &from_headers)?;
    let span = send(std::slice::from_mut(&mut job), from_headers.trace.as_ref());
    let (id, key) = (job.id, job.key.clone());
    let deadline = app.enqueue_deadline();
    let answered = app.enqueuer.enqueue(job, deadline).instrument(span.clone()).await;
    tell(&span, &answered);
    match answered? {
        Answered::Outcome(job, Outcome::Known(enqueued, times)) => match (enqueued, times) {
            (Enqueued::Created(_), Some(times)) => {
                Ok(created(EnqueuedView { created: true, job: JobView::created(*job, times) }))
            }
            (Enqueued::Created(id), None) => known(&app, id, true).await,
            (Enqueued::Duplicate(id), _) => known(&app, id, false).await,
            (Enqueued::Conflict(holder), _) => Err(conflict(holder)),
        },
        Answered::Outcome(_, Outcome::Refused(error)) => Err(Problem::from(&*error)),
        Answered::Outcome(_, Outcome::Unknown) | Answered::Silence => {
            tracing::warn!(job = %id, "an enqueue could not be proven");
            Ok((StatusCode::ACCEPTED, Json(IndeterminateView { id, indeterminate: true, key })).into_response())
        }
    }
}

/// Ends the span of an enqueue.
fn tell(span: &Span, answered: &Answer<Answered>) {
    match answered {
        Ok(Answered::Outcome(_, outcome)) => tell_outcome(span, outcome),
        Ok(Answered::Silence) => sent(span, INDETERMINATE, None),
        Err(problem) => sent(span, REFUSED, Some(&problem.detail())),
    }
}

fn tell_outcome(span: &Span, outcome: &Outcome) {
    match outcome {
        Outcome::Known(Enqueued::Created(_), _) => sent(span, "created", None),
        Outcome::Known(Enqueued::Duplicate(_), _) => sent(span, "duplicate", None),
        Outcome::Known(Enqueued::Conflict(_), _) => {
            sent(span, "conflict", Some(&"the key is taken by another request"));
        }
        Outcome::Unknown => sent(span, INDETERMINATE, None),
        Outcome::Refused(error) => sent(span, REFUSED, Some(error)),
    }
}

fn created(view: EnqueuedView) -> Response {
    let location = format!("/v1/jobs/{}", view.job.id());
    (StatusCode::CREATED, [(header::LOCATION, location)], Json(view)).into_response()
}

/// A job that exists for certain, as it is now. That it can't be read, or is no longer kept, changes nothing of that.
async fn known(app: &App, id: JobId, is_new: bool) -> Answer<Response> {
    let read = app.call(async |client| read::get(client, id).await).await.ok().flatten();
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(match read {
        Some(job) if is_new => created(EnqueuedView { created: true, job: job.into() }),
        Some(job) => (status, Json(EnqueuedView { created: false, job: job.into() })).into_response(),
        None => (status, Json(EnqueuedIdView { id, created: is_new })).into_response(),
    })
}

fn conflict(holder: JobId) -> Problem {
    Kind::KeyConflict
        .because(format!("job {holder} was enqueued with this key and another request"))
        .in_field("key")
        .with_job(holder, None)
}

/// The answers to a batch, in the order of its jobs.
#[derive(Serialize, ToSchema)]
#[schema(as = BatchAnswer)]
pub(crate) struct BatchView {
    /// One answer for each job.
    jobs: Vec<ItemView>,
}

/// What became of one job of a batch.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = BatchItem)]
pub(crate) enum ItemView {
    /// Enqueued, now or before.
    Enqueued(EnqueuedIdView),
    /// It could not be proven whether it was committed.
    Indeterminate(IndeterminateView),
    /// Refused.
    Problem {
        /// Why.
        problem: ProblemBody,
    },
}

impl From<Problem> for ItemView {
    fn from(problem: Problem) -> Self {
        Self::Problem { problem: problem.into_body() }
    }
}

/// Enqueue up to 1,000 jobs in one commit.
///
/// A job that is refused does not keep the others out.
#[utoipa::path(
    post, path = "/v1/jobs/batch", operation_id = "enqueue_batch", tag = "jobs", request_body = BatchRequest,
    responses(
        (status = 200, description = "An answer for each job, in order.", body = BatchView),
        (status = 503, description = "Certainly nothing was enqueued; try again.", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = "4XX", description = "The whole batch was refused.", body = ProblemBody,
         content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn batch(State(app): State<Arc<App>>, request: Request) -> Answer<Json<BatchView>> {
    let from_headers = FromHeaders::read_for_batch(request.headers())?;
    let bounds = Bounds { max_bytes: MAX_BATCH_BODY_BYTES, time: 3 * app.config.body_time };
    let arrived = body::read(&app, request, bounds).await?;
    let items = arrived.object::<BatchRequest>()?.jobs;
    if items.len() > MAX_BATCH_JOBS {
        let detail = format!("jobs: must be at most {MAX_BATCH_JOBS} jobs, are {}", items.len());
        return Err(Kind::InvalidField.because(detail).in_field("jobs"));
    }
    let mut jobs = Vec::with_capacity(items.len());
    let mut answers: Vec<Option<ItemView>> = Vec::with_capacity(items.len());
    for item in items {
        match body::object::<EnqueueRequest>(item.get()).and_then(|item| item.into_job(new_job_id(), &from_headers)) {
            Ok(job) => {
                jobs.push(job);
                answers.push(None);
            }
            Err(problem) => answers.push(Some(problem.into())),
        }
    }
    let outcomes = match jobs.as_mut_slice() {
        [] => Vec::new(),
        jobs => {
            let span = send(jobs, from_headers.trace.as_ref());
            let answered = app.enqueuer.enqueue_batch(jobs, app.enqueue_deadline()).instrument(span.clone()).await;
            match &answered {
                Ok(outcomes) => tell_batch(&span, outcomes),
                Err(problem) => sent(&span, REFUSED, Some(&problem.detail())),
            }
            answered?
        }
    };
    check_any_reached(&outcomes)?;
    let mut enqueued = jobs.into_iter().zip(outcomes).map(|(job, outcome)| item(job, outcome));
    let jobs = answers.into_iter().filter_map(|answer| answer.or_else(|| enqueued.next())).collect();
    Ok(Json(BatchView { jobs }))
}

/// Ends the span of a batch: by the first job that is neither created nor known, if there is one.
fn tell_batch(span: &Span, outcomes: &[Outcome]) {
    let is_well =
        |outcome: &&Outcome| matches!(outcome, Outcome::Known(Enqueued::Created(_) | Enqueued::Duplicate(_), _));
    let worst = outcomes.iter().find(|outcome| !is_well(outcome)).or(outcomes.first());
    worst.into_iter().for_each(|outcome| tell_outcome(span, outcome));
}

/// A batch of which nothing reached the database is answered as a whole, so that a client need not look into it to know
/// that it should try again.
fn check_any_reached(outcomes: &[Outcome]) -> Answer<()> {
    let unreached = |outcome: &Outcome| match outcome {
        Outcome::Refused(error) if !error.is_about_data() => Some(Problem::from(&**error)),
        _ => None,
    };
    match outcomes.first().and_then(unreached) {
        Some(problem) if outcomes.iter().all(|outcome| unreached(outcome).is_some()) => Err(problem),
        _ => Ok(()),
    }
}

fn item(job: NewJob, outcome: Outcome) -> ItemView {
    match outcome {
        Outcome::Known(Enqueued::Created(id), _) => ItemView::Enqueued(EnqueuedIdView { id, created: true }),
        Outcome::Known(Enqueued::Duplicate(id), _) => ItemView::Enqueued(EnqueuedIdView { id, created: false }),
        Outcome::Known(Enqueued::Conflict(holder), _) => conflict(holder).into(),
        Outcome::Unknown => {
            ItemView::Indeterminate(IndeterminateView { id: job.id, indeterminate: true, key: job.key })
        }
        Outcome::Refused(error) => Problem::from(&*error).into(),
    }
}
