//! A database as the rest of the code sees it: a pool of sessions for short calls, and dedicated sessions for loops.

use crate::connect::{Connector, Plans};
use crate::error::{Error, Result};
use deadpool_postgres::{ClientWrapper, Object, Pool};
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

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
    direct: bool,
}

impl Session {
    /// Whether nothing stands between this session and its backend, so that session state, LISTEN and the backend's life
    /// can be relied on. False behind a pooler in transaction mode.
    pub fn is_direct(&self) -> bool {
        self.direct
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
    pool: Pool,
    name: String,
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
        Self::over(Connector::parse(url)?.with_settings(settings), name, pool_size)
    }

    /// A database of a simulation.
    ///
    /// # Errors
    /// As [`Database::new`].
    #[cfg(feature = "simulation")]
    pub fn simulated(simulation: crate::Simulation, name: &str, pool_size: usize) -> Result<Self> {
        Self::over(Connector::simulated(simulation)?, name, pool_size)
    }

    /// The simulation that this database is part of.
    #[cfg(feature = "simulation")]
    pub fn simulation(&self) -> Option<&crate::Simulation> {
        self.connector.simulation()
    }

    fn over(connector: Connector, name: &str, pool_size: usize) -> Result<Self> {
        let manager = deadpool_postgres::Manager::from_connect(
            tokio_postgres::Config::new(),
            PoolConnect { connector: connector.clone(), name: name.to_owned() },
            deadpool_postgres::ManagerConfig { recycling_method: deadpool_postgres::RecyclingMethod::Fast },
        );
        let pool = Pool::builder(manager)
            .max_size(pool_size)
            .wait_timeout(Some(POOL_WAIT))
            .create_timeout(Some(POOL_WAIT + POOL_WAIT))
            .runtime(deadpool_postgres::Runtime::Tokio1)
            .build()
            .map_err(|e| Error::Url { reason: e.to_string() })?;
        Ok(Self { connector, pool, name: name.to_owned() })
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
        let deadline = tokio::time::Instant::now() + limit;
        let session = tokio::time::timeout_at(deadline, self.pool.get())
            .await
            .map_err(|_| Error::Unreachable { reason: "no session within the time limit".into() })?
            .map_err(pool_error)?;
        let mut borrowed = Borrowed(Some(session));
        let client = borrowed.0.as_mut().expect("taken only below and on drop");
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
        let opened = self.connector.open(&name, plans, notifications);
        let opened = tokio::time::timeout(self.connector.open_timeout(), opened)
            .await
            .map_err(|_| Error::Unreachable { reason: "no session within the time limit".into() })?
            .map_err(|e| Error::from(e).before_sending())?;
        Ok(Session { client: ClientWrapper::new(opened.client, opened.driver), direct: opened.direct })
    }
}

/// A pooled session that is closed on drop unless it was given back: a call that was cancelled half-way must not leave
/// its answer to the next borrower.
struct Borrowed(Option<Object>);

impl Borrowed {
    fn give_back(&mut self) {
        self.0 = None;
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

fn pool_error(error: deadpool_postgres::PoolError) -> Error {
    match error {
        deadpool_postgres::PoolError::Backend(error) => Error::from(error).before_sending(),
        deadpool_postgres::PoolError::Timeout(_) => {
            Error::Unreachable { reason: "no session became free in time".into() }
        }
        other => Error::Unreachable { reason: other.to_string() },
    }
}

struct PoolConnect {
    connector: Connector,
    name: String,
}

impl deadpool_postgres::Connect for PoolConnect {
    fn connect(
        &self,
        _: &tokio_postgres::Config,
    ) -> Pin<
        Box<
            dyn Future<Output = std::result::Result<(tokio_postgres::Client, JoinHandle<()>), tokio_postgres::Error>>
                + Send
                + '_,
        >,
    > {
        Box::pin(async move {
            let opened = self.connector.open(&self.name, Plans::Free, None).await?;
            Ok((opened.client, opened.driver))
        })
    }
}
