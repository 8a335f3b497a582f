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
use crate::page::Entry;
use axum::Router;
use std::sync::Arc;

/// The pages in the order of the navigation.
pub(crate) const ENTRIES: [&Entry; 7] =
    [&overview::ENTRY, &jobs::ENTRY, &errors::ENTRY, &queues::ENTRY, &workers::ENTRY, &database::ENTRY, &drills::ENTRY];

/// The routes of all pages.
pub(crate) fn routes() -> Router<Arc<Dashboard>> {
    ENTRIES.into_iter().fold(job::routes(), |router, entry| router.merge((entry.routes)()))
}
