//! The demonstration workers of `faultline dev`: processes of their own, started again when they die.

use crate::cli::{Global, LogFormat};
use crate::commands::health::ask;
use anyhow::{Context, Result};
use faultline::Metrics;
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio_util::sync::CancellationToken;

/// What running jobs have after the signal to stop.
const GRACE: &str = "5s";
/// What the worker has to stop in order: its grace, and telling the database.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Between a death and the next start, so that a worker that can't start does not keep the machine busy.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two looks at the worker's metrics.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(1);
/// Bytes of the worker's metrics at most.
const METRICS_BYTES: usize = 4 * 1024 * 1024;

/// How to start a worker.
pub(super) struct Demo {
    /// Its name in the log and in the metrics.
    name: &'static str,
    queues: String,
    program: PathBuf,
    url: String,
    log: Option<String>,
    json: bool,
}

impl Demo {
    /// One for these queues, as `faultline work --queue` takes them.
    pub(super) fn new(name: &'static str, queues: String, url: &str, global: &Global) -> Result<Self> {
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        Ok(Self {
            name,
            queues,
            program,
            url: url.to_owned(),
            log: global.log.clone(),
            json: global.log_format == LogFormat::Json,
        })
    }

    fn start(&self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(["work", "--demo", "--exit-with-parent", "--queue", &self.queues, "--grace", GRACE]);
        command.args(["--metrics", "127.0.0.1:0"]);
        command.args(["--log-format", if self.json { "json" } else { "text" }]);
        if let Some(log) = &self.log {
            command.args(["--log", log]);
        }
        // What is meant for a worker of the user's must not reach this one.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"FAULTLINE_")) {
            command.env_remove(name);
        }
        command.env("FAULTLINE_DATABASE_URL", &self.url);
        // A group of its own, where the terminal's Ctrl-C does not reach it: it is stopped in order, and once.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        command.spawn()
    }
}

/// Keeps a worker running until the stop, then lets it drain.
pub(super) async fn supervise(demo: Demo, metrics: Metrics, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match demo.start() {
            Ok(child) => run(demo.name, child, &metrics, &stop).await,
            Err(error) => tracing::error!(process = demo.name, "the demo worker does not start: {error}"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn run(name: &'static str, mut child: Child, metrics: &Metrics, stop: &CancellationToken) {
    let pid = child.id();
    // Held until it has ended, since its end stops the worker; `wait` would close it first.
    let stdin = child.stdin.take();
    let shown = child.stdout.take().map(|stdout| tokio::spawn(show(name, stdout, metrics.clone())));
    tracing::info!(process = name, pid, "the demo worker runs");
    tokio::select! {
        ended = child.wait() => {
            tracing::warn!(process = name, pid, "the demo worker has ended ({}); another one is started", describe(ended));
        }
        () = stop.cancelled() => drain(child).await,
    }
    drop(stdin);
    if let Some(shown) = shown {
        shown.abort();
        // It has ended when nothing can follow what is said here.
        let _ = shown.await;
        metrics.show_beside(name, None);
    }
}

/// Shows the worker's metrics with ours. It says where they are.
async fn show(name: &'static str, stdout: ChildStdout, metrics: Metrics) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Some(url) = line.strip_prefix("metrics ").and_then(|url| url.parse::<http::Uri>().ok()) else { continue };
        loop {
            // One that is dying has nothing to show.
            if let Ok(Ok((_, text))) = tokio::time::timeout(LOOK_LIMIT, ask(&url, METRICS_BYTES)).await {
                metrics.show_beside(name, Some(text));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

async fn drain(mut child: Child) {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        // One that has just ended needs no signal.
        let _ = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(STOP_LIMIT, child.wait()).await.is_err() {
        tracing::warn!("the demo worker does not stop and is killed");
        let _ = child.kill().await;
    }
}

fn describe(ended: std::io::Result<ExitStatus>) -> String {
    ended.map_or_else(|error| error.to_string(), |status| status.to_string())
}
