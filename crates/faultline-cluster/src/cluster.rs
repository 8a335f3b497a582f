//! The life cycle of a cluster: start, break, start again, stop.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::ClusterError;
use crate::builder::Builder;
use crate::disks::Disk;
use crate::guard::Guard;
use crate::home::Home;
use crate::process;
use crate::programs::Programs;
use crate::replication::Upstream;
use crate::wire;

/// The superuser of every private cluster.
pub(crate) const USER: &str = "faultline";
/// A start includes crash recovery, which on a slow disk takes its time.
const START_LIMIT: Duration = Duration::from_secs(120);
/// For `Mode::Smart` this is how long clients may keep a stop waiting.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Backends notice within a second that their postmaster is dead, unless they compute; those are killed after this.
const ORPHAN_LIMIT: Duration = Duration::from_secs(5);
/// How many free ports are tried before giving up; another process may take one between our look and the server's.
const PORT_ATTEMPTS: usize = 20;
/// Below every system's range for outgoing connections. A client that keeps connecting to a stopped server's port inside that
/// range is at some point given this very port as its own, connects to itself, and the server cannot come back.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
/// Lines of the log in an error.
const ERROR_LINES: usize = 10;

/// How to stop a server: what `pg_ctl stop -m` offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Wait for the clients to leave.
    Smart,
    /// Disconnect the clients, then stop in an orderly way.
    Fast,
    /// Stop at once, without a checkpoint; the next start recovers.
    Immediate,
}

/// A private Postgres server with its data. Dropping it stops the server and, if it is temporary, removes the data.
#[must_use = "the server is stopped when this is dropped"]
pub struct Cluster {
    built: Builder,
    home: Home,
    /// Holds the socket, and all of a temporary cluster; the guard removes it.
    runtime: PathBuf,
    guard: Guard,
    port: u16,
    /// The last postmaster; set by a start, cleared when its exit status was collected.
    postmaster: Option<u32>,
    /// The processes that [`Cluster::pause`] stopped; empty while the server runs.
    paused: Vec<u32>,
}

impl Cluster {
    /// Begins the description of a cluster: temporary, on a free port, durable.
    pub fn builder(programs: Programs) -> Builder {
        Builder::new(programs)
    }

    pub(crate) fn new(built: Builder, home: Home, runtime: PathBuf, guard: Guard, port: u16) -> Self {
        Cluster { built, home, runtime, guard, port, postmaster: None, paused: Vec::new() }
    }

    pub(crate) fn guard_pid(&self) -> u32 {
        self.guard.pid()
    }

    /// What it was built from.
    pub(crate) fn built(&self) -> &Builder {
        &self.built
    }

    /// The port on 127.0.0.1; the same for the life of the value.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database in this cluster, for its superuser.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// The directory of the unix socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.runtime
    }

    /// Where the data really is: as root it may be reached by a link from the directory that was asked for.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.home.data
    }

    /// The programs that it runs on.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        self.built.programs()
    }

    /// The postmaster's process id, `None` if no server runs.
    #[must_use]
    pub fn postmaster_pid(&self) -> Option<u32> {
        self.postmaster.filter(|&pid| process::alive(pid))
    }

    /// The last lines of the server's log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        self.home.log_tail(0, lines)
    }

    /// Runs one statement as superuser; answers what `psql -At` would print, without the last newline. `psql` itself is not
    /// needed.
    ///
    /// # Errors
    /// [`ClusterError::Sql`] if the server refuses, [`ClusterError::Io`] if it cannot be reached or takes more than 60 s.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String, ClusterError> {
        wire::query(self.port, USER, database, sql)
    }

    /// Stops the server and waits for its end; one that is stopped already stays so. The data is kept.
    ///
    /// # Errors
    /// [`ClusterError::Timeout`] if it runs on after 60 s, which with [`Mode::Smart`] is up to the clients.
    pub fn stop(&mut self, mode: Mode) -> Result<(), ClusterError> {
        let Some(pid) = self.postmaster_pid() else {
            return self.collect().map(drop);
        };
        self.resume()?;
        let signal = match mode {
            Mode::Smart => "TERM",
            Mode::Fast => "INT",
            Mode::Immediate => "QUIT",
        };
        process::signal(signal, &[pid])?;
        if !process::wait_until(STOP_LIMIT, || !process::alive(pid)) {
            return Err(ClusterError::Timeout { what: "stop", limit_s: STOP_LIMIT.as_secs() });
        }
        self.collect().map(drop)
    }

    /// Kills the postmaster with `SIGKILL` and waits until its children are gone as well: those that notice by themselves
    /// do so, the others are killed after 5 s.
    ///
    /// # Errors
    /// [`ClusterError::NotNow`] if no server runs.
    pub fn kill(&mut self) -> Result<(), ClusterError> {
        let pid = self.postmaster_pid().ok_or(ClusterError::NotNow("not running"))?;
        // A stopped postmaster forks no more, so that no child is missed.
        process::signal("STOP", &[pid])?;
        let children = process::children(pid)?;
        process::signal("KILL", &[pid])?;
        self.resume()?;
        let gone = || !process::alive(pid) && !children.iter().any(|&child| process::alive(child));
        if !process::wait_until(ORPHAN_LIMIT, gone) {
            process::signal("KILL", &children)?;
            if !process::wait_until(ORPHAN_LIMIT, gone) {
                return Err(ClusterError::Timeout { what: "die", limit_s: 2 * ORPHAN_LIMIT.as_secs() });
            }
        }
        self.collect().map(drop)
    }

    /// Starts the server again, on the same port and the same data, after a stop, a [`Cluster::kill`] or its own death.
    ///
    /// # Errors
    /// [`ClusterError::NotNow`] if it runs, [`ClusterError::Start`] as at first.
    pub fn start_again(&mut self) -> Result<(), ClusterError> {
        if self.postmaster_pid().is_some() {
            return Err(ClusterError::NotNow("running already"));
        }
        self.collect()?;
        self.home.check(self.built.programs())?;
        self.launch()
    }

    /// Stops the whole server in its tracks (`SIGSTOP`): connections stay open, nobody answers. Does nothing if paused.
    ///
    /// # Errors
    /// [`ClusterError::NotNow`] if no server runs.
    pub fn pause(&mut self) -> Result<(), ClusterError> {
        let pid = self.postmaster_pid().ok_or(ClusterError::NotNow("not running"))?;
        if !self.paused.is_empty() {
            return Ok(());
        }
        process::signal("STOP", &[pid])?;
        self.paused = vec![pid];
        self.await_stopped()?;
        self.paused.extend(process::children(pid)?);
        self.guard.note_paused(&self.paused)?;
        process::signal("STOP", &self.paused)?;
        self.await_stopped()
    }

    /// Lets a paused server go on. Does nothing if it is not paused.
    ///
    /// # Errors
    /// [`ClusterError::Io`] if the signal cannot be sent.
    pub fn resume(&mut self) -> Result<(), ClusterError> {
        if self.paused.is_empty() {
            return Ok(());
        }
        process::signal("CONT", &self.paused)?;
        self.paused.clear();
        self.guard.note_paused(&[])
    }

    /// A signal takes effect a moment after it was sent.
    fn await_stopped(&self) -> Result<(), ClusterError> {
        let still = |&pid: &u32| process::look(pid).is_none_or(|p| p.stopped() || !p.alive());
        if process::wait_until(STOP_LIMIT, || self.paused.iter().all(still)) {
            return Ok(());
        }
        Err(ClusterError::Timeout { what: "pause", limit_s: STOP_LIMIT.as_secs() })
    }

    /// Makes the data, with the locale C.UTF-8, or C where the system does not know that: both sort by code point.
    pub(crate) fn initialise(&mut self, durable: bool, wal_disk: bool) -> Result<(), ClusterError> {
        let mut options = String::from(if durable { "" } else { "--no-sync" });
        if wal_disk {
            options.push_str(&format!(" --waldir={}", self.disk(Disk::Wal).join("pg_wal").display()));
        }
        let begun = self.home.log_size();
        if self.guard.initialise(&format!("--locale=C.UTF-8 {options}"))? != 0 {
            let status = self.guard.initialise(&format!("--no-locale {options}"))?;
            if status != 0 {
                return Err(ClusterError::Initdb { status, log: self.home.log_tail(begun, ERROR_LINES) });
            }
        }
        self.home.settle()
    }

    /// Makes the data as a copy of another cluster's, which it will follow from the copy's beginning on.
    pub(crate) fn copy(&mut self, upstream: &Upstream, durable: bool) -> Result<(), ClusterError> {
        let begun = self.home.log_size();
        let status = self.guard.copy(&upstream.copy_options(durable))?;
        if status != 0 {
            return Err(ClusterError::Copy { status, log: self.home.log_tail(begun, ERROR_LINES) });
        }
        self.home.settle()
    }

    pub(crate) fn first_start(&mut self) -> Result<(), ClusterError> {
        if self.port != 0 {
            return self.launch();
        }
        for _ in 1..PORT_ATTEMPTS {
            self.port = free_port()?;
            match self.launch() {
                Err(ClusterError::Start { log, .. }) if log.contains("could not create any TCP/IP sockets") => {}
                done => return done,
            }
        }
        self.port = free_port()?;
        self.launch()
    }

    /// Starts the postmaster and waits until it accepts connections. The last server's memory may be in use by orphans for a
    /// moment after it was killed; that is the one failure which time heals.
    fn launch(&mut self) -> Result<(), ClusterError> {
        let begun = Instant::now();
        loop {
            let from = self.home.log_size();
            let pid = self.guard.start(self.port)?;
            self.postmaster = Some(pid);
            let Err(reason) = self.await_ready(pid)? else {
                return Ok(());
            };
            let log = self.home.log_tail(from, ERROR_LINES);
            let orphans = log.contains("pre-existing shared memory block");
            if !orphans || begun.elapsed() > ORPHAN_LIMIT {
                return Err(ClusterError::Start { reason, log });
            }
        }
    }

    /// The server writes its state on line 8 of its lock file, for `pg_ctl` and for us. The inner error is the reason.
    fn await_ready(&mut self, pid: u32) -> Result<Result<(), String>, ClusterError> {
        let ready = || {
            self.home.pid_file_line(1).is_some_and(|line| line == pid.to_string())
                && self.home.pid_file_line(8).is_some_and(|state| state == "ready")
        };
        let mut alive = true;
        let decided = process::wait_until(START_LIMIT, || {
            alive = process::alive(pid);
            !alive || ready()
        });
        if !alive {
            let status = self.collect()?.unwrap_or_default();
            return Ok(Err(format!("it ended with status {status}")));
        }
        if !decided {
            self.stop(Mode::Immediate)?;
            return Ok(Err(format!("it was not ready within {} s", START_LIMIT.as_secs())));
        }
        Ok(Ok(()))
    }

    /// Collects a postmaster that has ended; answers its exit status if there was one.
    fn collect(&mut self) -> Result<Option<i32>, ClusterError> {
        self.paused.clear();
        if self.postmaster.is_none() {
            return Ok(None);
        }
        let status = self.guard.reap()?;
        self.postmaster = None;
        Ok(Some(status))
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("data", &self.home.data).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.guard.finish() {
            return;
        }
        // Somebody killed the guard. Its pid may be reused by now, so make sure that it is the server's.
        if let Some(pid) = self.postmaster.filter(|&pid| process::works_in(pid, &self.home.data)) {
            let _ = process::signal("CONT", &self.paused);
            let _ = process::signal("QUIT", &[pid]);
            process::wait_until(STOP_LIMIT, || !process::alive(pid));
        }
        let _ = fs::remove_dir_all(&self.runtime);
    }
}

fn free_port() -> Result<u16, ClusterError> {
    let mut refused = None;
    for _ in 0..PORT_ATTEMPTS {
        // Every RandomState has keys of its own; std has no other randomness, and this needs no quality.
        let random = RandomState::new().build_hasher().finish();
        let port =
            PORTS.start + u16::try_from(random % u64::from(PORTS.end - PORTS.start)).expect("the range is of u16");
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => refused = Some(error),
        }
    }
    let refused = refused.expect("at least one port was tried");
    Err(ClusterError::os("find a free port on 127.0.0.1")(refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_that_dies_right_after_the_order_to_start_leaves_no_server() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let mut cluster = Cluster::builder(Programs::find().unwrap()).durable(false).data_dir(home).start().unwrap();
        cluster.stop(Mode::Fast).unwrap();
        let pid_file = cluster.home.data.join("postmaster.pid");
        let pid = || fs::read_to_string(&pid_file).ok()?.lines().next()?.parse::<u32>().ok();
        assert_eq!(pid(), None);
        cluster.guard.start_unheard(cluster.port).unwrap();
        assert!(process::wait_until(START_LIMIT, || pid().is_some()));
        let pid = pid().unwrap();
        drop(cluster);
        assert!(!process::alive(pid));
    }
}
