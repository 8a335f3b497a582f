//! Opening sessions: the database URL, the settings that every session of the engine runs under, and the test whether a
//! session is really ours.
//!
//! The settings go into the start-up packet, so that they hold from the first statement and die with the session. A pooler
//! in transaction mode refuses or drops them; then each statement brings them along (`session.rs`), and whatever rests on
//! the session itself (presence, LISTEN) is switched off by its owner. A pooler that passes them on could be taken for none:
//! `pooler=transaction` in the URL says that there is one.

use crate::error::{Error, Result, one_line};
use crate::session::ClientWrapper;
use crate::tls::{self, Trust};
use faultline_metrics::SessionMetrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{AsyncMessage, Client, Config};
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

/// The function of the server that warns when the wait for a synchronous standby was cancelled. The commit is then answered as
/// done, though it may be lost with the primary. Messages are translated, and the SQLSTATE is that of any warning.
const UNREPLICATED: &str = "SyncRepWaitForLSN";

/// What every session of the engine runs under: time limits, so that a stopped process can't hold a row for ever; and the
/// isolation that the statements are written for, whatever the database's default is: they meet rows that others have just
/// changed, and look again with a newer snapshot. Names are looked up in the system's schema only: in a schema that others
/// may write to, somebody's operator could fit the arguments better, and would run with the engine's rights.
pub(crate) const SESSION_OPTIONS: &str = "-c statement_timeout=30s -c lock_timeout=10s \
    -c idle_in_transaction_session_timeout=30s -c default_transaction_isolation=read\\ committed \
    -c search_path=pg_catalog,pg_temp -c jit=off -c enable_seqscan=off -c faultline.direct=on";

/// Whether the settings arrived, and which server this is.
const GREETING: &str =
    "select coalesce(current_setting('faultline.direct', true), '') = 'on', pg_catalog.pg_postmaster_start_time()";

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
    /// Whether a pooler stands between: by the URL, or since it refused our settings. Set once, never cleared.
    pooled: Arc<AtomicBool>,
}

impl Connector {
    /// Reads a URL or a key-value connection string. Several hosts are tried in order; only one that takes writes is used.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let Own { rest: url, trust, root_cert, pooled } = take_own_parameters(url)?;
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
            pooled: Arc::new(pooled.into()),
        })
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

    /// Opens a session and counts it. Notifications go to `notifications`, where given.
    pub(crate) async fn open(
        &self,
        name: &str,
        metrics: &SessionMetrics,
        plans: Plans,
        notifications: Option<mpsc::UnboundedSender<String>>,
    ) -> std::result::Result<ClientWrapper, tokio_postgres::Error> {
        let mut config = self.config.clone();
        config.application_name(name);
        let users_options = self.config.get_options().unwrap_or_default();
        let options = format!("{SESSION_OPTIONS} {} {} {users_options}", plans.options(), self.settings);
        #[cfg(feature = "mutants")]
        let options = crate::mutants::edited_options(&options);
        let begin = || Some(begin_with(&options).into());
        if self.pooled.load(Ordering::Relaxed) {
            let (client, driver) = open_with(&config, &self.tls, metrics, notifications).await?;
            metrics.opened();
            return Ok(ClientWrapper::new(client, driver, begin(), None));
        }
        let mut with_options = config.clone();
        with_options.options(&options);
        let (client, driver) = match open_with(&with_options, &self.tls, metrics, notifications.clone()).await {
            // 08P01 is a pooler's refusal of a start-up parameter that it does not know.
            Err(error) if error.code().is_some_and(|c| c.code() == "08P01") => {
                let opened = open_with(&config, &self.tls, metrics, notifications).await?;
                self.pooled.store(true, Ordering::Relaxed);
                opened
            }
            answer => answer?,
        };
        let greeting = client.query_typed(GREETING, &[]).await?;
        let (is_direct, server) = greeting.first().map_or((false, None), |row| (row.get(0), Some(row.get(1))));
        metrics.opened();
        Ok(if is_direct {
            ClientWrapper::new(client, driver, None, server)
        } else {
            ClientWrapper::new(client, driver, begin(), None)
        })
    }
}

async fn open_with(
    config: &Config,
    tls: &MakeRustlsConnect,
    metrics: &SessionMetrics,
    notifications: Option<mpsc::UnboundedSender<String>>,
) -> std::result::Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
    let (client, mut connection) = config.connect(tls.clone()).await?;
    let metrics = metrics.clone();
    let driver = tokio::spawn(async move {
        let mut messages = futures_util::stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(message) = futures_util::StreamExt::next(&mut messages).await {
            match (message, &notifications) {
                (Ok(AsyncMessage::Notice(notice)), _) if notice.routine() == Some(UNREPLICATED) => {
                    // Its answer follows, and must reach nobody: whoever waits hears that the connection was lost.
                    return metrics.lost();
                }
                (Ok(AsyncMessage::Notification(note)), Some(sender)) => {
                    // A receiver that is gone needs no notifications.
                    let _ = sender.send(note.payload().to_owned());
                }
                (Ok(_), _) => {}
                (Err(_), _) => return metrics.lost(),
            }
        }
    });
    Ok((client, driver))
}

/// `begin`, and settings in the form of start-up options for the length of that transaction.
fn begin_with(options: &str) -> String {
    let settings = options.split("-c ").filter_map(|setting| setting.trim().split_once('='));
    let sets: Vec<String> = settings
        .filter(|(name, _)| !name.starts_with("faultline."))
        .map(|(name, value)| {
            let value = value.replace("\\ ", " ").replace('\'', "''");
            format!("pg_catalog.set_config('{}', '{value}', true)", name.replace('\'', "''"))
        })
        .collect();
    format!("begin isolation level read committed; select {}", sets.join(", "))
}

fn show_host(host: &tokio_postgres::config::Host) -> String {
    match host {
        tokio_postgres::config::Host::Tcp(name) => name.clone(),
        tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
    }
}

/// What a connection string says that tokio-postgres does not know.
struct Own {
    /// What it does know.
    rest: String,
    trust: Trust,
    root_cert: Option<String>,
    pooled: bool,
}

/// Takes out of a connection string what tokio-postgres does not know: `sslrootcert`, the verifying modes of `sslmode`, and
/// `pooler=transaction`.
fn take_own_parameters(url: &str) -> Result<Own> {
    let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let mut own = Own { rest: String::new(), trust: Trust::Any, root_cert: None, pooled: false };
    let mut unknown = None;
    let mut keep = |pair: &&str| {
        match pair.split_once('=') {
            Some(("sslmode", "verify-full" | "verify-ca")) => own.trust = Trust::Verified,
            Some(("sslrootcert", path)) => own.root_cert = Some(path.replace("%2F", "/")),
            Some(("pooler", "transaction")) => own.pooled = true,
            Some(("pooler", mode)) => unknown = Some(format!("pooler={mode} is unknown; expected pooler=transaction")),
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
    match unknown {
        Some(reason) => Err(Error::Url { reason }),
        None => Ok(Own { rest, ..own }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_our_own_are_taken_out_of_both_forms() {
        let own =
            take_own_parameters("postgres://a@b/c?sslmode=verify-full&sslrootcert=%2Fx.pem&connect_timeout=3").unwrap();
        assert_eq!(
            (own.rest.as_str(), own.trust, own.root_cert.as_deref(), own.pooled),
            ("postgres://a@b/c?connect_timeout=3", Trust::Verified, Some("/x.pem"), false)
        );
        let own = take_own_parameters("host=b sslmode=require pooler=transaction dbname=c").unwrap();
        assert_eq!(
            (own.rest.as_str(), own.trust, own.root_cert.as_deref(), own.pooled),
            ("host=b sslmode=require dbname=c", Trust::Any, None, true)
        );
    }

    #[test]
    fn settings_of_a_session_become_those_of_a_transaction() {
        assert_eq!(
            begin_with(
                "-c statement_timeout=30s -c default_transaction_isolation=read\\ committed -c a.b=it's -c faultline.direct=on "
            ),
            "begin isolation level read committed; select pg_catalog.set_config('statement_timeout', '30s', true), \
             pg_catalog.set_config('default_transaction_isolation', 'read committed', true), \
             pg_catalog.set_config('a.b', 'it''s', true)"
        );
    }

    #[test]
    fn an_unusable_url_says_what_is_wrong() {
        for (url, expected) in [
            ("postgres://", "host"),
            ("nonsense", "invalid"),
            ("postgres://h:notaport/x", "port"),
            ("postgres://h/x?pooler=session", "pooler=session"),
        ] {
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
