//! Traces: what a job carries of the trace that it was enqueued in, and the spans around what happens to it.
//!
//! A job has its trace context in its headers, as `traceparent` and `tracestate` of [W3C Trace Context]. Headers are not part of
//! the request that a key stands for, so that a repeated enqueue, which has another trace, is still the same request.
//!
//! The spans follow OpenTelemetry's [conventions for messaging]:
//!
//! | span | kind | parent | links |
//! |---|---|---|---|
//! | `POST /v1/jobs` | server | the request's `traceparent` | |
//! | `enqueue QUEUE` (send) | producer | the request, or the caller's span; its own context goes into the jobs | contexts that jobs brought along |
//! | `attempt QUEUE` (process) | consumer | the context in the job's headers | the same |
//! | `claim QUEUE` (receive) | client | the context in the job's headers if it is one job, else none | those of the jobs, 128 at most |
//! | `finish QUEUE` (settle) | client | the attempt if it is one, else none | the attempts, 128 at most |
//!
//! The conventions leave open whether the attempt is the child of the message's context or only linked to it, and ask to say so:
//! here it is both. One job, one trace; every attempt hangs below the enqueue.
//!
//! Without the feature `otel` there is one span, around an attempt, whose fields stand on every line that is logged inside of it.
//!
//! [W3C Trace Context]: https://www.w3.org/TR/trace-context/
//! [conventions for messaging]: https://github.com/open-telemetry/semantic-conventions/blob/main/docs/messaging/messaging-spans.md

mod batch;
mod context;
mod otel;
mod spans;

pub use batch::{Batch, Deed};
pub use context::TraceContext;
pub use spans::{Attempt, Ended, attempt, ended, request, responded, send, sent};
