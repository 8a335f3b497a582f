//! The drill that the dashboard of `faultline dev` runs: a process of its own, which starts a cluster of its own.
//!
//! One at a time. It is ended with this program: told to stop, or, if this is killed, by the end of its standard input.

use anyhow::{Context, Result};
use faultline_server::{DrillRun, DrillRunner};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The drill.
const NAME: &str = "kill-worker";
/// Lines that it may tell; it tells about thirty.
const MAX_LINES: usize = 200;
/// Reports of it that are kept, with their evidence: 4 MB each.
const KEPT: usize = 20;
/// What it has to stop in order.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Runs the drill for the dashboard.
#[derive(Debug, Clone)]
pub(super) struct Runner {
    program: PathBuf,
    reports: PathBuf,
    /// The one that is under way, or the last.
    run: Arc<Mutex<Option<DrillRun>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Runner {
    /// Keeps the reports in `reports`; runs nothing more after the stop.
    pub(super) fn new(reports: PathBuf, stop: CancellationToken) -> Result<Self> {
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        Ok(Self { program, reports, run: Arc::default(), stop, tasks: TaskTracker::new() })
    }

    /// Where the reports are.
    pub(super) fn reports(&self) -> &Path {
        &self.reports
    }

    /// Waits until what runs has ended, after the stop.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn state(&self) -> MutexGuard<'_, Option<DrillRun>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, seed: i64) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(["drill", "run", NAME, "--exit-with-parent", "--seed", &seed.to_string(), "--report"]);
        command.arg(&self.reports);
        // What is meant for this program must not reach it, but for where Postgres is.
        let ours = |name: &std::ffi::OsString| {
            name.as_encoded_bytes().starts_with(b"FAULTLINE_") && name != "FAULTLINE_PG_BIN"
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        // A group of its own, where the terminal's Ctrl-C does not reach it: it is stopped in order, and once.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn()
    }

    async fn follow(self, mut child: Child, seed: i64) {
        // Held until it has ended, since its end stops the drill; `wait` would close it first.
        let stdin = child.stdin.take();
        let told = child.stderr.take().map(|stderr| tokio::spawn(self.clone().listen(stderr)));
        let ended = tokio::select! {
            ended = child.wait() => ended,
            () = self.stop.cancelled() => end(&mut child).await,
        };
        drop(stdin);
        if let Some(told) = told {
            // Whatever held its standard error open as well is not waited for.
            let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
        }
        let ended = match ended {
            Ok(status) if status.success() => Ok(format!("{NAME}-{seed}")),
            Ok(status) => Err(format!("it ended with {status}; what it told last is below")),
            Err(error) => Err(format!("nobody knows how it ended: {error}")),
        };
        if let Some(run) = &mut *self.state() {
            run.ended = Some(ended);
        }
    }

    async fn listen(self, stderr: ChildStderr) {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(run) = &mut *self.state()
                && run.lines.len() < MAX_LINES
            {
                run.lines.push(line.into());
            }
        }
    }
}

impl DrillRunner for Runner {
    fn start(&self) -> Result<(), String> {
        let mut state = self.state();
        if state.as_ref().is_some_and(|run| run.ended.is_none()) {
            return Err("One is under way. It takes about half a minute.".to_owned());
        }
        if self.stop.is_cancelled() {
            return Err("This program is being stopped.".to_owned());
        }
        forget_old(&self.reports);
        let began = Timestamp::now();
        let seed = began.as_second();
        let child = self.spawn(seed).map_err(|error| format!("Its process does not start: {error}."))?;
        tracing::info!(pid = child.id(), "the drill {NAME} runs");
        *state = Some(DrillRun { began, lines: Vec::new(), ended: None });
        self.tasks.spawn(self.clone().follow(child, seed));
        Ok(())
    }

    fn run(&self) -> Option<DrillRun> {
        self.state().clone()
    }
}

async fn end(child: &mut Child) -> std::io::Result<std::process::ExitStatus> {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        // One that has just ended needs no signal.
        let _ = kill_process(pid, Signal::TERM);
    }
    match tokio::time::timeout(STOP_LIMIT, child.wait()).await {
        Ok(ended) => ended,
        Err(_) => {
            tracing::warn!("the drill does not stop and is killed");
            child.kill().await?;
            child.wait().await
        }
    }
}

/// Removes the oldest reports. Their names end with the second in which they began, so that the names' order is theirs.
fn forget_old(reports: &Path) {
    let entries = std::fs::read_dir(reports).into_iter().flatten().flatten();
    let is_ours =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(NAME.as_bytes()));
    let mut dirs: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_ours).collect();
    dirs.sort_unstable();
    for old in dirs.iter().rev().skip(KEPT - 1) {
        if let Err(error) = std::fs::remove_dir_all(old) {
            tracing::warn!("an old report stays: {error}");
        }
    }
}
