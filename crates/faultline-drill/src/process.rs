//! Real processes of the program under the supervisor's care.
//!
//! Each ends with the supervisor, however that goes: in order by [`Process::end`]; by `kill_on_drop` when the run is dropped;
//! and when the supervisor is killed, the process reads the end of its standard input and stops. One that was stopped by SIGSTOP is
//! woken by the kernel, because its process group becomes orphaned.

use crate::DrillError;
use crate::logs;
use crate::proxy::Proxy;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

/// What a process has to stop in order.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// What a process has to get ready.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How to start processes.
pub(crate) struct Launcher {
    pub(crate) program: PathBuf,
    pub(crate) url: String,
    /// Of every other process, in the order of their numbers.
    pub(crate) other_url: String,
    pub(crate) dir: PathBuf,
    pub(crate) lease_ttl: Duration,
    /// The port of Postgres, where processes reach it through a proxy each.
    pub(crate) proxied: Option<u16>,
    /// The library that moves the clocks of processes; each reads its own from a file.
    pub(crate) clocks: Option<PathBuf>,
    /// The program that runs the drill; `program` is the one that is started next.
    pub(crate) newest: PathBuf,
    /// The older version, where two work on one schema.
    pub(crate) other: Option<PathBuf>,
    /// What the proxies' bad weather is computed from.
    pub(crate) seed: u64,
}

/// A running process.
pub(crate) struct Process {
    pub(crate) name: String,
    /// Its way to the database, where that can be broken.
    pub(crate) link: Option<Proxy>,
    child: Child,
    /// Its process id, also when it has ended.
    last_pid: Option<i32>,
    /// Held open: its end stops the process.
    _stdin: Option<ChildStdin>,
}

impl Launcher {
    /// Starts a worker; it is ready when it has registered.
    pub(crate) fn worker(&self, name: &str) -> Result<Process, DrillError> {
        let (mut command, link) = self.command(name)?;
        command.args(["drill-worker", "--process", name, "--dir"]).arg(&self.dir);
        command.stdout(Stdio::null());
        self.spawn(name, command, link)
    }

    /// Starts the API; answers where it listens.
    pub(crate) async fn api(&self, name: &str, port: u16) -> Result<(Process, SocketAddr), DrillError> {
        let (mut command, link) = self.command(name)?;
        let ttl = self.ttl();
        command.args(["serve", "--exit-with-parent", "--lease-ttl", &ttl, "--port", &port.to_string()]);
        command.stdout(Stdio::piped());
        let mut process = self.spawn(name, command, link)?;
        let stdout = process.child.stdout.take().ok_or_else(|| DrillError::Process("the API has no output".into()))?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(START_LIMIT, lines.next_line()).await.ok().and_then(Result::ok).flatten();
        let address = line.as_deref().and_then(|line| line.strip_prefix("ready http://")).and_then(|a| a.parse().ok());
        let log = self.log(name);
        let address =
            address.ok_or_else(|| DrillError::Process(format!("the API did not start: see {}", log.display())))?;
        Ok((process, address))
    }

    fn ttl(&self) -> String {
        format!("{}ms", self.lease_ttl.as_millis())
    }

    fn clock(&self, name: &str) -> PathBuf {
        self.dir.join(format!("clock-{name}"))
    }

    /// Sets the clock of a process, as libfaketime reads it: `+3600` is an hour ahead, `+0 x1.1` gains a tenth.
    pub(crate) fn set_clock(&self, name: &str, to: &str) -> Result<(), DrillError> {
        let (clock, new) = (self.clock(name), self.clock(&format!("{name}.new")));
        // At once: it is read while it is written.
        std::fs::write(&new, to).and_then(|()| std::fs::rename(&new, &clock)).map_err(DrillError::io("set a clock"))
    }

    /// Applies the migrations with the program.
    pub(crate) async fn migrate(&self) -> Result<(), DrillError> {
        let mut command = self.command("migrate")?.0;
        let status = command.arg("migrate").stdin(Stdio::null()).stdout(Stdio::null()).status().await;
        let status = status.map_err(DrillError::io("run the migrations"))?;
        let failed = || DrillError::Process("the migrations failed: see logs/migrate.jsonl".into());
        if status.success() { Ok(()) } else { Err(failed()) }
    }

    /// What the process logs.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.jsonl"))
    }

    /// Where a process finds the database.
    fn way(&self, name: &str) -> Result<(String, Option<Proxy>), DrillError> {
        let Some(port) = self.proxied else {
            let is_odd = name.ends_with(['1', '3', '5', '7', '9']);
            return Ok((if is_odd { self.other_url.clone() } else { self.url.clone() }, None));
        };
        let proxy = Proxy::start((Ipv4Addr::LOCALHOST, port).into(), self.seed)?;
        let url = self.url.replacen(&format!(":{port}/"), &format!(":{}/", proxy.port()), 1);
        Ok((url, Some(proxy)))
    }

    fn command(&self, name: &str) -> Result<(Command, Option<Proxy>), DrillError> {
        let (url, link) = self.way(name)?;
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"FAULTLINE_")) {
            command.env_remove(name);
        }
        let log = File::create(self.log(name)).map_err(DrillError::io("create a log"))?;
        #[cfg(feature = "mutants")]
        command.envs(std::env::vars_os().filter(|(name, _)| name == "FAULTLINE_MUTANT"));
        command.env("FAULTLINE_DATABASE_URL", url).env("FAULTLINE_LOG_FORMAT", "json");
        command.env("FAULTLINE_LOG", logs::LEVELS);
        if let Some(library) = &self.clocks {
            self.set_clock(name, "+0")?;
            // Durations stay true, as they do on a machine whose clock is set.
            command.env("LD_PRELOAD", library).env("DONT_FAKE_MONOTONIC", "1").env("FAKETIME_NO_CACHE", "1");
            command.env("FAKETIME_TIMESTAMP_FILE", self.clock(name));
        }
        // A group of its own, where the terminal's Ctrl-C does not reach it.
        command.process_group(0).stdin(Stdio::piped()).stderr(log).kill_on_drop(true);
        Ok((command, link))
    }

    fn spawn(&self, name: &str, mut command: Command, link: Option<Proxy>) -> Result<Process, DrillError> {
        let started = command.spawn().map_err(DrillError::io(format!("start {}", self.program.display())));
        let mut child = started?;
        let stdin = child.stdin.take();
        let last_pid = child.id().and_then(|id| i32::try_from(id).ok());
        Ok(Process { name: name.to_owned(), link, child, last_pid, _stdin: stdin })
    }
}

impl Process {
    /// Its process id; none once it has ended.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.child.id().and_then(|id| i32::try_from(id).ok())
    }

    /// The process id that it has or had.
    pub(crate) fn last_pid(&self) -> Option<i32> {
        self.last_pid
    }

    /// Sends a signal; one that has ended needs none.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether it has ended.
    pub(crate) fn ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits for its end; false if it runs on past the limit.
    pub(crate) async fn wait(&mut self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.child.wait()).await.is_ok()
    }

    /// Lets it stop in order, and kills it if it does not.
    pub(crate) async fn end(mut self) {
        self.signal(Signal::CONT);
        self.signal(Signal::TERM);
        if !self.wait(STOP_LIMIT).await {
            let _ = self.child.kill().await;
        }
    }
}
