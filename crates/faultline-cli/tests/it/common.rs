//! Running the program and looking at what it does. Waits are for conditions, with a deadline; never for a time.

use faultline_cluster::testing::{self, TestDatabase};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What every wait ends at. Far beyond what is needed, for machines that are busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What a run of the program gave.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    /// The answer of a run that must have gone well.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let answer = self.ok();
        serde_json::from_str(&answer.out).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    /// The error of a run that must have failed with one line and this code.
    #[track_caller]
    pub(crate) fn error(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.starts_with("error: ") && self.err.trim_end().lines().count() == 1, "{self:?}");
        self.err.trim_end().to_owned()
    }
}

/// The program, without any configuration of whoever runs the tests.
pub(crate) fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faultline"));
    let inherited = std::env::vars_os().map(|(name, _)| name);
    let is_ours = |name: &[u8]| [&b"FAULTLINE_"[..], b"OTEL_", b"TRACE"].iter().any(|prefix| name.starts_with(prefix));
    for name in inherited.filter(|name| is_ours(name.as_encoded_bytes()) && name != "FAULTLINE_PG_BIN") {
        command.env_remove(name);
    }
    command.env_remove("DATABASE_URL").env("USER", "tester").args(args).stdin(Stdio::null());
    command
}

pub(crate) fn run(command: &mut Command) -> Answer {
    let output = command.output().expect("the program starts");
    Answer {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// A database with the schema.
pub(crate) fn database() -> TestDatabase {
    testing::database(migrate)
}

/// A database with nothing in it.
pub(crate) fn empty_database() -> TestDatabase {
    testing::database(|_| ())
}

fn migrate(url: &str) {
    run(program(&["migrate"]).env("DATABASE_URL", url)).ok();
}

/// Runs a command against a database.
pub(crate) fn faultline(database: &TestDatabase, args: &[&str]) -> Answer {
    run(program(args).env("DATABASE_URL", database.url()))
}

/// The same with an input.
pub(crate) fn faultline_with_input(database: &TestDatabase, args: &[&str], input: &str) -> Answer {
    let mut command = program(args);
    command.env("DATABASE_URL", database.url()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads its input");
    let output = child.wait_with_output().expect("it ends");
    Answer {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// Enqueues a job; answers its id.
#[track_caller]
pub(crate) fn enqueue(database: &TestDatabase, args: &[&str]) -> String {
    let answer = faultline(database, &[&["job", "enqueue", "-o", "json"], args].concat()).json();
    answer["id"].as_str().expect("an id").to_owned()
}

#[track_caller]
pub(crate) fn job(database: &TestDatabase, id: &str) -> Value {
    faultline(database, &["job", "get", id, "-o", "json"]).json()
}

/// The job once it has ended.
#[track_caller]
pub(crate) fn ended(database: &TestDatabase, id: &str) -> Value {
    let job = faultline(database, &["job", "get", id, "--wait", "60s", "-o", "json"]).json();
    assert!(job["finished_at"].is_string(), "{job}");
    job
}

/// Waits until a condition holds; answers what it found.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process runs: it is there, and not merely a zombie that nobody has collected.
pub(crate) fn alive(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

#[track_caller]
pub(crate) fn until_gone(pid: i32) {
    until(&format!("process {pid} to end"), || (!alive(pid)).then_some(()));
}

/// The process ids that a handler wrote into a file, one a line, once there are as many as asked for.
#[track_caller]
pub(crate) fn pids(file: &std::path::Path, count: usize) -> Vec<i32> {
    until("process ids in a file", || {
        let text = std::fs::read_to_string(file).ok()?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let pids: Vec<i32> = whole.lines().filter_map(|line| line.parse().ok()).collect();
        (pids.len() >= count).then_some(pids)
    })
}

/// The program running in the background; killed on drop.
pub(crate) struct Background {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Background {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let (sender, lines) = channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                let mut line = Vec::new();
                while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                    let _ = sender.send(String::from_utf8_lossy(&line).trim_end().to_owned());
                    line.clear();
                }
            });
        }
        Self { child, lines, seen: Vec::new() }
    }

    /// A worker on a database, ready.
    pub(crate) fn worker(database: &TestDatabase, args: &[&str]) -> Self {
        let mut worker = Self::start(program(&[&["work"], args].concat()).env("DATABASE_URL", database.url()));
        worker.line("the worker has started");
        worker
    }

    /// Waits for a line that holds a text.
    #[track_caller]
    pub(crate) fn line(&mut self, text: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        let end = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no line with {text:?} in time: {:#?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => panic!("it ended without {text:?}: {:#?}", self.seen),
            }
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).expect("not 0"), signal).expect("it is there");
    }

    /// Waits for its end; answers the exit code, or 128 + the signal.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> i32 {
        let status = until("the program to end", || self.child.try_wait().expect("it is ours"));
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
    }

    /// Lets it stop in order.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Everything that it has printed so far.
    pub(crate) fn printed(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP exchange; answers the status and the body.
pub(crate) fn http(address: &str, request: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time");
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n"
    );
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}
