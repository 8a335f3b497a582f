//! What a server can be told.

use crate::limits;
use faultline_dashboard::{BasePath, DrillSettings};
use faultline_metrics::Metrics;
use std::time::Duration;

/// Who may call the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auth {
    /// Anybody who reaches the port.
    #[default]
    None,
    /// Who presents a token, within its role.
    Tokens,
}

/// A server's settings.
///
/// ```
/// use faultline_server::{Auth, ServerConfig};
///
/// let mut config = ServerConfig::new("postgres://localhost/app");
/// config.auth = Auth::Tokens;
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The database. The server has pools of its own, so that neither reads nor workers can take the sessions that enqueues
    /// need: at most 24 sessions in all.
    pub database_url: String,
    /// Who may call.
    pub auth: Auth,
    /// How long an enqueue may take before it is answered as indeterminate, or as not done if it was never sent. At most
    /// [`limits::MAX_ENQUEUE_DEADLINE`].
    pub enqueue_deadline: Duration,
    /// How long a request's headers may take; also how long an idle connection is kept.
    pub header_time: Duration,
    /// How long a request's body may take, three times that for a batch.
    pub body_time: Duration,
    /// How long a client may take nothing of an answer that is on its way.
    pub write_time: Duration,
    /// Connections at one time; further ones are answered 503 and closed.
    pub max_connections: usize,
    /// How long requests may go on after the order to stop.
    pub drain_time: Duration,
    /// The path under which a proxy shows the server, for the addresses in the dashboard.
    pub base_path: BasePath,
    /// The key of the dashboard's sessions, which servers behind one balancer share; none for a random one.
    pub session_key: Option<String>,
    /// The drills that the dashboard shows.
    pub drills: DrillSettings,
    /// What `GET /metrics` shows and where the server counts; give the same to what runs beside it.
    pub metrics: Metrics,
}

impl ServerConfig {
    /// The defaults, for a database.
    pub fn new(database_url: impl Into<String>) -> Self {
        Self {
            database_url: database_url.into(),
            auth: Auth::None,
            enqueue_deadline: Duration::from_secs(10),
            header_time: Duration::from_secs(30),
            body_time: Duration::from_secs(10),
            write_time: Duration::from_secs(30),
            max_connections: 4096,
            drain_time: Duration::from_secs(15),
            base_path: BasePath::default(),
            session_key: None,
            drills: DrillSettings::default(),
            metrics: Metrics::new(),
        }
    }

    pub(crate) fn enqueue_deadline(&self) -> Duration {
        self.enqueue_deadline.clamp(limits::MIN_COMMIT_TIME, limits::MAX_ENQUEUE_DEADLINE)
    }
}
