//! The guard: a shell that stops the server when its owner is gone, however the owner went.
//!
//! `Drop` does not run after `SIGKILL`, nor for statics at the end of a process, and a destructor that was never reached
//! would leave a postmaster and its directory behind. The kernel, though, closes the pipes of every process that ends.
//! So the owner starts a small shell script (`guard.sh`) in a process group of its own, where the terminal's Ctrl-C does not
//! reach it, and gives it orders through a pipe. At the end of that pipe the guard stops the postmaster, fast, after 10 s
//! immediately, after 17 s by `SIGKILL`, and removes the temporary directory. `Drop` merely closes the pipe and waits: stopping
//! in an orderly way and dying take the same path.
//!
//! What if somebody dies in between?
//! - **The owner, before the guard runs**: an empty temporary directory stays. Nothing runs.
//! - **The owner, during `initdb`**: the guard runs `initdb`, so it finishes that, then finds the end of the pipe. A persistent
//!   directory was not renamed yet and is removed by the next start.
//! - **The owner, while another cluster is copied**: the other's guard stops that one, and the copy fails with it.
//! - **The owner, right after the order to start**: the guard itself forks the postmaster and has its pid before it reads on.
//!   No moment exists in which a server runs that nobody would stop.
//! - **The owner, while the server is paused**: the guard was told first whom to continue.
//! - **The postmaster, by itself or killed by a drill**: it stays the guard's zombie, so its pid cannot be reused, until the
//!   owner orders `reap`, which tells the exit status too, or the end comes.
//! - **The guard**: orders fail with an error. `Drop` then stops the server itself, immediately.
//! - **The owner and its guard**, each by `SIGKILL`: the server stays. The next start on its data is refused and tells its pid.
//! - **All at once** (the host): the data is as durable as its settings, the next start recovers it.
//!
//! The postmaster is the guard's child and no other process stands between them. The pipe's end is closed on exec in all our
//! children, and a server's standard streams are the log, so nobody else keeps the pipe open.

use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::ClusterError;
use crate::account::Account;
use crate::disks::Sizes;
use crate::home::Home;
use crate::programs::Programs;

const SCRIPT: &str = include_str!("guard.sh");

/// Settings that every server runs with; the builder's come later and win.
const SETTINGS: [&str; 3] = ["listen_addresses=127.0.0.1", "timezone=UTC", "log_timezone=UTC"];

pub(crate) struct Guard {
    shell: Child,
    /// `None` only while dropping: closing it is the order to clean up.
    orders: Option<ChildStdin>,
    answers: BufReader<PipeReader>,
}

impl Guard {
    /// Starts the guard; it removes `runtime` at the end. `settings` are `name=value`.
    pub(crate) fn spawn(
        programs: &Programs,
        home: &Home,
        runtime: &Path,
        account: Option<&Account>,
        settings: &[String],
        disks: Option<Sizes>,
    ) -> Result<Self, ClusterError> {
        let mut command = match (disks, account) {
            (Some(disks), Some(account)) => {
                let mut command = disks.wrapper(runtime, account)?;
                command.arg("/bin/sh");
                command
            }
            (Some(_), None) => return Err(ClusterError::NotNow("not root's, and only root has small disks")),
            (None, _) => Command::new("/bin/sh"),
        };
        command.args(["-c", SCRIPT, "faultline-guard"]).arg(runtime).arg(&home.data).arg(&home.fresh);
        command.arg(programs.program("initdb"));
        command.arg(programs.program("postgres")).arg("-D").arg(&home.data).arg("-k").arg(runtime);
        for setting in SETTINGS.iter().copied().chain(settings.iter().map(String::as_str)) {
            command.args(["-c", setting]);
        }
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        // On macOS the server refuses to start without a locale; the databases have their own.
        command.env("LC_ALL", "C").current_dir("/").process_group(0);
        let (answers, stdout) = std::io::pipe().map_err(ClusterError::os("make a pipe"))?;
        command.stdin(Stdio::piped()).stdout(stdout).stderr(home.open_log()?);
        if let Some(account) = account.filter(|_| disks.is_none()) {
            account.apply(&mut command);
        }
        let mut shell = command.spawn().map_err(ClusterError::os("start /bin/sh"))?;
        let orders = shell.stdin.take();
        Ok(Guard { shell, orders, answers: BufReader::new(answers) })
    }

    /// Runs `initdb` with more options; answers its exit status.
    pub(crate) fn initialise(&mut self, options: &str) -> Result<i32, ClusterError> {
        self.order(&format!("init {options}"))?;
        self.answer()
    }

    /// Runs `pg_basebackup` with these options; answers its exit status.
    pub(crate) fn copy(&mut self, options: &str) -> Result<i32, ClusterError> {
        self.order(&format!("copy {options}"))?;
        self.answer()
    }

    /// Starts the postmaster; answers its pid.
    pub(crate) fn start(&mut self, port: u16) -> Result<u32, ClusterError> {
        self.order(&format!("start {port}"))?;
        self.answer()
    }

    /// Collects the postmaster, waiting for its end; answers the exit status, 128 + n for the signal n.
    pub(crate) fn reap(&mut self) -> Result<i32, ClusterError> {
        self.order("reap")?;
        self.answer()
    }

    /// Tells which processes to continue before they can be stopped for good; none once they run again.
    pub(crate) fn note_paused(&mut self, pids: &[u32]) -> Result<(), ClusterError> {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        self.order(&format!("paused {}", pids.join(" ")))
    }

    fn order(&mut self, order: &str) -> Result<(), ClusterError> {
        let orders = self.orders.as_mut().expect("the pipe is closed in drop only");
        writeln!(orders, "{order}").map_err(ClusterError::os("give an order to the cluster's guard"))
    }

    fn answer<T: std::str::FromStr>(&mut self) -> Result<T, ClusterError> {
        let mut line = String::new();
        let answered = self.answers.read_line(&mut line).and_then(|_| {
            let unclear = |_| io::Error::other(format!("it said {:?}", line.trim_end()));
            line.trim_end().parse().map_err(unclear)
        });
        answered.map_err(ClusterError::os("hear from the cluster's guard"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.shell.id()
    }

    /// Lets the guard stop the server and remove what it has to; false if the guard was killed and did neither.
    pub(crate) fn finish(&mut self) -> bool {
        self.orders = None;
        self.shell.wait().is_ok_and(|status| status.code().is_some())
    }

    /// Orders a start whose answer nobody will ever read, as an owner that is killed at this moment does.
    #[cfg(test)]
    pub(crate) fn start_unheard(&mut self, port: u16) -> Result<(), ClusterError> {
        let (unheard, _) = std::io::pipe().map_err(ClusterError::os("make a pipe"))?;
        self.answers = BufReader::new(unheard);
        self.order(&format!("start {port}"))
    }
}
