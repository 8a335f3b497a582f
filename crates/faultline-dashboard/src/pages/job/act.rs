//! What can be done to one job.

use super::copy;
use crate::visit::Act;
use axum::extract::Path;
use axum::response::{Response, Result};
use faultline_core::{Backoff, JobId, NewJob};
use faultline_store::enqueue::{self, notify};
use faultline_store::operate::{self, Cancel, Retry};
use faultline_store::read::{self, Job};
use std::time::Duration;

pub(super) async fn retry(Path(id): Path<JobId>, act: Act) -> Result<Response> {
    let successor = new_id();
    let (answer, queue) = act
        .call(async |client| {
            let answer = operate::retry(client, &act.actor, id, successor).await?;
            let runs = if let Retry::Successor { id, .. } = answer { id } else { id };
            Ok((answer, read::get(client, runs).await?.map(|job| job.queue)))
        })
        .await?;
    if let Some(metric) = answer.metric() {
        act.metrics().operated(metric);
    }
    hint(&act, queue).await;
    Ok(match answer {
        Retry::Successor { id: new, created: true } => {
            act.done(&path(new), "This job runs in the stead of the one that has ended.")
        }
        Retry::Successor { id: new, created: false } => {
            act.done(&path(new), "It was retried before: this is the job that runs in its stead.")
        }
        Retry::MovedToNow => act.done(&path(id), "It was waiting for its time, and is due now."),
        Retry::AlreadyDue => act.done(&path(id), "It was due already; see below what it waits for."),
        Retry::Running => act.done(&path(id), "It is running: cancel it first, or wait for its end."),
        Retry::Unknown => act.done(&path(id), "There was nothing to retry."),
    })
}

pub(super) async fn cancel(Path(id): Path<JobId>, act: Act) -> Result<Response> {
    let answer = act.call(async |client| operate::cancel(client, &act.actor, id).await).await?;
    if let Some(metric) = answer.metric() {
        act.metrics().operated(metric);
    }
    let notice = match answer {
        Cancel::Cancelled => "It is cancelled.",
        Cancel::Requested => "It was asked to stop: its worker hears that with the next renewal of the lease.",
        Cancel::Finished => "It had ended before it could be cancelled.",
        Cancel::Unknown => "There was nothing to cancel.",
    };
    Ok(act.done(&path(id), notice))
}

/// Enqueues a copy.
pub(super) async fn again(Path(id): Path<JobId>, act: Act) -> Result<Response> {
    let found = act.call(async |client| read::get(client, id).await).await?;
    let Some(job) = found else {
        return Ok(act.refused("This can't be done", "The job is no longer kept, so that there is nothing to copy."));
    };
    let copy = like(&job, new_id());
    let made = act
        .call(async |client| {
            let made = enqueue::enqueue(client, std::slice::from_ref(&copy)).await?;
            operate::audit(client, &act.actor, "job.enqueue", &copy.id.to_string(), Some(&format!("like {id}")))
                .await?;
            Ok(made)
        })
        .await?;
    for answer in made {
        act.metrics().enqueued(&copy.queue, &copy.kind, answer.metric());
    }
    hint(&act, Some(job.queue)).await;
    Ok(act.done(&path(copy.id), &format!("Enqueued: a copy of job {id}, without its key.")))
}

fn like(job: &Job, id: JobId) -> NewJob {
    let mut copy = NewJob::new(id, job.kind.clone(), job.payload.clone());
    copy.queue.clone_from(&job.queue);
    copy.headers = job.headers.as_deref().and_then(copy::kept_headers);
    copy.priority = job.priority;
    copy.max_attempts = job.max_attempts;
    copy.timeout = Duration::from_millis(u64::from(job.timeout_ms.unsigned_abs()));
    copy.backoff = Backoff { base_ms: job.backoff_base_ms, cap_ms: job.backoff_cap_ms };
    copy
}

/// Tells workers that there is something to do; one that misses it finds the job by looking.
async fn hint(act: &Act, queue: Option<String>) {
    if let Some(queue) = queue {
        let _ = act.call(async |client| notify(client, &queue).await).await;
    }
}

/// A new job's id.
pub(crate) fn new_id() -> JobId {
    JobId::now(&mut rand::rng())
}

fn path(id: JobId) -> String {
    format!("/jobs/{id}")
}
