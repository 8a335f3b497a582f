//! The pages, a file each. Adding one is a file with an [`Entry`](crate::page::Entry), a `mod` line and a place in [`ENTRIES`].

mod database;
mod drills;
mod errors;
mod job;
mod jobs;
mod overview;
mod queues;
mod workers;

use crate::dashboard::Dashboard;
use crate::layout;
use crate::page::Entry;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use std::sync::Arc;

/// The pages in the order of the navigation.
pub(crate) const ENTRIES: [&Entry; 7] =
    [&overview::ENTRY, &jobs::ENTRY, &errors::ENTRY, &queues::ENTRY, &workers::ENTRY, &database::ENTRY, &drills::ENTRY];

/// The routes of all pages.
pub(crate) fn routes() -> Router<Arc<Dashboard>> {
    ENTRIES.into_iter().fold(job::routes(), |router, entry| router.merge((entry.routes)()))
}

/// The route of a page that is not built.
fn not_built(path: &'static str) -> Router<Arc<Dashboard>> {
    Router::new().route(path, get(say_not_built))
}

async fn say_not_built(State(dashboard): State<Arc<Dashboard>>) -> Response {
    let text = "This version has no such page yet. The API has what it would show: see /openapi.json.";
    layout::message(&dashboard, StatusCode::NOT_FOUND, "Not built yet", text)
}
