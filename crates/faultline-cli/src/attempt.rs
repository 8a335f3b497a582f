//! One attempt at a job as a handler outside of this process sees it: the facts it is told, and what may come of it.

use faultline::{Failure, Run};
use faultline_trace::TraceContext;
use serde::Serialize;
use serde_json::value::RawValue;
use std::time::Duration;

/// The variables that a command of `work --exec` is given.
pub(crate) const VARIABLES: [&str; 8] = [
    "FAULTLINE_JOB_ID",
    "FAULTLINE_KIND",
    "FAULTLINE_QUEUE",
    "FAULTLINE_ATTEMPT",
    "FAULTLINE_MAX_ATTEMPTS",
    "FAULTLINE_KEY",
    "FAULTLINE_LEASE_ID",
    "FAULTLINE_WORKER_ID",
];

/// The variables that say where in a trace the command runs, as OpenTelemetry reads them from the environment.
pub(crate) const TRACE_VARIABLES: [&str; 2] = ["TRACEPARENT", "TRACESTATE"];

/// What a handler may know of the attempt that it makes.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) job_id: String,
    pub(crate) kind: String,
    pub(crate) queue: String,
    pub(crate) attempt: i32,
    pub(crate) max_attempts: i32,
    pub(crate) key: Option<String>,
    pub(crate) lease_id: String,
    pub(crate) worker_id: String,
    /// The trace context of the attempt, or, where nobody traces, of whoever enqueued the job.
    pub(crate) trace: Option<TraceContext>,
}

impl Facts {
    pub(crate) fn of(run: &Run) -> Self {
        Self {
            job_id: run.id().to_string(),
            kind: run.kind().to_owned(),
            queue: run.queue().to_owned(),
            attempt: run.attempt(),
            max_attempts: run.max_attempts(),
            key: run.key().map(str::to_owned),
            lease_id: run.lease_id().to_string(),
            worker_id: run.worker_id().to_string(),
            trace: TraceContext::current().or_else(|| TraceContext::of_headers(run.headers())),
        }
    }

    /// The facts in the order of [`VARIABLES`]; only the key may be missing.
    pub(crate) fn values(&self) -> [Option<String>; 8] {
        [
            Some(self.job_id.clone()),
            Some(self.kind.clone()),
            Some(self.queue.clone()),
            Some(self.attempt.to_string()),
            Some(self.max_attempts.to_string()),
            self.key.clone(),
            Some(self.lease_id.clone()),
            Some(self.worker_id.clone()),
        ]
    }

    /// The trace context in the order of [`TRACE_VARIABLES`].
    pub(crate) fn trace_values(&self) -> [Option<String>; 2] {
        let trace = self.trace.as_ref();
        [trace.map(TraceContext::traceparent), trace.and_then(TraceContext::tracestate)]
            .map(|value| value.map(str::to_owned))
    }
}

impl From<Outcome> for Result<Option<Box<RawValue>>, Failure> {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded(result) => Ok(result),
            Outcome::Failed(error) => Err(Failure::new(error)),
            Outcome::RetryIn(delay, error) => Err(Failure::retry_in(delay, error)),
            Outcome::Fatal(error) => Err(Failure::fatal(error)),
        }
    }
}

/// What came of an attempt.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It succeeded, with this result.
    Succeeded(Option<Box<RawValue>>),
    /// It failed and shall be tried again after the job's back-off.
    Failed(String),
    /// It failed and shall be tried again after this delay.
    RetryIn(Duration, String),
    /// It failed for good.
    Fatal(String),
}

/// Characters of a result that was too large which its mark holds.
const HEAD_CHARS: usize = 256;

/// The mark of a result that was too large, as `faultline_core::json::storable_result` makes it.
#[derive(Serialize)]
struct NotStored {
    faultline_result_not_stored: String,
    bytes: usize,
    head: String,
}

/// A text as a result: itself if it is JSON, nothing if it is blank, else a JSON string of it. `total_bytes` is more than
/// the text has when it was cut, which leaves only a mark of it.
pub(crate) fn result_of(text: &[u8], total_bytes: usize) -> Option<Box<RawValue>> {
    if total_bytes > text.len() {
        let head: String = String::from_utf8_lossy(text).chars().take(HEAD_CHARS).collect();
        let problem = format!("must be at most {} bytes, is {total_bytes}", text.len());
        let mark = NotStored { faultline_result_not_stored: problem, bytes: total_bytes, head };
        return serde_json::value::to_raw_value(&mark).ok();
    }
    let text = String::from_utf8_lossy(text);
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    serde_json::from_str(text).or_else(|_| serde_json::value::to_raw_value(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(text: &str) -> Option<String> {
        result_of(text.as_bytes(), text.len()).map(|json| json.get().to_owned())
    }

    #[test]
    fn json_is_the_result_and_other_text_becomes_a_string() {
        assert_eq!(result("{\"a\": 1}\n").as_deref(), Some("{\"a\": 1}"));
        assert_eq!(result("done\n").as_deref(), Some("\"done\""));
        assert_eq!(result("1 2").as_deref(), Some("\"1 2\""));
        assert_eq!(result(" \n"), None);
    }

    #[test]
    fn a_text_that_was_cut_leaves_a_mark() {
        let marked = result_of(b"xxxx", 9).unwrap();
        let expected = r#"{"faultline_result_not_stored":"must be at most 4 bytes, is 9","bytes":9,"head":"xxxx"}"#;
        assert_eq!(marked.get(), expected);
    }
}
