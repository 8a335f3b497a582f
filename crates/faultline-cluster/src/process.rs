//! Signals and the process table without unsafe code: the shell's own `kill`, and `/proc` or `ps`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::ClusterError;

/// How often a state that cannot be waited for is looked at again.
const POLL: Duration = Duration::from_millis(10);

/// One line of the process table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    parent: u32,
    state: char,
}

impl Process {
    /// A zombie has done all it will ever do; whether somebody collects its status is not our concern.
    pub(crate) fn alive(self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    pub(crate) fn stopped(self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

/// Sends a signal, named without SIG; processes that are gone already are no error.
pub(crate) fn signal(name: &str, pids: &[u32]) -> Result<(), ClusterError> {
    if pids.is_empty() {
        return Ok(());
    }
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    Command::new("/bin/sh")
        .args(["-c", "for pid; do kill -s \"$0\" \"$pid\"; done", name])
        .args(&pids)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map(drop)
        .map_err(ClusterError::os("run kill"))
}

/// The process, unless it is gone.
pub(crate) fn look(pid: u32) -> Option<Process> {
    if has_proc() {
        return read_stat(&format!("/proc/{pid}"));
    }
    ps(&["-p", &pid.to_string()]).ok()?.into_iter().next()
}

pub(crate) fn alive(pid: u32) -> bool {
    look(pid).is_some_and(Process::alive)
}

/// The direct children of a process; every process of a Postgres server is a child of its postmaster.
pub(crate) fn children(parent: u32) -> Result<Vec<u32>, ClusterError> {
    let all = table().map_err(ClusterError::os("read the process table"))?;
    Ok(all.into_iter().filter(|p| p.parent == parent && p.alive()).map(|p| p.pid).collect())
}

/// Whether `pid` is alive and works in the directory `data`, as a postmaster does.
pub(crate) fn works_in(pid: u32, data: &Path) -> bool {
    if !alive(pid) {
        return false;
    }
    if has_proc() {
        // Not readable means that it belongs to somebody else, and so it is not ours.
        return fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data);
    }
    let output = Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(&*data.to_string_lossy()))
}

/// Waits until `done` is true; false when it was not within `limit`.
pub(crate) fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if done() {
            return true;
        }
        if begun.elapsed() > limit {
            return false;
        }
        sleep(POLL);
    }
}

fn has_proc() -> bool {
    Path::new("/proc/self/stat").exists()
}

fn table() -> io::Result<Vec<Process>> {
    if !has_proc() {
        return ps(&["-A"]);
    }
    let processes = fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
    let numbered = processes.filter(|path| path.file_name().is_some_and(|n| n.as_encoded_bytes()[0].is_ascii_digit()));
    Ok(numbered.filter_map(|path: PathBuf| read_stat(&path.to_string_lossy())).collect())
}

/// Reads `pid (name) state parent …`; the name may hold anything, so the last parenthesis counts.
fn read_stat(dir: &str) -> Option<Process> {
    let text = fs::read_to_string(format!("{dir}/stat")).ok()?;
    let (head, tail) = text.rsplit_once(')')?;
    let mut fields = tail.split_ascii_whitespace();
    Some(Process {
        pid: head.split_once(' ')?.0.parse().ok()?,
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
    })
}

fn ps(which: &[&str]) -> io::Result<Vec<Process>> {
    let output = Command::new("ps").args(["-o", "pid=", "-o", "ppid=", "-o", "stat="]).args(which).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(parse_ps).collect())
}

fn parse_ps(line: &str) -> Option<Process> {
    let mut fields = line.split_ascii_whitespace();
    Some(Process {
        pid: fields.next()?.parse().ok()?,
        parent: fields.next()?.parse().ok()?,
        state: fields.next()?.chars().next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_child_is_not_alive_although_nobody_has_collected_it() {
        let mut child = Command::new("/bin/sh").args(["-c", "read x"]).stdin(Stdio::piped()).spawn().unwrap();
        let us = std::process::id();
        assert!(alive(child.id()));
        assert!(children(us).unwrap().contains(&child.id()));
        signal("KILL", &[child.id()]).unwrap();
        assert!(wait_until(Duration::from_secs(10), || !alive(child.id())));
        assert!(look(child.id()).is_some(), "it is a zombie");
        child.wait().unwrap();
        assert_eq!(look(child.id()), None);
    }

    #[test]
    fn a_line_of_ps_is_read_without_proc() {
        assert_eq!(parse_ps("  123     1 Ss+ "), Some(Process { pid: 123, parent: 1, state: 'S' }));
        assert_eq!(parse_ps(""), None);
    }
}
