//! Requests that enqueue, as spans, and the trace context that they bring along.

use axum::extract::{MatchedPath, Request};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use faultline_trace::TraceContext;
use tracing::Instrument;

/// The headers of W3C Trace Context.
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Puts a span around a request.
pub(crate) async fn request(request: Request, next: Next) -> Response {
    let given = context(request.headers());
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let span = faultline_trace::request(request.method().as_str(), route, given.as_ref());
    let response = next.run(request).instrument(span.clone()).await;
    faultline_trace::responded(&span, response.status().as_u16());
    response
}

/// What the headers say. A `traceparent` that is not well-formed is nobody's business here.
pub(crate) fn context(headers: &HeaderMap) -> Option<TraceContext> {
    let parent = headers.get(TRACEPARENT)?.to_str().ok()?;
    // Several lines are one list.
    let state: Vec<&str> = headers.get_all(TRACESTATE).iter().filter_map(|state| state.to_str().ok()).collect();
    TraceContext::parse(parent, Some(&state.join(",")))
}
