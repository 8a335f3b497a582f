//! The routes, each with what it demands of its caller.
//!
//! | path | demands |
//! |---|---|
//! | `POST /v1/jobs`, `POST /v1/jobs/batch` | enqueue |
//! | `GET /v1/jobs/{id}` | read or enqueue |
//! | other `GET /v1/…` | read |
//! | `POST …/cancel`, `…/retry`, `…/pause`, `…/resume` | operate |
//! | `/`, `/health*`, `/metrics`, `/openapi.json` | nothing |
//! | `/dashboard…` | a session, see [`faultline_dashboard`] |

use crate::api::{enqueue, jobs, meta, operate, queues};
use crate::app::App;
use crate::auth::Access;
use crate::body;
use crate::health::DatabaseState;
use crate::metrics;
use crate::problem::{Answer, Kind, Problem};
use crate::trace;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use faultline_dashboard::Dashboard;
use std::any::Any;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) fn router(app: Arc<App>, dashboard: Dashboard) -> Router {
    let api = |path: MethodRouter<Arc<App>>, access: Access| {
        path.route_layer(from_fn_with_state((app.clone(), access), guard))
    };
    // The last layer is the outermost.
    let enqueuing = |path| api(path, Access::Enqueue).route_layer(from_fn(trace::request));
    let jobs = Router::new()
        .route("/v1/jobs", enqueuing(post(enqueue::enqueue)))
        .route("/v1/jobs", api(get(jobs::list), Access::Read))
        .route("/v1/jobs/batch", enqueuing(post(enqueue::batch)))
        .route("/v1/jobs/{id}", api(get(jobs::get), Access::ReadOne))
        .route("/v1/jobs/{id}/explain", api(get(jobs::explain), Access::Read))
        .route("/v1/jobs/{id}/cancel", api(post(operate::cancel), Access::Operate))
        .route("/v1/jobs/{id}/retry", api(post(operate::retry), Access::Operate));
    let queues = Router::new()
        .route("/v1/queues", api(get(queues::list), Access::Read))
        .route("/v1/queues/{name}", api(get(queues::get), Access::Read))
        .route("/v1/queues/{name}/pause", api(post(queues::pause), Access::Operate))
        .route("/v1/queues/{name}/resume", api(post(queues::resume), Access::Operate))
        .route("/v1/workers", api(get(queues::workers), Access::Read));
    let open = Router::new()
        .route("/", get(meta::root))
        .route("/openapi.json", get(meta::openapi))
        .route("/health", get(meta::health))
        .route("/health/live", get(meta::live))
        .route("/health/ready", get(meta::ready));
    Router::new()
        .merge(jobs)
        .merge(queues)
        .merge(open)
        .merge(metrics::router())
        .merge(dashboard.router())
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(app.clone(), metrics::count))
        .with_state(app)
}

/// Lets a request through that may do what it asks for, while the database has what it needs.
async fn guard(State((app, access)): State<(Arc<App>, Access)>, mut request: Request, next: Next) -> Response {
    let admitted = match check_origin(request.method(), request.headers()) {
        Ok(()) => app.gate.check(request.headers(), access).await,
        Err(problem) => Err(problem),
    };
    match admitted.and_then(|actor| check_schema(&app).map(|()| actor)) {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(problem) => refuse(problem, request).await,
    }
}

/// A browser names the page that makes a request which changes something; pages of other sites may not, with or without
/// tokens: on a developer's machine the API is open, and every site can reach localhost through the browser.
pub(crate) fn check_origin(method: &Method, headers: &HeaderMap) -> Answer<()> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let host = headers.get(header::HOST).map(axum::http::HeaderValue::as_bytes);
    let origin_host = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1.as_bytes()));
    if method.is_safe() || (origin_host.is_some() && origin_host == host) {
        return Ok(());
    }
    Err(Kind::CrossOrigin.because("the Origin header names another host than this one").in_field("origin"))
}

fn check_schema(app: &App) -> Answer<()> {
    match app.health.state() {
        DatabaseState::Up | DatabaseState::Unreachable => Ok(()),
        DatabaseState::SchemaMissing | DatabaseState::SchemaTooOld => {
            let reason = app.health.now().reason.unwrap_or_else(|| "run `faultline migrate`".into());
            Err(Kind::SchemaOutdated.because(reason))
        }
    }
}

async fn refuse(problem: Problem, request: Request) -> Response {
    body::discard(request.into_body()).await;
    problem.into_response()
}

async fn unknown_route(uri: Uri, request: Request) -> Response {
    let problem = Kind::UnknownRoute.because(format!("there is nothing at {}; see /openapi.json", uri.path()));
    refuse(problem, request).await
}

async fn method_not_allowed(method: Method, uri: Uri, request: Request) -> Response {
    refuse(Kind::MethodNotAllowed.because(format!("{} does not know {method}", uri.path())), request).await
}

#[expect(clippy::needless_pass_by_value, reason = "the layer hands it over like this")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref().cloned());
    tracing::error!(panic = text.unwrap_or_default(), "a request panicked");
    Kind::Internal.because("the request met a bug; the server's log says more").into_response()
}
