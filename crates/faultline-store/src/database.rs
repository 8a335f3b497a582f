//! A database as the rest of the code sees it: a pool of sessions for short calls, and dedicated sessions for loops.

use crate::connect::{Connector, Plans};
use crate::error::{Error, Result};
use crate::session::ClientWrapper;
use deadpool::Runtime;
use deadpool::managed::{self, Manager, Object, Pool, PoolError, QueueMode, RecycleError, RecycleResult};
use faultline_metrics::{Call, Metrics, PoolMetrics, SessionMetrics};
use std::ops::Deref;
use std::time::Duration;
use tokio::sync::mpsc;

/// Sessions in a pool unless told otherwise.
pub const DEFAULT_POOL_SIZE: usize = 8;
/// How long a call waits for a free session, and for a new one to open, before it is answered as unreachable.
const POOL_WAIT: Duration = Duration::from_secs(3);
/// How long one call may take in all. Longer than the statement time-out of a session, which answers first
/// unless the network is silent.
const CALL_TIMEOUT: Duration = Duration::from_secs(35);

/// A session of its own, for a loop that must not wait for others.
pub struct Session {
    client: ClientWrapper,
    metrics: SessionMetrics,
}

impl Session {
    /// Counts the session as lost, where its owner gives it up. One that has ended by itself has been counted.
    pub fn give_up(&self) {
        if !self.client.is_closed() {
            self.metrics.lost();
        }
    }
}

impl Deref for Session {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.client
    }
}

/// A database: connects when it is first asked something, and again whenever a session is lost.
#[derive(Clone)]
pub struct Database {
    connector: Connector,
    pool: Pool<Sessions>,
    name: String,
    metrics: Metrics,
    sessions: SessionMetrics,
    pool_metrics: PoolMetrics,
}

impl Database {
    /// Reads the URL; nothing is connected yet. `name` is shown in `pg_stat_activity`.
    ///
    /// # Errors
    /// [`Error::Url`] for a URL that can't be used.
    pub fn new(url: &str, name: &str, pool_size: usize) -> Result<Self> {
        Self::with_settings(url, name, pool_size, "")
    }

    /// The same with settings for its sessions that win over the usual ones, such as `-c lock_timeout=1s`.
    ///
    /// # Errors
    /// As [`Database::new`].
    pub fn with_settings(url: &str, name: &str, pool_size: usize, settings: &'static str) -> Result<Self> {
        Self::make(Connector::parse(url)?.with_settings(settings), name, pool_size, &Metrics::new())
    }

    /// A database of a simulation.
    ///
    /// # Errors
    /// As [`Database::new`].
    #[cfg(feature = "simulation")]
    pub fn simulated(simulation: crate::Simulation, name: &str, pool_size: usize) -> Result<Self> {
        Self::make(Connector::simulated(simulation)?, name, pool_size, &Metrics::new())
    }

    /// The simulation that this database is part of.
    #[cfg(feature = "simulation")]
    pub fn simulation(&self) -> Option<&crate::Simulation> {
        self.connector.simulation()
    }

    /// The same database, counted in these metrics. Connects anew: do this first.
    ///
    /// # Errors
    /// None but those of [`Database::new`].
    pub fn counted_in(self, metrics: &Metrics) -> Result<Self> {
        Self::make(self.connector, &self.name, self.pool.status().max_size, metrics)
    }

    /// Where this database is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn make(connector: Connector, name: &str, pool_size: usize, metrics: &Metrics) -> Result<Self> {
        let sessions = metrics.database().sessions(name);
        let manager = Sessions { connector: connector.clone(), name: name.to_owned(), metrics: sessions.clone() };
        let pool = Pool::builder(manager)
            .max_size(pool_size)
            .wait_timeout(Some(POOL_WAIT))
            .create_timeout(Some(POOL_WAIT + POOL_WAIT))
            .runtime(Runtime::Tokio1)
            // Few calls at once use few sessions, whose plans and caches are warm.
            .queue_mode(QueueMode::Lifo)
            .build()
            .map_err(|e| Error::Url { reason: e.to_string() })?;
        Ok(Self {
            connector,
            pool,
            name: name.to_owned(),
            metrics: metrics.clone(),
            sessions,
            pool_metrics: metrics.database().pool(name, pool_size),
        })
    }

    /// Hosts and database, without user and password.
    pub fn shown(&self) -> &str {
        self.connector.shown()
    }

    /// Runs a call on a session of the pool, within `CALL_TIMEOUT`. A session whose call failed on its connection, took too
    /// long or was dropped half-way is closed, not reused.
    ///
    /// # Errors
    /// Those of the call; [`Error::Unreachable`] when there is no session, [`Error::Indeterminate`] after the time limit.
    pub async fn run<T>(&self, call: impl AsyncFnOnce(&mut ClientWrapper) -> Result<T>) -> Result<T> {
        self.run_within(CALL_TIMEOUT, call).await
    }

    /// The same with a time limit of its own, the wait for a session included.
    ///
    /// # Errors
    /// As [`Database::run`].
    pub async fn run_within<T>(
        &self,
        limit: Duration,
        call: impl AsyncFnOnce(&mut ClientWrapper) -> Result<T>,
    ) -> Result<T> {
        let answer = self.try_within(limit, call).await;
        self.note(&answer);
        answer
    }

    /// Counts how a call ended that was made on a session of its own.
    pub fn note<T>(&self, answer: &Result<T>) {
        let call = match answer {
            Ok(_) => Call::Answered,
            Err(Error::Refused { code, .. }) => Call::Refused(code),
            Err(Error::Unreachable { .. }) => Call::Unreachable,
            Err(Error::Indeterminate { .. }) => Call::Indeterminate,
            Err(Error::SchemaMissing | Error::SchemaTooOld { .. } | Error::MigrationDiffers { .. }) => Call::Schema,
            // These say nothing of the database.
            Err(Error::Url { .. } | Error::Invalid(_)) => return,
        };
        self.metrics.database().called(call);
    }

    async fn try_within<T>(
        &self,
        limit: Duration,
        call: impl AsyncFnOnce(&mut ClientWrapper) -> Result<T>,
    ) -> Result<T> {
        let deadline = tokio::time::Instant::now() + limit;
        let waits = self.pool_metrics.waits();
        let session = tokio::time::timeout_at(deadline, self.pool.get())
            .await
            .map_err(|_| Error::Unreachable { reason: "no session within the time limit".into() })?
            .map_err(pool_error)?;
        drop(waits);
        let _works = self.pool_metrics.works();
        let mut borrowed = Borrowed { session: Some(session), metrics: &self.sessions };
        let client = borrowed.session.as_mut().expect("taken only below and on drop");
        let Ok(answer) = tokio::time::timeout_at(deadline, call(client)).await else {
            return Err(Error::Indeterminate { reason: "no answer within the time limit".into() });
        };
        if !matches!(&answer, Err(error) if error.is_connection_fault()) {
            borrowed.give_back();
        }
        answer
    }

    /// Opens a session outside of the pool. `purpose` is appended to the name in `pg_stat_activity`.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn session(&self, purpose: &str, plans: Plans) -> Result<Session> {
        self.listening_session(purpose, plans, None).await
    }

    /// The same, with the payloads of notifications sent to `notifications`.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn listening_session(
        &self,
        purpose: &str,
        plans: Plans,
        notifications: Option<mpsc::UnboundedSender<String>>,
    ) -> Result<Session> {
        let name = format!("{} {purpose}", self.name);
        let metrics = self.metrics.database().sessions(&name);
        let opened = self.connector.open(&name, &metrics, plans, notifications);
        let client = tokio::time::timeout(self.connector.open_timeout(), opened)
            .await
            .map_err(|_| Error::Unreachable { reason: "no session within the time limit".into() })?
            .map_err(|e| Error::from(e).before_sending())?;
        Ok(Session { client, metrics })
    }
}

/// A pooled session that is closed on drop unless it was given back: a call that was cancelled half-way must not leave
/// its answer to the next borrower.
struct Borrowed<'a> {
    session: Option<Object<Sessions>>,
    metrics: &'a SessionMetrics,
}

impl Borrowed<'_> {
    fn give_back(&mut self) {
        self.session = None;
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(object) = self.session.take() {
            let session = Object::take(object);
            // One that has ended by itself has been counted.
            if !session.is_closed() {
                self.metrics.lost();
            }
        }
    }
}

fn pool_error(error: PoolError<tokio_postgres::Error>) -> Error {
    match error {
        PoolError::Backend(error) => Error::from(error).before_sending(),
        PoolError::Timeout(_) => Error::Unreachable { reason: "no session became free in time".into() },
        other => Error::Unreachable { reason: other.to_string() },
    }
}

/// Opens the sessions of a pool. One whose connection has ended is not used again.
struct Sessions {
    connector: Connector,
    name: String,
    metrics: SessionMetrics,
}

impl Manager for Sessions {
    type Type = ClientWrapper;
    type Error = tokio_postgres::Error;

    async fn create(&self) -> std::result::Result<ClientWrapper, tokio_postgres::Error> {
        self.connector.open(&self.name, &self.metrics, Plans::Free, None).await
    }

    async fn recycle(&self, client: &mut ClientWrapper, _: &managed::Metrics) -> RecycleResult<tokio_postgres::Error> {
        if client.is_closed() { Err(RecycleError::message("its connection has ended")) } else { Ok(()) }
    }
}
