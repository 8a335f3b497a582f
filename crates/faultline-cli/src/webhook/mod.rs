//! Runs a job by a POST: the payload is the body, the facts are headers, the answer's status decides.
//!
//! | answer | means |
//! |---|---|
//! | 2xx | succeeded; the body is the result: JSON, or else a JSON string of the text, 1 MiB at most |
//! | 429, 503 with `Retry-After` | a failed attempt; the next one after that delay |
//! | 410 | failed for good |
//! | any other, redirects too | a failed attempt, with the beginning of the body as its error |
//!
//! Requests are signed after the Standard Webhooks specification 1.0 (`signature.rs`). The job's id is the `webhook-id`: the same for
//! every attempt, so that the other side can tell a repetition. The attempt's time-out is the job's; when the attempt
//! is over from outside, the future is dropped, which closes the connection.

mod signature;

pub(crate) use signature::Secrets;

use crate::attempt::{Facts, Outcome, result_of};
use crate::exit::usage;
use crate::https::{Https, client, connection_error};
use anyhow::{Context, Result};
use bytes::Bytes;
use faultline_core::limits;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use std::time::Duration;

/// Bytes of an error answer that are kept.
const ERROR_BYTES: usize = 4 * 1024;
/// The names of [`crate::attempt::VARIABLES`] as headers.
const HEADERS: [HeaderName; 8] = [
    HeaderName::from_static("faultline-job-id"),
    HeaderName::from_static("faultline-kind"),
    HeaderName::from_static("faultline-queue"),
    HeaderName::from_static("faultline-attempt"),
    HeaderName::from_static("faultline-max-attempts"),
    HeaderName::from_static("faultline-key"),
    HeaderName::from_static("faultline-lease-id"),
    HeaderName::from_static("faultline-worker-id"),
];

/// Runs jobs by a POST. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Webhook {
    url: Uri,
    /// The URL without the name and password that it may hold, for errors.
    shown: String,
    client: Https,
    secrets: Secrets,
}

impl Webhook {
    /// # Errors
    /// A usage error for a URL that can't be used; another one when no root certificates are found for https.
    pub(crate) fn new(url: &Uri, secrets: Secrets) -> Result<Self> {
        let secure = match url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(usage(format!("--http {url}: must begin with http:// or https://"))),
        };
        if secrets.is_empty() {
            tracing::warn!("FAULTLINE_WEBHOOK_SECRET is not set: requests are not signed");
        }
        let (_, shown) =
            url.authority().map_or(("", ""), |all| all.as_str().rsplit_once('@').unwrap_or(("", all.as_str())));
        let shown = format!("{}://{shown}{}", url.scheme_str().unwrap_or_default(), url.path());
        Ok(Self { url: url.clone(), shown, client: client(secure)?, secrets })
    }

    /// Makes one attempt. Dropping the future closes the connection.
    pub(crate) async fn run(&self, facts: &Facts, payload: &str) -> Outcome {
        match self.post(facts, payload).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(format!("{}: {error:#}", self.shown)),
        }
    }

    async fn post(&self, facts: &Facts, payload: &str) -> Result<Outcome> {
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(payload.as_bytes())));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers(facts, payload, Timestamp::now())?;
        let answer = self.client.request(request).await.map_err(connection_error)?;
        let (head, body) = answer.into_parts();
        let limit = if head.status.is_success() { limits::MAX_RESULT_BYTES } else { ERROR_BYTES };
        let (text, total_bytes) = read(body, limit).await?;
        Ok(outcome(head.status, &head.headers, &text, total_bytes))
    }

    fn headers(&self, facts: &Facts, payload: &str, now: Timestamp) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("faultline/", env!("CARGO_PKG_VERSION"))));
        let [parent, state] = facts.trace_values();
        let trace = [(HeaderName::from_static("traceparent"), parent), (HeaderName::from_static("tracestate"), state)];
        for (name, value) in HEADERS.into_iter().zip(facts.values()).chain(trace) {
            if let Some(value) = value {
                // Keys may hold any character but control characters; those beyond ASCII go as UTF-8.
                headers.insert(name, HeaderValue::from_bytes(value.as_bytes())?);
            }
        }
        for (name, value) in self.secrets.sign(&facts.job_id, now, payload) {
            headers.insert(name, HeaderValue::from_str(&value)?);
        }
        Ok(headers)
    }
}

/// Reads a body; answers its first `limit` bytes and how many it had, as far as it was read: no more than twice the limit.
async fn read(mut body: hyper::body::Incoming, limit: usize) -> Result<(Vec<u8>, usize)> {
    let (mut text, mut total_bytes) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the answer ended too soon")?;
        let Some(data) = frame.data_ref() else { continue };
        text.extend_from_slice(&data[..data.len().min(limit - text.len())]);
        total_bytes += data.len();
        if total_bytes > 2 * limit {
            break;
        }
    }
    Ok((text, total_bytes))
}

fn outcome(status: StatusCode, headers: &HeaderMap, text: &[u8], total_bytes: usize) -> Outcome {
    if status.is_success() {
        return Outcome::Succeeded(result_of(text, total_bytes));
    }
    let said = String::from_utf8_lossy(text);
    let said = said.trim();
    let error = if said.is_empty() { format!("answered {status}") } else { format!("answered {status}: {said}") };
    let wait = match status {
        StatusCode::GONE => return Outcome::Fatal(error),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            headers.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, Timestamp::now()))
        }
        _ => None,
    };
    match wait {
        Some(wait) => Outcome::RetryIn(wait, error),
        None => Outcome::Failed(error),
    }
}

/// `Retry-After` in both its forms (RFC 9110, section 10.2.3), within the longest delay of a job.
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let longest = Duration::from_millis(limits::MAX_DELAY_MS.unsigned_abs());
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(longest));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO).min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(status: u16, retry: Option<&str>) -> Outcome {
        let mut headers = HeaderMap::new();
        if let Some(retry) = retry {
            headers.insert(RETRY_AFTER, retry.parse().unwrap());
        }
        outcome(StatusCode::from_u16(status).unwrap(), &headers, b"no", 2)
    }

    #[test]
    fn the_status_decides() {
        assert!(matches!(with(200, None), Outcome::Succeeded(Some(json)) if json.get() == "\"no\""));
        assert!(matches!(with(410, None), Outcome::Fatal(error) if error == "answered 410 Gone: no"));
        assert!(matches!(with(503, Some("7")), Outcome::RetryIn(wait, _) if wait == Duration::from_secs(7)));
        for (status, retry) in
            [(400, None), (404, Some("7")), (500, None), (503, None), (302, None), (429, Some("soon"))]
        {
            assert!(matches!(with(status, retry), Outcome::Failed(_)), "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Thu, 01 Jan 2026 00:01:00 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Wed, 31 Dec 2025 00:01:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("99999999999999", now), Some(Duration::from_secs(365 * 24 * 3600)));
        assert_eq!(retry_after("soon", now), None);
    }
}
