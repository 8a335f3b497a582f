//! What is open to everybody: health, the description of the API, and where to find things.

use crate::app::App;
use crate::health::DatabaseState;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Serialize;
use std::sync::{Arc, LazyLock};
use utoipa::ToSchema;

/// The state of the server.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthView {
    /// `ok`, or `unavailable` when the database can't be used, or `stopping`.
    status: &'static str,
    /// The database as this server sees it, at most about two seconds ago.
    database: DatabaseView,
    /// The program's version.
    version: &'static str,
    /// The version of the database's schema.
    schema: Option<i32>,
}

/// The state of the database.
#[derive(Serialize, ToSchema)]
#[schema(as = DatabaseHealth)]
pub(crate) struct DatabaseView {
    /// Whether it can be used.
    state: DatabaseState,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Whether the server and its database work.
#[utoipa::path(
    get, path = "/health", operation_id = "health", tag = "health", security(()),
    responses(
        (status = 200, description = "They do.", body = HealthView),
        (status = 503, description = "They do not, and why.", body = HealthView),
    ),
)]
pub(crate) async fn health(State(app): State<Arc<App>>) -> Response {
    answer(&app, false)
}

/// Whether the process is there at all.
#[utoipa::path(
    get, path = "/health/live", operation_id = "health_live", tag = "health", security(()),
    responses((status = 200, description = "It is.", body = HealthView)),
)]
pub(crate) async fn live(State(app): State<Arc<App>>) -> Response {
    let (_, view) = look(&app, false);
    (StatusCode::OK, Json(view)).into_response()
}

/// Whether the server should be sent requests.
#[utoipa::path(
    get, path = "/health/ready", operation_id = "health_ready", tag = "health", security(()),
    responses(
        (status = 200, description = "It should.", body = HealthView),
        (status = 503, description = "It should not: the database can't be used, or the server is stopping.",
         body = HealthView),
    ),
)]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    answer(&app, app.stopping.is_cancelled())
}

fn answer(app: &App, stopping: bool) -> Response {
    let (status, view) = look(app, stopping);
    (status, [(header::CACHE_CONTROL, "no-store")], Json(view)).into_response()
}

fn look(app: &App, stopping: bool) -> (StatusCode, HealthView) {
    let found = app.health.now();
    let (code, status) = match found.state {
        _ if stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        DatabaseState::Up => (StatusCode::OK, "ok"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let database = DatabaseView { state: found.state, reason: found.reason };
    (code, HealthView { status, database, version: env!("CARGO_PKG_VERSION"), schema: found.schema })
}

/// The description of the API.
pub(crate) async fn openapi() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(crate::openapi);
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

/// Where to find things: for people, the dashboard.
pub(crate) async fn root(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("text/html") {
        let to = format!("{}{}", app.config.base_path, faultline_dashboard::PATH);
        return ([(header::VARY, "accept")], Redirect::to(&to)).into_response();
    }
    Json(serde_json::json!({
        "name": "faultline",
        "version": env!("CARGO_PKG_VERSION"),
        "openapi": "/openapi.json",
        "health": "/health",
        "metrics": "/metrics",
        "jobs": "/v1/jobs",
        "queues": "/v1/queues",
        "workers": "/v1/workers",
        "dashboard": faultline_dashboard::PATH,
    }))
    .into_response()
}
