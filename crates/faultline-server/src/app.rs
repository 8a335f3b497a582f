//! What all requests share: the pools, the loops, the bounds.

use crate::auth::Gate;
use crate::coalesce::Enqueuer;
use crate::commit::Committer;
use crate::config::{Auth, ServerConfig};
use crate::health::{DatabaseState, Health};
use crate::limits::{CALL_TIME, CALL_TIME_WHILE_AWAY, MAX_HELD_BODY_BYTES};
use crate::problem::Answer;
use crate::wait::Waits;
use faultline_core::JobId;
use faultline_dashboard::{Dashboard, Settings};
use faultline_store::{ClientWrapper, Database, Error};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Sessions for reads and operators' calls.
const CALL_SESSIONS: usize = 8;
/// Sessions for health, tokens and waits.
const WATCH_SESSIONS: usize = 3;
/// Settings of the sessions for calls: the statement ends before the request does, so that it is not left behind.
const CALL_SETTINGS: &str = "-c statement_timeout=4s -c lock_timeout=2s";

/// What all requests share.
pub(crate) struct App {
    pub(crate) config: ServerConfig,
    pub(crate) enqueuer: Enqueuer,
    pub(crate) waits: Waits,
    pub(crate) health: Health,
    pub(crate) gate: Arc<Gate>,
    /// One permit for each byte of a body that is held in memory.
    pub(crate) held_bytes: Arc<Semaphore>,
    /// Cancelled by the order to stop.
    pub(crate) stopping: CancellationToken,
    calls: Database,
}

impl App {
    /// Starts the loops. Those of the enqueuer are in `tasks`: they end when the app is gone and what waits is committed.
    pub(crate) async fn start(
        config: ServerConfig,
        tasks: &TaskTracker,
        stopping: CancellationToken,
    ) -> Result<Arc<Self>, Error> {
        let calls = Database::with_settings(&config.database_url, "faultline-api", CALL_SESSIONS, CALL_SETTINGS)?
            .counted_in(&config.metrics)?;
        let watch =
            Database::new(&config.database_url, "faultline-api watch", WATCH_SESSIONS)?.counted_in(&config.metrics)?;
        let gate = Arc::new(match config.auth {
            Auth::None => Gate::Open,
            Auth::Tokens => Gate::with_tokens(watch.clone()).await,
        });
        Ok(Arc::new(Self {
            enqueuer: Enqueuer::start(Committer::new(&config.database_url, &config.metrics)?, tasks),
            waits: Waits::start(watch.clone(), stopping.clone()),
            health: Health::start(watch).await,
            gate,
            held_bytes: Arc::new(Semaphore::new(MAX_HELD_BODY_BYTES)),
            stopping,
            calls,
            config,
        }))
    }

    /// The dashboard beside the API, with the same gate.
    pub(crate) fn dashboard(&self) -> Result<Dashboard, Error> {
        let settings = Settings {
            database_url: self.config.database_url.clone(),
            metrics: self.config.metrics.clone(),
            base_path: self.config.base_path.clone(),
            session_key: self.config.session_key.clone(),
            drills: self.config.drills.clone(),
        };
        Dashboard::new(&settings, self.gate.clone(), self.stopping.clone())
    }

    /// Runs a read or an operator's call.
    pub(crate) async fn call<T>(&self, call: impl AsyncFnOnce(&mut ClientWrapper) -> Result<T, Error>) -> Answer<T> {
        Ok(self.calls.run_within(self.time(CALL_TIME, CALL_TIME_WHILE_AWAY), call).await?)
    }

    /// Until when an enqueue that comes now must be answered.
    pub(crate) fn enqueue_deadline(&self) -> Instant {
        Instant::now() + self.time(self.config.enqueue_deadline(), 2 * CALL_TIME_WHILE_AWAY)
    }

    /// The shorter time while the database is known to be away.
    fn time(&self, usual: Duration, away: Duration) -> Duration {
        if self.health.state() == DatabaseState::Unreachable { usual.min(away) } else { usual }
    }
}

/// A new job's id.
pub(crate) fn new_job_id() -> JobId {
    JobId::now(&mut rand::rng())
}
