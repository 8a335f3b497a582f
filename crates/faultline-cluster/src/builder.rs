//! What a cluster shall be like, and its first start.

use std::path::{Path, PathBuf};

use crate::ClusterError;
use crate::account::Account;
use crate::cluster::Cluster;
use crate::disks::Sizes;
use crate::guard::Guard;
use crate::home::Home;
use crate::programs::Programs;
use crate::replication::Upstream;

/// A socket's path is limited to 104 bytes (macOS) or 108 (Linux); the server adds `/.s.PGSQL.32000.lock`.
const SOCKET_DIR_LIMIT_BYTES: usize = 80;

/// What a [`Cluster`] shall be like. Made by [`Cluster::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    programs: Programs,
    data_dir: Option<PathBuf>,
    port: u16,
    durable: bool,
    settings: Vec<String>,
    upstream: Option<Upstream>,
    disks: Option<Sizes>,
}

impl Builder {
    pub(crate) fn new(programs: Programs) -> Self {
        Builder { programs, data_dir: None, port: 0, durable: true, settings: Vec::new(), upstream: None, disks: None }
    }

    /// The same, of data and a port of its own, as a copy of another cluster.
    pub(crate) fn following(&self, upstream: Upstream) -> Self {
        Builder { data_dir: None, port: 0, upstream: Some(upstream), disks: None, ..self.clone() }
    }

    pub(crate) fn upstream(&self) -> Option<&Upstream> {
        self.upstream.as_ref()
    }

    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Keeps the data below `dir` (as `postgres`, beside `postgres.log` and `postgres.lock`); the directory is made if need
    /// be. Without this, everything is temporary and gone when the cluster stops.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// Listens on this port of 127.0.0.1. Zero, the default, picks a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets a server setting, as `postgres -c name=value` does; the last one of a name wins.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push(format!("{name}={value}"));
        self
    }

    /// Gives a temporary cluster small disks of so many MiB, one for a table space and one for the write-ahead log, that can be
    /// filled. Linux only, and only for root.
    pub fn small_disks(mut self, tables_mib: u32, wal_mib: u32) -> Self {
        self.disks = Some(Sizes { tables: tables_mib, wal: wal_mib });
        self
    }

    /// Whether commits survive a crash of the machine (the default). `false` trades that for speed, for tests: `fsync` and
    /// `full_page_writes` off. A killed server loses nothing even then, because every commit is handed to the operating
    /// system; `synchronous_commit` stays on, for without it `kill -9` of the postmaster forgets acknowledged commits.
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Initialises the data if it is new, and starts the server; it accepts connections when this returns.
    ///
    /// # Errors
    /// [`ClusterError::InUse`] if another process runs a cluster in the same directory, [`ClusterError::OtherVersion`] if other
    /// programs made the data, [`ClusterError::Initdb`], [`ClusterError::Copy`] and [`ClusterError::Start`] with the end of
    /// the log.
    pub fn start(self) -> Result<Cluster, ClusterError> {
        let probe = tempfile::tempdir().map_err(ClusterError::os("create a temporary directory"))?;
        let asked = self.data_dir.as_ref().map(|dir| dir.join("postgres")).unwrap_or_default();
        let account = Account::instead_of_root(probe.path(), &asked)?;
        if let Some(account) = &account
            && !account.can_run(&self.programs.program("postgres"))
        {
            let reason = "as root the server runs under another account, which cannot run these programs";
            return Err(ClusterError::UnusablePrograms {
                dir: self.programs.bin().to_owned(),
                reason: reason.to_owned(),
            });
        }
        let runtime = runtime_dir(account.as_ref())?;
        let mut home = Home::open(self.data_dir.as_deref().unwrap_or(runtime.path()))?;
        let new = home.is_new();
        if new {
            home.prepare(account.as_ref())?;
        } else {
            home.check(&self.programs)?;
        }
        let guard =
            Guard::spawn(&self.programs, &home, runtime.path(), account.as_ref(), &self.all_settings(), self.disks)?;
        // From here on the guard removes it.
        let runtime = runtime.keep();
        let (port, durable, upstream) = (self.port, self.durable, self.upstream.clone());
        let has_wal_disk = self.disks.is_some();
        let mut cluster = Cluster::new(self, home, runtime, guard, port);
        match upstream.filter(|_| new) {
            Some(upstream) => cluster.copy(&upstream, durable)?,
            None if new => cluster.initialise(durable, has_wal_disk)?,
            None => {}
        }
        cluster.first_start()?;
        Ok(cluster)
    }

    fn all_settings(&self) -> Vec<String> {
        let mut settings = Vec::new();
        if !self.durable {
            settings.extend(["fsync=off", "full_page_writes=off"].map(str::to_owned));
        }
        if self.data_dir.is_none() {
            // Inside the directory that is removed, instead of in /dev/shm, where a killed server's would stay.
            settings.push("dynamic_shared_memory_type=mmap".to_owned());
        }
        settings.extend(self.settings.iter().cloned());
        settings
    }
}

/// A directory with a short path that the server's account can enter.
fn runtime_dir(account: Option<&Account>) -> Result<tempfile::TempDir, ClusterError> {
    let fallback = Path::new("/tmp");
    let make = |base: &Path| -> Result<tempfile::TempDir, ClusterError> {
        // Resolved, because the guard compares this path with the data's.
        let made = base.canonicalize().and_then(|base| tempfile::Builder::new().prefix("faultline-").tempdir_in(base));
        let dir = made.map_err(ClusterError::io("create a directory in", base))?;
        account.map_or(Ok(()), |account| account.own(dir.path()))?;
        Ok(dir)
    };
    let dir = make(&std::env::temp_dir())?;
    let short = dir.path().as_os_str().len() <= SOCKET_DIR_LIMIT_BYTES;
    if short && account.is_none_or(|account| account.can_enter(dir.path())) {
        return Ok(dir);
    }
    make(fallback)
}
