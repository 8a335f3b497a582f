//! Where pages read, and the clock by which they tell ages: the database's, as this process last heard it.

use crate::dashboard::Settings;
use crate::drills::Drills;
use faultline_metrics::Metrics;
use faultline_store::dashboard::people;
use faultline_store::{ClientWrapper, Database, Error};
use jiff::{SignedDuration, Timestamp};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Sessions of all pages together.
const POOL_SIZE: usize = 4;
/// How long a page may read.
const READ_TIME: Duration = Duration::from_secs(5);
/// Settings of its sessions: the statement ends before the page gives up, so that it is not left behind.
const SETTINGS: &str = "-c statement_timeout=4s -c lock_timeout=2s";
/// How often the database is asked for its time.
const CLOCK_EVERY: Duration = Duration::from_secs(30);

/// Where pages read.
#[derive(Clone)]
pub(crate) struct Source {
    database: Database,
    /// What drills have left.
    pub(crate) drills: Arc<Drills>,
    clock: Arc<Mutex<Clock>>,
}

/// How far the database's clock is ahead of this process's.
#[derive(Default)]
struct Clock {
    ahead: SignedDuration,
    asked_at: Option<Instant>,
}

impl Source {
    pub(crate) fn new(settings: &Settings) -> Result<Self, Error> {
        let url = &settings.database_url;
        let database = Database::with_settings(url, "faultline-dashboard", POOL_SIZE, SETTINGS)?;
        let drills = Arc::new(Drills::new(settings.drills.clone()));
        Ok(Self { database: database.counted_in(&settings.metrics)?, drills, clock: Arc::default() })
    }

    /// Reads, or does what an operator asked for.
    pub(crate) async fn call<T>(
        &self,
        call: impl AsyncFnOnce(&mut ClientWrapper) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.database.run_within(READ_TIME, call).await
    }

    /// Where the process counts.
    pub(crate) fn metrics(&self) -> &Metrics {
        self.database.metrics()
    }

    /// The database's time, as far as this process knows.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now().saturating_add(self.clock().ahead).unwrap_or(Timestamp::MAX)
    }

    /// The same, after asking the database if that was long ago.
    pub(crate) async fn fresh_now(&self) -> Timestamp {
        let is_fresh = self.clock().asked_at.is_some_and(|at| at.elapsed() < CLOCK_EVERY);
        if !is_fresh && let Ok(told) = self.call(async |client| people::now(client).await).await {
            *self.clock() = Clock { ahead: told.duration_since(Timestamp::now()), asked_at: Some(Instant::now()) };
        }
        self.now()
    }

    fn clock(&self) -> std::sync::MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
