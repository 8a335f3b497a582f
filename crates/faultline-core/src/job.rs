//! A job on its way in, checked, and the states of its life.

use crate::{Backoff, JobId, json, limits};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::Duration;

/// Where a job is in its life. "Scheduled" is queued with a start in the future, "retrying" is queued with attempts made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for its time and a free slot.
    Queued,
    /// A worker holds its lease.
    Running,
    /// Ended well. Terminal.
    Succeeded,
    /// Ended badly, out of attempts or by a fatal error. Terminal.
    Failed,
    /// Ended by an operator. Terminal.
    Cancelled,
}

impl State {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// The name as it stands in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether a job in this state has ended for good.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Whether a job may go from this state to another one in a single step; the database holds the same line.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Queued => matches!(next, Self::Queued | Self::Running | Self::Cancelled),
            Self::Running => true,
            Self::Succeeded | Self::Failed | Self::Cancelled => false,
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for State {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == s)
            .ok_or_else(|| format!("expected queued, running, succeeded, failed or cancelled, got {s:?}"))
    }
}

/// A value out of bounds, with the field that holds it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// The field as it is named in JSON, such as `payload` or `backoff.base`.
    pub field: &'static str,
    /// What is wrong, for people.
    pub reason: String,
}

impl Invalid {
    /// A value of `field` is out of bounds.
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}

/// When a job may first start, on the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// This long after the database takes it in.
    After(Duration),
    /// At this time; one that has passed means now.
    At(Timestamp),
}

/// A job on its way in. Fields are public for reading and for building; [`NewJob::check`] says whether it may be stored,
/// and every way into the store asks it.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// The id under which it will be known, unless its key is taken.
    pub id: JobId,
    /// The queue it waits in.
    pub queue: String,
    /// What is to be done: the name by which workers know the handler.
    pub kind: String,
    /// The handler's input.
    pub payload: Box<RawValue>,
    /// Trace context and tags: a JSON object.
    pub headers: Option<Box<RawValue>>,
    /// At most one job per queue and key while the key's window is open.
    pub key: Option<String>,
    /// The key's window.
    pub key_ttl: Duration,
    /// 1 is first, 4 is last.
    pub priority: i16,
    /// When it may first start.
    pub start: Start,
    /// How many attempts may be made, the first included.
    pub max_attempts: i32,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How long a failed attempt waits for the next.
    pub backoff: Backoff,
}

impl NewJob {
    /// A job with the defaults of [`limits`].
    pub fn new(id: JobId, kind: impl Into<String>, payload: Box<RawValue>) -> Self {
        Self {
            id,
            queue: limits::DEFAULT_QUEUE.into(),
            kind: kind.into(),
            payload,
            headers: None,
            key: None,
            key_ttl: Duration::from_millis(limits::DEFAULT_KEY_TTL_MS.unsigned_abs()),
            priority: limits::DEFAULT_PRIORITY,
            start: Start::After(Duration::ZERO),
            max_attempts: limits::DEFAULT_MAX_ATTEMPTS,
            timeout: Duration::from_millis(u64::from(limits::DEFAULT_TIMEOUT_MS.unsigned_abs())),
            backoff: Backoff::default(),
        }
    }

    /// Checks every field against [`limits`].
    ///
    /// # Errors
    /// The first field that is out of bounds.
    pub fn check(&self) -> Result<(), Invalid> {
        check_name("queue", &self.queue)?;
        check_name("kind", &self.kind)?;
        json::check(self.payload.get(), limits::MAX_PAYLOAD_BYTES).map_err(|e| Invalid::new("payload", e))?;
        if let Some(headers) = &self.headers {
            json::check(headers.get(), limits::MAX_HEADERS_BYTES).map_err(|e| Invalid::new("headers", e))?;
            if !headers.get().trim_start().starts_with('{') {
                return Err(Invalid::new("headers", "must be an object"));
            }
        }
        if let Some(key) = &self.key {
            check_key(key)?;
        }
        let key_ttl_ms = millis(self.key_ttl);
        within("key_ttl", key_ttl_ms, limits::MIN_KEY_TTL_MS, limits::MAX_KEY_TTL_MS, "1s to 365d")?;
        within("priority", self.priority.into(), 1, 4, "1 to 4")?;
        within("max_attempts", self.max_attempts.into(), 1, limits::MAX_ATTEMPTS.into(), "1 to 100000")?;
        within("timeout", millis(self.timeout), 1, limits::MAX_TIMEOUT_MS.into(), "1ms to 7d")?;
        within("backoff.base", self.backoff.base_ms.into(), 0, limits::MAX_BACKOFF_BASE_MS.into(), "0s to 1d")?;
        within("backoff.cap", self.backoff.cap_ms.into(), 0, limits::MAX_BACKOFF_CAP_MS.into(), "0s to 7d")?;
        match self.start {
            Start::After(delay) => within("delay", millis(delay), 0, limits::MAX_DELAY_MS, "0s to 365d"),
            Start::At(at) => within("run_at", at.as_second(), 946_684_800, 7_258_118_399, "the years 2000 to 2199"),
        }
    }
}

/// Checks the name of a queue or a kind.
///
/// # Errors
/// Names `field` if the name is empty, too long or ill-formed.
pub fn check_name(field: &'static str, name: &str) -> Result<(), Invalid> {
    let first_fits = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest_fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/-".contains(&b));
    if first_fits && rest_fits && name.len() <= limits::MAX_NAME_BYTES {
        return Ok(());
    }
    Err(Invalid::new(
        field,
        "must be 1 to 128 of the characters A-Z a-z 0-9 . _ : / - and start with a letter or digit",
    ))
}

fn check_key(key: &str) -> Result<(), Invalid> {
    if key.is_empty() || key.len() > limits::MAX_KEY_BYTES {
        return Err(Invalid::new("key", "must be 1 to 512 bytes"));
    }
    if key.chars().any(char::is_control) {
        return Err(Invalid::new("key", "must not contain control characters"));
    }
    Ok(())
}

fn within(field: &'static str, value: i64, min: i64, max: i64, range: &str) -> Result<(), Invalid> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(Invalid::new(field, format!("must be {range}"))) }
}

/// Whole milliseconds of a duration, saturating.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> NewJob {
        NewJob::new(JobId::new(0, &mut rand::rng()), "demo.echo", RawValue::from_string("{}".into()).unwrap())
    }

    fn refused_field(change: impl FnOnce(&mut NewJob)) -> &'static str {
        let mut job = job();
        change(&mut job);
        job.check().expect_err("should be refused").field
    }

    #[test]
    fn a_job_with_defaults_passes() {
        assert_eq!(job().check(), Ok(()));
    }

    #[test]
    fn each_value_out_of_bounds_is_refused_with_its_field() {
        assert_eq!(refused_field(|j| j.queue = String::new()), "queue");
        assert_eq!(refused_field(|j| j.queue = "-x".into()), "queue");
        assert_eq!(refused_field(|j| j.kind = "a b".into()), "kind");
        assert_eq!(refused_field(|j| j.kind = "x".repeat(129)), "kind");
        assert_eq!(refused_field(|j| j.key = Some("x".repeat(513))), "key");
        assert_eq!(refused_field(|j| j.key = Some("a\0b".into())), "key");
        assert_eq!(refused_field(|j| j.key_ttl = Duration::ZERO), "key_ttl");
        assert_eq!(refused_field(|j| j.priority = 0), "priority");
        assert_eq!(refused_field(|j| j.max_attempts = 0), "max_attempts");
        assert_eq!(refused_field(|j| j.timeout = Duration::ZERO), "timeout");
        assert_eq!(refused_field(|j| j.backoff.base_ms = -1), "backoff.base");
        assert_eq!(refused_field(|j| j.start = Start::After(Duration::MAX)), "delay");
        assert_eq!(refused_field(|j| j.start = Start::At(Timestamp::MIN)), "run_at");
        assert_eq!(refused_field(|j| j.headers = Some(RawValue::from_string("[]".into()).unwrap())), "headers");
        assert_eq!(refused_field(|j| j.payload = RawValue::from_string("\"\\u0000\"".into()).unwrap()), "payload");
    }

    #[test]
    fn nothing_follows_a_terminal_state() {
        for state in State::ALL.into_iter().filter(|s| s.is_terminal()) {
            assert!(State::ALL.iter().all(|next| !state.may_become(*next)));
        }
    }
}
