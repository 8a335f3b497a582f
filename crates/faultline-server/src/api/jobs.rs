//! Reading jobs: one, with or without waiting for its end, a list, and why one is not running.

use crate::api::params::{self, Params, PathId, wrong};
use crate::api::view::{JobListView, JobState, JobView, JobWithAttemptsView};
use crate::app::App;
use crate::limits::MAX_WAIT;
use crate::problem::{Answer, Kind, Problem, ProblemBody};
use axum::Json;
use axum::extract::State;
use faultline_core::job::check_name;
use faultline_core::{JobId, limits};
use faultline_store::read::{self, Filter, StateFilter};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// Jobs on a page unless told otherwise.
const DEFAULT_PAGE: usize = 50;
/// What a cursor of this form begins with; another form gets another letter.
const CURSOR_PREFIX: &str = "a";
/// The pause after a read that failed while its request may still wait.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn unknown_job(id: JobId) -> Problem {
    Kind::UnknownJob.because(format!("there is no job {id}, or it is no longer kept"))
}

/// How to read one job.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct GetParams {
    /// Answer when the job has ended, or after this time with its present state; up to `60s`.
    #[param(example = "10s")]
    wait: Option<String>,
    /// `attempts` adds the attempts that did not end the job.
    include: Option<String>,
}

/// Read a job.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", operation_id = "get_job", tag = "jobs", params(("id" = Uuid, Path), GetParams),
    responses(
        (status = 200, description = "The job.", body = JobWithAttemptsView),
        (status = 404, description = "There is no such job.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The database is away.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    Params(asked): Params<GetParams>,
) -> Answer<Json<JobWithAttemptsView>> {
    let with_attempts = match asked.include.as_deref() {
        None => false,
        Some("attempts") => true,
        Some(other) => return Err(wrong("include", format!("expected attempts, got {other:?}"))),
    };
    let job = match asked.wait {
        Some(wait) => wait_for_end(&app, id, params::duration("wait", &wait, MAX_WAIT)?).await?,
        None => read_job(&app, id).await?,
    };
    let past_attempts = if with_attempts {
        let attempts = app.call(async |client| read::attempts(client, id).await).await?;
        Some(attempts.into_iter().map(Into::into).collect())
    } else {
        None
    };
    Ok(Json(JobWithAttemptsView { job: job.into(), past_attempts }))
}

pub(crate) async fn read_job(app: &App, id: JobId) -> Answer<read::Job> {
    app.call(async |client| read::get(client, id).await).await?.ok_or_else(|| unknown_job(id))
}

async fn wait_for_end(app: &App, id: JobId, wait: Duration) -> Answer<read::Job> {
    let deadline = Instant::now() + wait;
    loop {
        let mut waiter = app.waits.subscribe(id)?;
        let job = read_job(app, id).await?;
        if job.state.is_terminal() || Instant::now() >= deadline {
            return Ok(job);
        }
        tokio::select! {
            () = waiter.gone() => {}
            () = tokio::time::sleep_until(deadline) => {}
            // Whoever waits gets the present state, so that the server can stop.
            () = app.stopping.cancelled() => return Ok(job),
        }
        // The database may be away just now, and back before the wait is over.
        let job = loop {
            match read_job(app, id).await {
                Err(problem) if problem.kind().status().is_server_error() && Instant::now() < deadline => {
                    tokio::time::sleep(PAUSE).await;
                }
                answer => break answer?,
            }
        };
        if job.state.is_terminal() || Instant::now() >= deadline {
            return Ok(job);
        }
    }
}

/// Which jobs to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Those of one queue.
    queue: Option<String>,
    /// Those of one kind.
    kind: Option<String>,
    /// Those in one of these states, separated by commas: `queued`, `running`, `succeeded`, `failed`, `cancelled`, and of the
    /// queued ones `scheduled` (due later) and `retrying` (after an attempt).
    #[param(example = "failed,retrying")]
    state: Option<String>,
    /// Those of one key.
    key: Option<String>,
    /// How many at most, 1 to 1,000; 50 if absent. A page of large jobs holds fewer.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// List jobs, newest first.
///
/// A filter that matches few jobs may leave a page short or empty: `searched_back_to` then says how far it has looked, and
/// `next_cursor` goes on from there.
#[utoipa::path(
    get, path = "/v1/jobs", operation_id = "list_jobs", tag = "jobs", params(ListParams),
    responses(
        (status = 200, description = "A page of jobs.", body = JobListView),
        (status = 400, description = "A parameter is out of bounds.", body = ProblemBody,
         content_type = "application/problem+json"),
        (status = 503, description = "The database is away, or took too long.", body = ProblemBody,
         content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn list(State(app): State<Arc<App>>, Params(asked): Params<ListParams>) -> Answer<Json<JobListView>> {
    let limit = match &asked.limit {
        None => DEFAULT_PAGE,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=read::MAX_PAGE).contains(limit))
            .ok_or_else(|| wrong("limit", format!("must be 1 to {}", read::MAX_PAGE)))?,
    };
    let filter = asked.into_filter()?;
    let page = app.call(async |client| read::page(client, &filter, limit).await).await?;
    Ok(Json(JobListView {
        next_cursor: page.next.map(|last| format!("{CURSOR_PREFIX}{}", last.0.simple())),
        searched_back_to: page.searched_to,
        jobs: page.jobs.into_iter().map(JobView::from).collect(),
    }))
}

impl ListParams {
    fn into_filter(self) -> Answer<Filter> {
        for (name, value) in [("queue", &self.queue), ("kind", &self.kind)] {
            value.as_deref().map_or(Ok(()), |value| check_name(name, value)).map_err(params::invalid)?;
        }
        if self.key.as_ref().is_some_and(|key| key.len() > limits::MAX_KEY_BYTES || key.contains('\0')) {
            return Err(wrong("key", "is not a key"));
        }
        let states = self.state.as_deref().map(|states| states.split(',').map(str::parse).collect());
        let states: Option<Vec<StateFilter>> = states.transpose().map_err(|e: String| wrong("state", e))?;
        let before = match &self.cursor {
            None => None,
            Some(cursor) => {
                let id = cursor.strip_prefix(CURSOR_PREFIX).and_then(|id| Uuid::try_parse(id).ok());
                Some(JobId(id.ok_or_else(|| wrong("cursor", "is not one of a list"))?))
            }
        };
        Ok(Filter { queue: self.queue, kind: self.kind, states, key: self.key, before, ..Filter::default() })
    }
}

/// Why a job is not running.
#[derive(Serialize, ToSchema)]
#[schema(as = Explanation)]
pub(crate) struct ExplanationView {
    /// The job.
    #[schema(value_type = Uuid)]
    id: JobId,
    /// Where it is in its life.
    state: JobState,
    /// The answer in words, the most telling reason first.
    reasons: Vec<String>,
}

/// Explain why a job is not running.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/explain", operation_id = "explain_job", tag = "jobs", params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The reasons.", body = ExplanationView),
        (status = 404, description = "There is no such job.", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn explain(State(app): State<Arc<App>>, PathId(id): PathId) -> Answer<Json<ExplanationView>> {
    if let Some(found) = app.call(async |client| read::explain(client, id).await).await? {
        return Ok(Json(ExplanationView { id, state: found.state.into(), reasons: found.reasons }));
    }
    let job = read_job(&app, id).await?;
    let reasons = vec![read::how_it_ended(&job)];
    Ok(Json(ExplanationView { id, state: job.state.into(), reasons }))
}
