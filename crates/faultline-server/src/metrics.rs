//! `GET /metrics`, and the counting of requests.
//!
//! The page is open to everybody, like `/health`: it names queues and kinds and how many jobs they had, no keys, payloads or
//! ids. What it says lies in memory, so that it is answered at once while the database is away.

use crate::app::App;
use crate::serve::{Bounds, answer};
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use faultline_metrics::{Metrics, UNKNOWN_ROUTE};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Counts a request by the pattern of its route when it is answered.
pub(crate) async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or(UNKNOWN_ROUTE, MatchedPath::as_str);
    app.config.metrics.http().answered(method.as_str(), route, response.status().as_u16(), began.elapsed());
    response
}

/// The route of the API's metrics.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route("/metrics", get(metrics))
}

/// What this process counted and measured.
///
/// docs/metrics.md says what each means. Answered from memory, whatever the database does.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "health", security(()),
    responses((status = 200, description = "OpenMetrics text.", body = String,
               content_type = "application/openmetrics-text")),
)]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    show(&app.config.metrics)
}

fn show(metrics: &Metrics) -> Response {
    let headers = [(header::CONTENT_TYPE, Metrics::MEDIA_TYPE), (header::CACHE_CONTROL, "no-store")];
    (headers, metrics.encode()).into_response()
}

/// Serves `GET /metrics` and nothing else, for a process without an API, until `shutdown` is cancelled.
pub async fn serve_metrics(listener: TcpListener, metrics: Metrics, shutdown: CancellationToken) {
    let router = Router::new().route("/metrics", get(async |State(metrics): State<Metrics>| show(&metrics)));
    answer(listener, router.with_state(metrics), &Bounds::small(), shutdown).await;
}
