//! A running command and its end.
//!
//! A group is signalled only while its leader, the command, is there at least as a zombie: as long as nobody has collected
//! its exit status, its process id - which is also the group's - can't belong to anybody else. So the end that we cause
//! looks at the status without collecting it, kills what is left of the group, and collects last.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio_util::task::TaskTracker;

/// How long a command has between SIGTERM and SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(5);
/// Between two looks at a command that was asked to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The process groups of the commands that run, to be killed when this process has to exit at once.
#[derive(Clone, Default)]
pub(crate) struct Groups {
    live: Arc<Mutex<HashSet<i32>>>,
}

impl Groups {
    /// Kills every group.
    pub(crate) fn kill_all(&self) {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        for group in live.iter().filter_map(|group| Pid::from_raw(*group)) {
            // One that has just ended needs no signal.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    fn change(&self, change: impl FnOnce(&mut HashSet<i32>)) {
        change(&mut self.live.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A command that runs. Dropped before [`Running::ended`], it is ended.
pub(super) struct Running {
    /// None once it is being ended, or has ended by itself.
    parts: Option<Parts>,
    group: Option<Pid>,
    groups: Groups,
    endings: TaskTracker,
}

/// The handles of a command.
pub(super) struct Parts {
    pub(super) child: Child,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
    /// Whether processes that the command started hold its outputs after its end.
    pub(super) held_open: bool,
}

impl Running {
    pub(super) fn new(mut child: Child, groups: Groups, endings: TaskTracker) -> Self {
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            groups.change(|live| _ = live.insert(group.as_raw_nonzero().get()));
        }
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let parts = Some(Parts { child, stdin, stdout, stderr, held_open: false });
        Self { parts, group, groups, endings }
    }

    pub(super) fn parts(&mut self) -> &mut Parts {
        self.parts.as_mut().expect("taken only by `ended` and `drop`")
    }

    /// The command has ended and its status was collected.
    pub(super) fn ended(mut self) {
        let held_open = self.parts.take().is_some_and(|parts| parts.held_open);
        if let Some(group) = self.group {
            if held_open {
                // They hold its outputs, so the group is there and is still this one.
                let _ = kill_process_group(group, Signal::KILL);
            }
            self.groups.change(|live| _ = live.remove(&group.as_raw_nonzero().get()));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let (Some(parts), Some(group)) = (self.parts.take(), self.group) {
            let groups = self.groups.clone();
            self.endings.spawn(async move {
                end(parts, group).await;
                groups.change(|live| _ = live.remove(&group.as_raw_nonzero().get()));
            });
        }
    }
}

/// SIGTERM to the group; SIGKILL once the command and all that hold its outputs are gone, or the grace is over.
async fn end(mut parts: Parts, group: Pid) {
    let _ = kill_process_group(group, Signal::TERM);
    parts.stdin = None;
    // Still read, so that last words don't end in a closed pipe.
    let outputs = async { tokio::join!(discard(&mut parts.stdout), discard(&mut parts.stderr)) };
    let until = Instant::now() + TERM_GRACE;
    let gone = async {
        while !has_ended(group) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let _ = tokio::time::timeout_at(until.into(), async { tokio::join!(outputs, gone) }).await;
    let _ = kill_process_group(group, Signal::KILL);
    let _ = parts.child.wait().await;
}

/// Whether the command has ended; its status is left for `wait`.
fn has_ended(group: Pid) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    // An error means that there is no such child any more.
    waitid(WaitId::Pid(group), look).map_or(true, |status| status.is_some())
}

async fn discard(stream: &mut Option<impl AsyncRead + Unpin>) {
    let Some(stream) = stream else { return };
    let mut chunk = vec![0; 4096];
    while let Ok(1..) = stream.read(&mut chunk).await {}
}
