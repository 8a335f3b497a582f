//! Whether the database is there and has the schema: asked by one loop, answered from memory, so that a health check
//! never hangs and costs nothing, however often it is made.

use crate::limits::{HEALTH_INTERVAL, HEALTH_TIME};
use faultline_store::{Database, Error, migrate};
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

/// The state of the database as this server sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DatabaseState {
    /// It answers and has the schema.
    Up,
    /// It does not answer, or not in time.
    Unreachable,
    /// It answers; `faultline migrate` has not been run.
    SchemaMissing,
    /// It answers; `faultline migrate` of this version has not been run.
    SchemaTooOld,
}

/// What the last check found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) state: DatabaseState,
    /// Why the state is not `Up`.
    pub(crate) reason: Option<String>,
    /// The newest migration that was applied.
    pub(crate) schema: Option<i32>,
}

/// The result of the last check.
#[derive(Clone)]
pub(crate) struct Health {
    found: watch::Receiver<Found>,
}

impl Health {
    /// Makes the first check, and starts the loop for the others; it ends when nobody can ask any more.
    pub(crate) async fn start(database: Database) -> Self {
        let (sender, found) = watch::channel(check(&database).await);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    () = tokio::time::sleep(HEALTH_INTERVAL) => {}
                }
                let new = check(&database).await;
                let old = sender.send_replace(new.clone());
                if old.state != new.state {
                    log(&new);
                }
            }
        });
        Self { found }
    }

    pub(crate) fn now(&self) -> Found {
        self.found.borrow().clone()
    }

    pub(crate) fn state(&self) -> DatabaseState {
        self.found.borrow().state
    }
}

fn log(found: &Found) {
    match &found.reason {
        None => tracing::info!(schema = found.schema, "the database is there"),
        Some(reason) => tracing::warn!(state = ?found.state, %reason, "the database can't be used"),
    }
}

async fn check(database: &Database) -> Found {
    let state = match database.run_within(HEALTH_TIME, async |client| migrate::check(client).await).await {
        Ok(schema) => return Found { state: DatabaseState::Up, reason: None, schema: Some(schema) },
        Err(error) => error,
    };
    let reason = Some(state.to_string());
    match state {
        Error::SchemaMissing => Found { state: DatabaseState::SchemaMissing, reason, schema: None },
        Error::SchemaTooOld { found, .. } => Found { state: DatabaseState::SchemaTooOld, reason, schema: Some(found) },
        _ => Found { state: DatabaseState::Unreachable, reason, schema: None },
    }
}
