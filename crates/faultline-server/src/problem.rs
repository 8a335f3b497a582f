//! Errors as clients see them: RFC 9457 problem details, each with a stable `type`.
//!
//! The table of [`Kind`] is the whole list. Clients may rely on the types; titles and details are for people.

use crate::limits::RETRY_AFTER_S;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use faultline_core::{Invalid, JobId, State};
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of a problem.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";
const TYPE_PREFIX: &str = "urn:faultline:problem:";

/// What can be wrong with a request, or with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    MalformedJson,
    InvalidParameter,
    KeyMismatch,
    Unauthorized,
    Forbidden,
    CrossOrigin,
    UnknownRoute,
    UnknownJob,
    MethodNotAllowed,
    SlowBody,
    KeyConflict,
    JobFinished,
    JobRunning,
    TooLarge,
    UnsupportedMediaType,
    UnknownField,
    MissingField,
    InvalidField,
    TooManyRequests,
    Internal,
    DatabaseUnavailable,
    DatabaseBusy,
    SchemaOutdated,
}

impl Kind {
    /// The table of problems: status, last part of the type, title.
    fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::MalformedJson => (400, "malformed-json", "The body is not JSON"),
            Self::InvalidParameter => (400, "invalid-parameter", "A parameter or header is out of bounds"),
            Self::KeyMismatch => (400, "key-mismatch", "The key in the body and in the header differ"),
            Self::Unauthorized => (401, "unauthorized", "A valid token is needed"),
            Self::Forbidden => (403, "forbidden", "The token does not allow this"),
            Self::CrossOrigin => (403, "cross-origin", "Pages of another origin may not do this"),
            Self::UnknownRoute => (404, "unknown-route", "There is nothing at this path"),
            Self::UnknownJob => (404, "unknown-job", "There is no such job"),
            Self::MethodNotAllowed => (405, "method-not-allowed", "This path does not know the method"),
            Self::SlowBody => (408, "slow-body", "The body did not arrive in time"),
            Self::KeyConflict => (409, "key-conflict", "The key was used before for another request"),
            Self::JobFinished => (409, "job-finished", "The job has ended"),
            Self::JobRunning => (409, "job-running", "The job is running"),
            Self::TooLarge => (413, "too-large", "Larger than allowed"),
            Self::UnsupportedMediaType => (415, "unsupported-media-type", "The body must be application/json"),
            Self::UnknownField => (422, "unknown-field", "The body has a field that is not known"),
            Self::MissingField => (422, "missing-field", "The body lacks a field"),
            Self::InvalidField => (422, "invalid-field", "A field is out of bounds"),
            Self::TooManyRequests => (429, "too-many-requests", "Too many requests are waiting"),
            Self::Internal => (500, "internal", "The server failed"),
            Self::DatabaseUnavailable => (503, "database-unavailable", "The database cannot be reached"),
            Self::DatabaseBusy => (503, "database-busy", "The database could not do it now"),
            Self::SchemaOutdated => (503, "schema-outdated", "The database lacks the schema"),
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).expect("the table holds valid statuses")
    }

    /// A problem of this kind; `detail` is for people.
    pub(crate) fn because(self, detail: impl Into<String>) -> Problem {
        let (status, slug, title) = self.row();
        Problem {
            kind: self,
            body: Box::new(ProblemBody {
                type_: format!("{TYPE_PREFIX}{slug}"),
                title,
                status,
                detail: detail.into(),
                field: None,
                job_id: None,
                state: None,
            }),
        }
    }
}

/// Problem details as of RFC 9457.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// A stable identifier of the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "urn:faultline:problem:invalid-field")]
    type_: String,
    /// The kind of problem in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong this time, for people.
    detail: String,
    /// The field, parameter or header that is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// The job that is in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<uuid::Uuid>)]
    job_id: Option<JobId>,
    /// The state of that job.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::api::view::JobState>)]
    state: Option<State>,
}

/// A failed request.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    kind: Kind,
    body: Box<ProblemBody>,
}

impl Problem {
    /// Names the field, parameter or header that is to blame.
    pub(crate) fn in_field(mut self, field: impl Into<String>) -> Self {
        self.body.field = Some(field.into());
        self
    }

    /// Names the job that is in the way, and its state where it is known.
    pub(crate) fn with_job(mut self, id: JobId, state: Option<State>) -> Self {
        self.body.job_id = Some(id);
        self.body.state = state;
        self
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn detail(&self) -> &str {
        &self.body.detail
    }

    /// The JSON object, for a batch.
    pub(crate) fn into_body(self) -> ProblemBody {
        *self.body
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Kind::InvalidField.because(format!("{}: {}", invalid.field, invalid.reason)).in_field(invalid.field)
    }
}

impl From<faultline_store::Error> for Problem {
    fn from(error: faultline_store::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&faultline_store::Error> for Problem {
    fn from(error: &faultline_store::Error) -> Self {
        use faultline_store::Error;
        match error {
            Error::Invalid(invalid) => invalid.clone().into(),
            Error::Unreachable { .. } => Kind::DatabaseUnavailable.because(error.to_string()),
            Error::Indeterminate { .. } => {
                Kind::DatabaseUnavailable.because(format!("{error}; it may have taken effect and is safe to repeat"))
            }
            Error::SchemaMissing | Error::SchemaTooOld { .. } => Kind::SchemaOutdated.because(error.to_string()),
            Error::Refused { code, message, field } if error.is_about_data() && code != "23505" => {
                let problem = Kind::InvalidField.because(format!("the database refused the values: {message}"));
                if let Some(field) = field { problem.in_field(field) } else { problem }
            }
            Error::Refused { code, .. } if code == "55P03" => {
                Kind::DatabaseBusy.because("another transaction holds what this needs; nothing was changed")
            }
            Error::Refused { code, .. } if code == "57014" => {
                Kind::DatabaseBusy.because("the database took too long and gave up; nothing was changed")
            }
            Error::Refused { .. } if error.is_transient() => Kind::DatabaseBusy.because(error.to_string()),
            Error::Refused { code, .. } if code.starts_with("28") || code.starts_with("3D") => {
                tracing::error!(%error, "the database refuses this server");
                Kind::DatabaseUnavailable.because(error.to_string())
            }
            Error::Refused { .. } | Error::Url { .. } | Error::MigrationDiffers { .. } => {
                tracing::error!(%error, "a call of the database failed");
                Kind::Internal.because("the database refused a statement; the server's log says more")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let body = serde_json::to_vec(&self.body).expect("strings and numbers are JSON");
        let mut response = (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        let headers = response.headers_mut();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        match self.kind {
            Kind::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Kind::Forbidden => {
                let challenge = HeaderValue::from_static("Bearer error=\"insufficient_scope\"");
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            // The rest of the body is still on its way: the connection can't be used again.
            Kind::SlowBody => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// The answer of a handler.
pub(crate) type Answer<T> = Result<T, Problem>;
