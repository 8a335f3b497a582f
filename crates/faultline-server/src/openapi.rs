//! The description of the API, generated from the handlers and the types.

use crate::api::{enqueue, jobs, meta, operate, queues, request, view};
use crate::{metrics, problem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Faultline",
        description = "Jobs on Postgres that survive crashes. Errors are problem details as of RFC 9457, with a stable `type`.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        enqueue::enqueue, enqueue::batch, jobs::list, jobs::get, jobs::explain, operate::cancel, operate::retry,
        queues::list, queues::get, queues::pause, queues::resume, queues::workers,
        meta::health, meta::live, meta::ready, metrics::metrics,
    ),
    components(schemas(
        view::JobView, view::JobState, problem::ProblemBody, request::EnqueueRequest, request::BackoffRequest,
    )),
    tags(
        (name = "jobs", description = "Enqueue, read, cancel and retry jobs."),
        (name = "queues", description = "Look at queues, pause and resume them."),
        (name = "workers", description = "Look at workers."),
        (name = "health", description = "Whether it works; open to everybody."),
    ),
    security(("token" = []), ()),
    modifiers(&Token),
)]
struct Description;

struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        openapi.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// The description of the API as an OpenAPI 3.1 document, the same that the server serves at `/openapi.json`.
///
/// ```
/// assert!(faultline_server::openapi().contains("\"/v1/jobs\""));
/// ```
pub fn openapi() -> String {
    Description::openapi().to_pretty_json().expect("a description is JSON") + "\n"
}
