//! Opening sessions: the database URL, the settings that every session of the engine runs under, and the test whether a
//! session is really ours.
//!
//! The settings go into the start-up packet, so that they hold from the first statement and die with the session. A pooler
//! in transaction mode refuses or drops them; then the session works without them, `direct` is false, and whatever rests on
//! the session itself (presence, LISTEN) is switched off by its owner. Without the settings a cached plan that was made
//! while a table was small may be kept while it grows, until the next analyze: slower, never wrong.

use crate::error::{Error, Result, one_line};
use crate::tls::{self, Trust};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{AsyncMessage, Client, Config, Connection};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long opening one connection to one host may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What comes after the connection may take as long in all: TLS, authentication, settings. A server that was stopped still
/// accepts connections, and a network may fall silent at any moment.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Unacknowledged data older than this ends the connection.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);
/// A silent connection is probed after this long, and given up after five probes at the interval below.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);

/// What every session of the engine runs under: time limits, so that a stopped process can't hold a row for ever; and the
/// isolation that the statements are written for, whatever the database's default is: they meet rows that others have just
/// changed, and look again with a newer snapshot. Names are looked up in the system's schema only: in a schema that others
/// may write to, somebody's operator could fit the arguments better, and would run with the engine's rights.
const SESSION_OPTIONS: &str = "-c statement_timeout=30s -c lock_timeout=10s \
    -c idle_in_transaction_session_timeout=30s -c default_transaction_isolation=read\\ committed \
    -c search_path=pg_catalog,pg_temp -c jit=off -c enable_seqscan=off -c faultline.direct=on";

/// Which plans a session is held to, so that they don't depend on statistics: those of a queue are often those of an empty
/// table. Each hot statement has one right plan; docs/decisions/0001-storage.md has the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plans {
    /// Whatever the planner prefers, but no scans of whole tables where an index will do.
    Free,
    /// Nested loops over index scans that a limit ends: claim, watch, reap.
    InOrder,
    /// Look-ups of many ids, hashed with the arguments: complete, fail, put back, renew.
    ById,
}

impl Plans {
    fn options(self) -> &'static str {
        match self {
            Self::Free => "",
            Self::InOrder => {
                "-c plan_cache_mode=force_generic_plan -c enable_bitmapscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
            }
            Self::ById => {
                "-c plan_cache_mode=force_generic_plan -c enable_bitmapscan=off -c enable_nestloop=off -c enable_mergejoin=off"
            }
        }
    }
}

/// A parsed database URL, ready to connect.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    shown: Arc<str>,
    settings: &'static str,
    #[cfg(feature = "simulation")]
    simulation: Option<crate::Simulation>,
}

/// A connection that was just opened.
pub(crate) struct Opened {
    pub(crate) client: Client,
    pub(crate) driver: JoinHandle<()>,
    /// Whether the session is ours alone: its settings arrived.
    pub(crate) direct: bool,
}

impl Connector {
    /// Reads a URL or a key-value connection string. Several hosts are tried in order; only one that takes writes is used.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let (url, trust, root_cert) = take_tls_parameters(url);
        let mut config: Config = url.parse().map_err(|e| Error::Url { reason: one_line(&e) })?;
        if config.get_hosts().is_empty() {
            return Err(Error::Url { reason: "it names no host".into() });
        }
        if config.get_user().is_none() {
            config.user(std::env::var("USER").unwrap_or_else(|_| "postgres".into()));
        }
        if trust == Trust::Verified {
            config.ssl_mode(SslMode::Require);
        }
        if config.get_target_session_attrs() == TargetSessionAttrs::Any {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
        config.keepalives_idle(KEEPALIVE_IDLE).keepalives_interval(KEEPALIVE_INTERVAL).keepalives_retries(5);
        let shown = format!(
            "{}/{}",
            config.get_hosts().iter().map(show_host).collect::<Vec<_>>().join(","),
            config.get_dbname().unwrap_or_default()
        );
        Ok(Self {
            config,
            tls: tls::connector(trust, root_cert.as_deref())?,
            shown: shown.into(),
            settings: "",
            #[cfg(feature = "simulation")]
            simulation: None,
        })
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(simulation: crate::Simulation) -> Result<Self> {
        Ok(Self { simulation: Some(simulation), ..Self::parse("postgres://simulated@simulation/simulated")? })
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn simulation(&self) -> Option<&crate::Simulation> {
        self.simulation.as_ref()
    }

    /// Adds settings that win over those of `SESSION_OPTIONS`; those in the user's URL win over both.
    pub(crate) fn with_settings(self, settings: &'static str) -> Self {
        Self { settings, ..self }
    }

    /// Hosts and database, without user and password: fit for a log.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// How long opening a session may take: the time of each host, and of the greeting of one.
    pub(crate) fn open_timeout(&self) -> Duration {
        let hosts = u32::try_from(self.config.get_hosts().len()).unwrap_or(u32::MAX);
        let each = self.config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
        each.saturating_mul(hosts).saturating_add(GREETING_TIMEOUT)
    }

    /// Opens a session. Notifications go to `notifications`, where given.
    pub(crate) async fn open(
        &self,
        name: &str,
        plans: Plans,
        notifications: Option<mpsc::UnboundedSender<String>>,
    ) -> std::result::Result<Opened, tokio_postgres::Error> {
        let mut config = self.config.clone();
        config.application_name(name);
        let users_options = self.config.get_options().unwrap_or_default();
        config.options(format!("{SESSION_OPTIONS} {} {} {users_options}", plans.options(), self.settings));
        match self.open_with(&config, notifications.clone()).await {
            // 08P01 is a pooler's refusal of a start-up parameter that it does not know.
            Err(error) if error.code().is_some_and(|c| c.code() == "08P01") => {
                config.options(users_options);
                self.open_with(&config, notifications).await
            }
            answer => answer,
        }
    }

    async fn open_with(
        &self,
        config: &Config,
        notifications: Option<mpsc::UnboundedSender<String>>,
    ) -> std::result::Result<Opened, tokio_postgres::Error> {
        #[cfg(feature = "simulation")]
        if let Some(simulation) = &self.simulation {
            return opened(config.connect_raw(simulation.dial(), tokio_postgres::NoTls).await?, notifications).await;
        }
        opened(config.connect(self.tls.clone()).await?, notifications).await
    }
}

async fn opened<S, T>(
    (client, mut connection): (Client, Connection<S, T>),
    notifications: Option<mpsc::UnboundedSender<String>>,
) -> std::result::Result<Opened, tokio_postgres::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let driver = tokio::spawn(async move {
        let mut messages = futures_util::stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = futures_util::StreamExt::next(&mut messages).await {
            if let (AsyncMessage::Notification(note), Some(sender)) = (&message, &notifications) {
                // A receiver that is gone needs no notifications.
                let _ = sender.send(note.payload().to_owned());
            }
        }
    });
    let row = client.query_typed("select coalesce(current_setting('faultline.direct', true), '') = 'on'", &[]).await?;
    Ok(Opened { client, driver, direct: row.first().is_some_and(|row| row.get(0)) })
}

fn show_host(host: &tokio_postgres::config::Host) -> String {
    match host {
        tokio_postgres::config::Host::Tcp(name) => name.clone(),
        tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
    }
}

/// Takes out of a connection string what tokio-postgres does not know: `sslrootcert`, and the verifying modes of `sslmode`.
fn take_tls_parameters(url: &str) -> (String, Trust, Option<String>) {
    let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let mut trust = Trust::Any;
    let mut root_cert = None;
    let mut keep = |pair: &&str| {
        match pair.split_once('=') {
            Some(("sslmode", "verify-full" | "verify-ca")) => trust = Trust::Verified,
            Some(("sslrootcert", path)) => root_cert = Some(path.replace("%2F", "/")),
            _ => return true,
        }
        false
    };
    let rest = if is_url {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let query =
            query.split('&').filter(|pair| !pair.is_empty()).filter(|pair| keep(pair)).collect::<Vec<_>>().join("&");
        if query.is_empty() { base.to_owned() } else { format!("{base}?{query}") }
    } else {
        url.split_whitespace().filter(|pair| keep(pair)).collect::<Vec<_>>().join(" ")
    };
    (rest, trust, root_cert)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_parameters_are_taken_out_of_both_forms() {
        let (url, trust, cert) =
            take_tls_parameters("postgres://a@b/c?sslmode=verify-full&sslrootcert=%2Fx.pem&connect_timeout=3");
        assert_eq!(
            (url.as_str(), trust, cert.as_deref()),
            ("postgres://a@b/c?connect_timeout=3", Trust::Verified, Some("/x.pem"))
        );
        let (url, trust, cert) = take_tls_parameters("host=b sslmode=require dbname=c");
        assert_eq!((url.as_str(), trust, cert), ("host=b sslmode=require dbname=c", Trust::Any, None));
    }

    #[test]
    fn an_unusable_url_says_what_is_wrong() {
        for (url, expected) in [("postgres://", "host"), ("nonsense", "invalid"), ("postgres://h:notaport/x", "port")] {
            let text = Connector::parse(url).err().expect(url).to_string();
            assert!(text.contains(expected), "{url}: {text}");
        }
    }

    #[test]
    fn the_shown_form_has_no_password() {
        let connector = Connector::parse("postgres://user:secret@h1,h2/db").unwrap();
        assert_eq!(connector.shown(), "h1,h2/db");
    }
}
