//! Runs a job by a command: payload on standard input, facts in `FAULTLINE_*` variables, standard output is the result,
//! the exit code decides.
//!
//! | exit | means |
//! |---|---|
//! | 0 | succeeded; the standard output is the result: JSON, or else a JSON string of the text, 1 MiB at most |
//! | 75 | try again later (`EX_TEMPFAIL` of sysexits.h): a failed attempt like others, but a standard output such as `30s` is the delay before the next one |
//! | any other, a signal | a failed attempt; the last 8 KiB of standard error are the error |
//!
//! The command is a direct child of this process, in a process group of its own. When the attempt is over from outside - its
//! lease is lost, the job is cancelled or timed out, the worker's grace has ended - the worker drops the future of
//! [`Exec::run`], and [`child::Running`] sees to the group: SIGTERM, and SIGKILL after 5 s. [`Exec::wait`] waits for
//! that at the end. If this process is killed itself, nobody does: a command then runs on until it ends or
//! writes to its closed pipes, which is safe, since nothing it says counts any more.

mod child;
mod program;
mod streams;

pub(crate) use child::Groups;
pub(crate) use program::Program;

use crate::attempt::{Facts, Outcome, TRACE_VARIABLES, VARIABLES, result_of};
use child::Running;
use faultline_core::durations;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use streams::{Head, Tail};
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};
use tokio_util::task::TaskTracker;

/// `EX_TEMPFAIL` of sysexits.h.
const TRY_LATER: i32 = 75;
/// How long a command's outputs may stay open after its end, held by processes that it left behind.
const LINGER: Duration = Duration::from_secs(1);

/// Runs jobs by a command. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Exec {
    program: Program,
    groups: Groups,
    endings: TaskTracker,
}

impl Exec {
    pub(crate) fn new(program: Program, groups: Groups) -> Self {
        Self { program, groups, endings: TaskTracker::new() }
    }

    /// Runs the command for one attempt. Dropping the future ends the command.
    pub(crate) async fn run(&self, facts: &Facts, payload: &str) -> Outcome {
        let mut running = match self.start(facts) {
            Ok(running) => running,
            Err(error) => return Outcome::Failed(format!("cannot start {}: {error}", self.program)),
        };
        let (mut output, mut errors) = (Head::default(), Tail::default());
        let parts = running.parts();
        let status = {
            let stdin = parts.stdin.take();
            let streams = async {
                let errors = errors.read(&mut parts.stderr, tokio::io::stderr());
                tokio::join!(feed(stdin, payload), output.read(&mut parts.stdout), errors);
            };
            tokio::pin!(streams);
            let mut open = true;
            loop {
                tokio::select! {
                    status = parts.child.wait() => {
                        // What it left behind may hold the streams for ever; its own output is in them by now.
                        if open && tokio::time::timeout(LINGER, &mut streams).await.is_err() {
                            parts.held_open = true;
                        }
                        break status;
                    }
                    () = &mut streams, if open => open = false,
                }
            }
        };
        running.ended();
        match status {
            Ok(status) => outcome(status, &output, &errors),
            Err(error) => Outcome::Failed(format!("cannot wait for {}: {error}", self.program)),
        }
    }

    /// Waits until every command whose attempt is over has ended.
    pub(crate) async fn wait(&self) {
        self.endings.close();
        self.endings.wait().await;
    }

    fn start(&self, facts: &Facts) -> std::io::Result<Running> {
        let mut command = Command::new(self.program.path());
        command.args(self.program.arguments()).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A worker inside of a handler must not hand on the facts of the outer job.
        let trace = TRACE_VARIABLES.into_iter().zip(facts.trace_values());
        for (name, value) in VARIABLES.into_iter().zip(facts.values()).chain(trace) {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Ok(Running::new(command.spawn()?, self.groups.clone(), self.endings.clone()))
    }
}

/// Writes the payload and closes the pipe. A command that does not read it is no error.
async fn feed(stdin: Option<ChildStdin>, payload: &str) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(payload.as_bytes()).await;
    }
}

fn outcome(status: ExitStatus, output: &Head, errors: &Tail) -> Outcome {
    let result = || result_of(output.kept(), output.total_bytes());
    match (status.code(), status.signal()) {
        (Some(0), _) => Outcome::Succeeded(result()),
        (Some(TRY_LATER), _) => {
            let error = errors.after("it asked to be tried again later (exit code 75)");
            let delay = std::str::from_utf8(output.kept()).ok().and_then(|text| durations::parse(text.trim()).ok());
            delay.map_or_else(|| Outcome::Failed(error.clone()), |delay| Outcome::RetryIn(delay, error.clone()))
        }
        (Some(code), _) => Outcome::Failed(errors.after(&format!("exit code {code}"))),
        (None, signal) => Outcome::Failed(errors.after(&format!("killed by signal {}", signal.unwrap_or_default()))),
    }
}
