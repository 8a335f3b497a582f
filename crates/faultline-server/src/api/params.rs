//! What stands in a request's path and query.

use crate::problem::{Answer, Kind, Problem};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use faultline_core::job::check_name;
use faultline_core::{Invalid, JobId, durations};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The id of a job in the path.
pub(crate) struct PathId(pub(crate) JobId);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let text = in_path(parts, state, "id").await?;
        text.parse().map(Self).map_err(|_| wrong("id", format!("expected a UUID, got {text:?}")))
    }
}

/// The name of a queue in the path.
pub(crate) struct PathQueue(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PathQueue {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let name = in_path(parts, state, "name").await?;
        check_name("name", &name).map_err(invalid)?;
        Ok(Self(name))
    }
}

async fn in_path<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Answer<String> {
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.map(|Path(text)| text).map_err(|e| wrong(name, e.body_text()))
}

/// The query, every parameter a text; one that is not known or given twice is refused.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        Query::try_from_uri(&parts.uri).map(|Query(params)| Self(params)).map_err(|e| {
            let text = e.body_text();
            let problem =
                Kind::InvalidParameter.because(text.trim_start_matches("Failed to deserialize query string: "));
            match text.split('`').nth(1) {
                Some(name) => problem.in_field(name),
                None => problem,
            }
        })
    }
}

/// A parameter is out of bounds.
pub(crate) fn wrong(name: &str, what: impl std::fmt::Display) -> Problem {
    Kind::InvalidParameter.because(format!("{name}: {what}")).in_field(name)
}

/// The same for a rule of the core.
pub(crate) fn invalid(invalid: Invalid) -> Problem {
    wrong(invalid.field, invalid.reason)
}

/// Reads a duration up to a limit.
pub(crate) fn duration(name: &str, text: &str, max: Duration) -> Answer<Duration> {
    let duration = durations::parse(text).map_err(|what| wrong(name, what))?;
    if duration > max {
        let max = durations::format_ms(faultline_core::job::millis(max));
        return Err(wrong(name, format!("must be at most {max}")));
    }
    Ok(duration)
}
