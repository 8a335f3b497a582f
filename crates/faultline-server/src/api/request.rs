//! A request to enqueue, from JSON to a checked job.

use crate::body::Object;
use crate::problem::{Answer, Kind, Problem};
use crate::trace;
use axum::http::HeaderMap;
use faultline_core::job::millis;
use faultline_core::{JobId, NewJob, Start, durations, limits};
use faultline_trace::TraceContext;
use jiff::Timestamp;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::fmt;
use std::time::Duration;
use utoipa::ToSchema;

/// The header that holds the key of a request.
pub(crate) const KEY_HEADER: &str = "idempotency-key";

/// A job to be enqueued.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EnqueueRequest)]
pub(crate) struct EnqueueRequest {
    /// What is to be done: the name of its handler. 1 to 128 of the characters A-Z a-z 0-9 . _ : / -
    #[schema(example = "send_email")]
    kind: String,
    /// The handler's input: any JSON up to 1 MiB; `{}` if absent.
    #[serde(default = "empty_object")]
    #[schema(value_type = serde_json::Value, required = false)]
    payload: Box<RawValue>,
    /// The queue it waits in; `default` if absent.
    queue: Option<String>,
    /// At most one job per queue and key while the key's window is open. Also as the header `Idempotency-Key`.
    key: Option<String>,
    /// The key's window, 1s to 365d; `1d` if absent.
    #[schema(value_type = Option<String>, example = "1d")]
    key_ttl: Option<Span>,
    /// 1 is first, 4 is last; 2 if absent.
    #[schema(minimum = 1, maximum = 4)]
    priority: Option<i64>,
    /// Start no sooner than after this time.
    #[schema(value_type = Option<String>, example = "10m")]
    delay: Option<Span>,
    /// Start no sooner than at this time; excludes `delay`.
    #[schema(value_type = Option<String>, format = DateTime)]
    run_at: Option<Instant>,
    /// The most attempts, the first included; 20 if absent.
    #[schema(minimum = 1, maximum = 100_000)]
    max_attempts: Option<i64>,
    /// How long one attempt may take, 1ms to 7d; `1h` if absent.
    #[schema(value_type = Option<String>, example = "1h")]
    timeout: Option<Span>,
    /// How long failed attempts wait.
    #[schema(value_type = Option<BackoffRequest>)]
    backoff: Option<Object<BackoffRequest>>,
    /// Trace context and tags, up to 8 KiB. The trace context of the request, its headers `traceparent` and `tracestate`, is added unless
    /// a `traceparent` is given here.
    #[schema(value_type = Option<Object>)]
    headers: Option<Box<RawValue>>,
}

/// How long failed attempts wait: a random time below `base * 2^(attempt - 1)`, and below `cap`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BackoffRequest)]
pub(crate) struct BackoffRequest {
    /// `1s` if absent.
    #[schema(value_type = Option<String>, example = "1s")]
    base: Option<Span>,
    /// `10m` if absent.
    #[schema(value_type = Option<String>, example = "10m")]
    cap: Option<Span>,
}

/// Jobs to be enqueued together. One that is refused does not keep the others out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BatchRequest)]
pub(crate) struct BatchRequest {
    /// Up to 1,000 jobs.
    #[schema(value_type = Vec<EnqueueRequest>, max_items = 1000)]
    pub(crate) jobs: Vec<Box<RawValue>>,
}

/// What the headers of a request add to a job.
#[derive(Default)]
pub(crate) struct FromHeaders {
    key: Option<String>,
    pub(crate) trace: Option<TraceContext>,
}

impl FromHeaders {
    /// Reads the key and the trace context.
    pub(crate) fn read(headers: &HeaderMap) -> Answer<Self> {
        let mut keys = headers.get_all(KEY_HEADER).iter();
        let key = keys
            .next()
            .map(|key| std::str::from_utf8(key.as_bytes()).map(str::to_owned).map_err(|_| wrong_key("must be UTF-8")));
        if keys.next().is_some() {
            return Err(wrong_key("must be given once"));
        }
        Ok(Self { key: key.transpose()?, trace: trace::context(headers) })
    }

    /// Reads the trace context only, for a batch.
    pub(crate) fn read_for_batch(headers: &HeaderMap) -> Answer<Self> {
        if headers.contains_key(KEY_HEADER) {
            return Err(wrong_key("does not fit a batch: give each job a key of its own"));
        }
        Ok(Self { key: None, trace: trace::context(headers) })
    }
}

fn wrong_key(what: &str) -> Problem {
    Kind::InvalidParameter.because(format!("the header Idempotency-Key {what}")).in_field(KEY_HEADER)
}

impl EnqueueRequest {
    /// Makes a checked job of the request. The trace context is left to [`faultline_trace::send`].
    pub(crate) fn into_job(self, id: JobId, from_headers: &FromHeaders) -> Answer<NewJob> {
        if self.payload.get().len() > limits::MAX_PAYLOAD_BYTES {
            let detail = format!("payload: must be at most {} bytes", limits::MAX_PAYLOAD_BYTES);
            return Err(Kind::TooLarge.because(detail).in_field("payload"));
        }
        let mut job = NewJob::new(id, self.kind, self.payload);
        if let Some(queue) = self.queue {
            job.queue = queue;
        }
        job.key = one_key(self.key, from_headers.key.clone())?;
        if let Some(Span(key_ttl)) = self.key_ttl {
            job.key_ttl = key_ttl;
        }
        // Numbers that don't fit become ones that the check refuses.
        if let Some(priority) = self.priority {
            job.priority = i16::try_from(priority).unwrap_or(i16::MAX);
        }
        if let Some(max_attempts) = self.max_attempts {
            job.max_attempts = i32::try_from(max_attempts).unwrap_or(i32::MAX);
        }
        job.start = match (self.delay, self.run_at) {
            (Some(_), Some(_)) => {
                return Err(Kind::InvalidField
                    .because("run_at: delay and run_at exclude each other")
                    .in_field("run_at"));
            }
            (Some(Span(delay)), None) => Start::After(delay),
            (None, Some(Instant(at))) => Start::At(at),
            (None, None) => job.start,
        };
        if let Some(Span(timeout)) = self.timeout {
            job.timeout = timeout;
        }
        if let Some(Object(backoff)) = self.backoff {
            let ms = |span: Span| i32::try_from(millis(span.0)).unwrap_or(i32::MAX);
            job.backoff.base_ms = backoff.base.map_or(job.backoff.base_ms, ms);
            job.backoff.cap_ms = backoff.cap.map_or(job.backoff.cap_ms, ms);
        }
        job.headers = self.headers;
        job.check()?;
        Ok(job)
    }
}

fn one_key(in_body: Option<String>, in_header: Option<String>) -> Answer<Option<String>> {
    match (in_body, in_header) {
        (Some(body), Some(header)) if body != header => {
            Err(Kind::KeyMismatch.because("the key and the header Idempotency-Key differ").in_field("key"))
        }
        (Some(key), _) | (None, Some(key)) => Ok(Some(key)),
        (None, None) => Ok(None),
    }
}

fn empty_object() -> Box<RawValue> {
    RawValue::from_string("{}".into()).expect("an empty object is JSON")
}

/// A duration as text.
#[derive(Clone, Copy)]
struct Span(Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text {
            expected: "a duration such as \"250ms\", \"5s\", \"10m\" or \"2h\"",
            read: |text| durations::parse(text).ok().map(Span),
        })
    }
}

/// A point in time as text.
#[derive(Clone, Copy)]
struct Instant(Timestamp);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text {
            expected: "a time as of RFC 3339 such as \"2030-01-31T12:00:00Z\"",
            read: |text| text.parse().ok().map(Instant),
        })
    }
}

struct Text<T> {
    expected: &'static str,
    read: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self.expected))
    }
}
