//! The worker processes of a measurement: started, listened to, and sent home.

use crate::duty::{Duty, End, Tick, Word};
use crate::error::{BenchError, Result};
use crate::ground::Room;
use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a process has to stop in order.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// A crew that has done nothing for so long does not get on.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// More processes than this start one after the other: a hundred that connect at once are a storm of their own.
const AT_ONCE: usize = 4;
const START_APART: Duration = Duration::from_millis(50);
/// Lines of a process's log that are kept for the case that it fails.
const LAST_LINES: usize = 5;

/// Worker processes.
pub(crate) struct Crew {
    members: Vec<Member>,
    ticks: Arc<Mutex<Vec<(usize, Tick)>>>,
    handled: watch::Receiver<Vec<u64>>,
}

struct Member {
    child: Child,
    stdin: Option<ChildStdin>,
    reading: JoinHandle<Option<End>>,
    complaining: JoinHandle<Vec<String>>,
}

/// What a crew has told when all have gone.
pub(crate) struct Told {
    /// Each process's last word.
    pub(crate) ends: Vec<End>,
    /// What each process has told, in order.
    pub(crate) ticks: Vec<(usize, Tick)>,
    /// How long the slowest took to stop.
    pub(crate) stop_s: f64,
}

impl Crew {
    /// Starts so many processes with the same duty; of many, one after the other.
    pub(crate) async fn start(program: &Path, room: &Room, duty: &Duty, count: usize) -> Result<Self> {
        let ticks = Arc::new(Mutex::new(Vec::new()));
        let (sender, handled) = watch::channel(vec![0; count]);
        let sender = Arc::new(sender);
        let text = serde_json::to_string(duty).map_err(|error| BenchError::Process(error.to_string()))?;
        let start = |number| {
            let mut command = program_with(program, &room.url);
            command.args(["bench-worker", "--duty", &text]);
            let mut child = command.spawn().map_err(BenchError::io(format!("start {}", program.display())))?;
            let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
            let stdout = stdout.ok_or_else(|| BenchError::Process("a worker has no output".into()))?;
            let reading = tokio::spawn(read(number, stdout, ticks.clone(), sender.clone()));
            let complaining = tokio::spawn(last_lines(child.stderr.take()));
            Ok::<_, BenchError>(Member { child, stdin, reading, complaining })
        };
        let mut members = Vec::with_capacity(count);
        for number in 0..count {
            if number >= AT_ONCE {
                tokio::time::sleep(START_APART).await;
            }
            members.push(start(number)?);
        }
        Ok(Self { members, ticks, handled })
    }

    /// The process ids.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.members.iter().filter_map(|member| member.child.id()).collect()
    }

    /// Waits until all together have handled so many jobs.
    pub(crate) async fn handled(&mut self, jobs: u64) -> Result<()> {
        loop {
            let sum = self.handled.borrow_and_update().iter().sum::<u64>();
            if sum >= jobs {
                return Ok(());
            }
            let moved = async {
                while self.handled.changed().await.is_ok() {
                    if self.handled.borrow().iter().sum::<u64>() > sum {
                        return true;
                    }
                }
                false
            };
            match tokio::time::timeout(STUCK_AFTER, moved).await {
                Ok(true) => {}
                Ok(false) => return Err(BenchError::Process(format!("the workers ended after {sum} of {jobs} jobs"))),
                Err(_) => {
                    let within = STUCK_AFTER.as_secs();
                    return Err(BenchError::Process(format!("no job ended for {within} s, after {sum} of {jobs}")));
                }
            }
        }
    }

    /// Lets them finish what they hold, and waits for their end.
    pub(crate) async fn dismiss(mut self) -> Result<Told> {
        let began = std::time::Instant::now();
        for member in &mut self.members {
            member.stdin = None;
        }
        let mut ends = Vec::new();
        for mut member in self.members {
            let status = tokio::time::timeout(STOP_LIMIT, member.child.wait()).await;
            let status = status.map_err(|_| BenchError::Process("a worker did not stop".into()))?;
            let status = status.map_err(BenchError::io("wait for a worker"))?;
            match member.reading.await.ok().flatten().filter(|_| status.success()) {
                Some(end) => ends.push(end),
                None => {
                    let said = member.complaining.await.unwrap_or_default().join("; ");
                    return Err(BenchError::Process(format!("a worker has failed, {status}: {said}")));
                }
            }
        }
        let stop_s = began.elapsed().as_secs_f64();
        let ticks = std::mem::take(&mut *self.ticks.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Told { ends, ticks, stop_s })
    }
}

/// The program on a database, with nothing inherited that would change how it works; it ends with us.
pub(crate) fn program_with(program: &Path, url: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"FAULTLINE_")) {
        command.env_remove(name);
    }
    command.env("FAULTLINE_DATABASE_URL", url).env("FAULTLINE_LOG", "warn");
    // A group of its own, where the terminal's Ctrl-C does not reach it.
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// What a process says before it fails.
async fn last_lines(stderr: Option<ChildStderr>) -> Vec<String> {
    let mut last = VecDeque::new();
    let Some(stderr) = stderr else { return Vec::new() };
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        last.truncate(LAST_LINES - 1);
        last.push_front(line);
    }
    last.into_iter().rev().collect()
}

async fn read(
    number: usize,
    stdout: ChildStdout,
    ticks: Arc<Mutex<Vec<(usize, Tick)>>>,
    handled: Arc<watch::Sender<Vec<u64>>>,
) -> Option<End> {
    let mut lines = BufReader::new(stdout).lines();
    let mut end = None;
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Word::Tick(tick)) => {
                ticks.lock().unwrap_or_else(PoisonError::into_inner).push((number, tick));
                handled.send_modify(|all| all[number] = tick.handled);
            }
            Ok(Word::End(told)) => end = Some(told),
            Err(_) => {}
        }
    }
    end
}
