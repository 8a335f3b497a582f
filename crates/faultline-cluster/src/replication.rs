//! Standbys: a cluster that is a copy of another and follows it, until it is cut off or promoted.
//!
//! A standby is made by `pg_basebackup`, has a guard of its own and lives and dies like any other [`Cluster`]. A replication slot
//! keeps for it whatever it has not received, so that it can be stopped, or cut off, for as long as it takes.
//!
//! Stopping the process that receives does not cut a standby off: it is started again at once, or what has arrived is still
//! to be applied. [`Cluster::detach`] tells the server that it follows nobody.

use std::time::Duration;

use crate::ClusterError;
use crate::builder::Builder;
use crate::cluster::{Cluster, USER};
use crate::process::wait_until;

/// How long a changed setting, a receiver or a promotion may take to show.
const SHOW_LIMIT: Duration = Duration::from_secs(60);

/// Whom a cluster is a copy of.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    port: u16,
    /// Names the standby on its primary, and its replication slot there.
    name: String,
}

impl Upstream {
    /// Where the primary is, as one word.
    fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/?application_name={}", self.port, self.name)
    }

    /// Options of `pg_basebackup`: at once (a fast checkpoint), everything that was written meanwhile included, ready to follow.
    pub(crate) fn copy_options(&self, durable: bool) -> String {
        let sync = if durable { "" } else { "--no-sync" };
        format!("-d {} -R -X stream -c fast -C -S {} {sync}", self.url(), self.name)
    }
}

impl Cluster {
    /// Begins the description of a standby of this cluster: of the same programs and settings, temporary, on a free port. The
    /// name tells it from other standbys; it consists of lower-case letters, digits and underscores.
    pub fn standby(&self, name: &str) -> Builder {
        self.built().following(Upstream { port: self.port(), name: name.to_owned() })
    }

    /// Changes a setting of the running server for good, and waits until new sessions have it.
    ///
    /// # Errors
    /// [`ClusterError::Sql`] for a setting that does not exist or needs a restart, [`ClusterError::Timeout`].
    pub fn configure(&self, name: &str, value: &str) -> Result<(), ClusterError> {
        self.psql("postgres", &format!("alter system set {name} = '{}'", value.replace('\'', "''")))?;
        self.psql("postgres", "select pg_reload_conf()")?;
        self.await_answer("take a new setting", &format!("select current_setting('{name}')"), value)
    }

    /// Whether a commit on this primary waits for a standby: once this returns with `true`, one is there to be waited for.
    ///
    /// # Errors
    /// [`ClusterError::Timeout`] if there is no standby that follows.
    pub fn synchronous(&self, wait: bool) -> Result<(), ClusterError> {
        self.configure("synchronous_standby_names", if wait { "*" } else { "" })?;
        let sync = "select exists (select from pg_stat_replication where sync_state = 'sync')";
        if wait { self.await_answer("get a synchronous standby", sync, "t") } else { Ok(()) }
    }

    /// Cuts this standby off: it receives nothing from now on, though both servers run.
    ///
    /// # Errors
    /// As [`Cluster::configure`].
    pub fn detach(&self) -> Result<(), ClusterError> {
        self.configure("primary_conninfo", "")?;
        self.await_answer("stop to receive", "select count(*) from pg_stat_wal_receiver", "0")
    }

    /// Lets a standby that was cut off follow its primary again.
    ///
    /// # Errors
    /// [`ClusterError::NotNow`] if it is no standby of anybody, [`ClusterError::Timeout`] if it gets nothing.
    pub fn attach(&self) -> Result<(), ClusterError> {
        let upstream = self.built().upstream().ok_or(ClusterError::NotNow("no standby"))?;
        self.configure("primary_conninfo", &upstream.url())?;
        let streams = "select count(*) from pg_stat_wal_receiver where status = 'streaming'";
        self.await_answer("receive", streams, "1")
    }

    /// Makes this standby a primary, on a time line of its own; it takes writes when this returns.
    ///
    /// # Errors
    /// [`ClusterError::Sql`] if it is no standby (any more), [`ClusterError::Timeout`].
    pub fn promote(&self) -> Result<(), ClusterError> {
        self.psql("postgres", &format!("select pg_promote(true, {})", SHOW_LIMIT.as_secs()))?;
        self.await_answer("become a primary", "select pg_is_in_recovery()", "f")
    }

    fn await_answer(&self, what: &'static str, sql: &str, answer: &str) -> Result<(), ClusterError> {
        if wait_until(SHOW_LIMIT, || self.psql("postgres", sql).is_ok_and(|given| given == answer)) {
            return Ok(());
        }
        Err(ClusterError::Timeout { what, limit_s: SHOW_LIMIT.as_secs() })
    }
}
