//! One job: not built.

use crate::dashboard::Dashboard;
use axum::Router;
use std::sync::Arc;

/// Its routes; in the navigation it belongs to the jobs.
pub(super) fn routes() -> Router<Arc<Dashboard>> {
    super::not_built("/jobs/{id}")
}
