//! The spans of requests, enqueues and attempts.

use crate::TraceContext;
#[cfg(feature = "otel")]
use crate::otel;
use faultline_core::{JobId, LeaseId, NewJob, WorkerId};
use serde_json::value::RawValue;
use tracing::Span;
use tracing::field::Empty;

/// What is known of an attempt when it begins.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The job.
    pub job: JobId,
    /// The number of the attempt, counting from 1.
    pub attempt: i32,
    /// Its lease.
    pub lease: LeaseId,
    /// The worker that makes it.
    pub worker: WorkerId,
    /// The queue.
    pub queue: &'a str,
    /// The kind.
    pub kind: &'a str,
    /// The job's headers.
    pub headers: Option<&'a RawValue>,
}

/// How an attempt ended, by the database's word.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// The outcome as the metrics name it: `succeeded`, `retried`, `failed` …, or `lease_lost`.
    pub outcome: &'static str,
    /// A failure: its sort, such as `timeout`, and the error's text.
    pub error: Option<(&'static str, &'a str)>,
}

/// Characters of an error's text that a span keeps; the job has more of it.
#[cfg(feature = "otel")]
const MAX_ERROR_CHARS: usize = 512;
/// Contexts that jobs brought along which an enqueue of many links to.
#[cfg(feature = "otel")]
pub(crate) const MAX_LINKS: usize = 128;

/// The span of an attempt. It stands at the level of errors: whatever is logged inside has its fields, however little is logged.
pub fn attempt(facts: &Attempt<'_>) -> Span {
    let Attempt { job, attempt, lease, worker, queue, kind, headers } = *facts;
    let span = tracing::error_span!(
        target: "faultline::attempt", parent: None, "attempt",
        %job, attempt, %lease, %worker, queue, kind, trace_id = Empty, otel.name = Empty, otel.kind = Empty
    );
    if span.is_disabled() {
        return span;
    }
    let given = TraceContext::of_headers(headers);
    #[cfg(feature = "otel")]
    if otel::begin(&span, given.as_ref()) {
        span.record("otel.name", format!("attempt {queue}")).record("otel.kind", "consumer");
        if let Some(given) = &given {
            otel::link(&span, given);
        }
        let (job, worker) = (job.to_string(), worker.to_string());
        for (name, value) in messaging("attempt", "process", queue)
            .into_iter()
            .chain([("messaging.message.id", job), ("messaging.client.id", worker)])
        {
            otel::set(&span, name, value);
        }
    }
    if let Some(context) = TraceContext::of_span(&span).or(given) {
        span.record("trace_id", context.trace_id());
    }
    span
}

/// The database has said how the attempt ended, which ends its span.
pub fn ended(span: &Span, ended: &Ended<'_>) {
    #[cfg(feature = "otel")]
    // It ends when it was left last.
    span.in_scope(|| {
        otel::set(span, "outcome", ended.outcome);
        if let Some((sort, text)) = ended.error {
            otel::set(span, "error.type", sort);
            otel::status(span, &text.chars().take(MAX_ERROR_CHARS).collect::<String>());
        }
    });
    #[cfg(not(feature = "otel"))]
    let _ = (span, ended);
}

/// The span of an HTTP request, below the context that it brought along. None without the feature `otel`.
pub fn request(method: &str, route: &str, given: Option<&TraceContext>) -> Span {
    #[cfg(feature = "otel")]
    {
        let span = tracing::debug_span!(
            target: "faultline::request", parent: None, "request",
            otel.name = format!("{method} {route}"), otel.kind = "server",
            http.request.method = method, http.route = route, url.path = route, url.scheme = "http"
        );
        otel::begin(&span, given);
        span
    }
    #[cfg(not(feature = "otel"))]
    {
        let _ = (method, route, given);
        Span::none()
    }
}

/// The request of that span is answered.
pub fn responded(span: &Span, status: u16) {
    #[cfg(feature = "otel")]
    {
        otel::set(span, "http.response.status_code", i64::from(status));
        if status >= 500 {
            otel::set(span, "error.type", status.to_string());
            otel::status(span, "");
        }
    }
    #[cfg(not(feature = "otel"))]
    let _ = (span, status);
}

/// The span of an enqueue, below the caller's span, and its context in the headers of those jobs that brought none along. Where
/// nobody traces, and without the feature `otel`, `given` is what they get.
pub fn send(jobs: &mut [NewJob], given: Option<&TraceContext>) -> Span {
    let span = sending(jobs);
    let own = TraceContext::of_span(&span).or_else(TraceContext::current);
    let Some(context) = own.as_ref().or(given) else { return span };
    for job in jobs {
        job.headers = context.add_to(job.headers.take());
    }
    span
}

/// The jobs were enqueued, or not: `outcome` as the metrics name it.
pub fn sent(span: &Span, outcome: &'static str, error: Option<&dyn std::fmt::Display>) {
    #[cfg(feature = "otel")]
    {
        otel::set(span, "outcome", outcome);
        if let Some(error) = error {
            otel::set(span, "error.type", outcome);
            otel::status(span, &error.to_string().chars().take(MAX_ERROR_CHARS).collect::<String>());
        }
    }
    #[cfg(not(feature = "otel"))]
    let _ = (span, outcome, error);
}

#[cfg(feature = "otel")]
fn sending(jobs: &[NewJob]) -> Span {
    let Some(first) = jobs.first() else { return Span::none() };
    let span = tracing::debug_span!(target: "faultline::enqueue", "enqueue", otel.name = Empty, otel.kind = "producer");
    if span.is_disabled() {
        return span;
    }
    // Their queue, if it is one.
    let queue = if jobs.iter().all(|job| job.queue == first.queue) { first.queue.as_str() } else { "" };
    span.record("otel.name", format!("enqueue {queue}").trim_end());
    for (name, value) in messaging("enqueue", "send", queue) {
        otel::set(&span, name, value);
    }
    if let [job] = jobs {
        otel::set(&span, "messaging.message.id", job.id.to_string());
        otel::set(&span, "kind", job.kind.clone());
    } else {
        otel::set(&span, "messaging.batch.message_count", i64::try_from(jobs.len()).unwrap_or(i64::MAX));
    }
    for brought in jobs.iter().take(MAX_LINKS).filter_map(|job| TraceContext::of_headers(job.headers.as_deref())) {
        otel::link(&span, &brought);
    }
    span
}

#[cfg(not(feature = "otel"))]
fn sending(_: &[NewJob]) -> Span {
    Span::none()
}

/// What every span of a queue says, by the conventions for messaging.
#[cfg(feature = "otel")]
pub(crate) fn messaging(name: &str, sort: &str, queue: &str) -> Vec<(&'static str, String)> {
    let mut attributes = vec![
        ("messaging.system", "faultline".to_owned()),
        ("messaging.operation.name", name.to_owned()),
        ("messaging.operation.type", sort.to_owned()),
    ];
    if !queue.is_empty() {
        attributes.push(("messaging.destination.name", queue.to_owned()));
    }
    attributes
}
