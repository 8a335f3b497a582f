//! `faultline dev`: from nothing to a job that ran, again after a restart, and nothing left behind.

use crate::common::{Background, alive, http, program, run, until, until_gone};
use rustix::process::Signal;
use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;

struct Dev {
    program: Background,
    address: String,
    url: String,
}

impl Dev {
    #[track_caller]
    fn start(dir: &Path) -> Self {
        let mut program = Background::start(
            program(&["dev", "--no-demo-load", "--port", "0", "--data-dir"]).arg(dir).env("FAULTLINE_EXEC", "false"),
        );
        let address = program.line("ready http://").trim_start_matches("ready http://").to_owned();
        let url = program.line("psql postgres://").trim().trim_start_matches("psql ").to_owned();
        Self { program, address, url }
    }

    #[track_caller]
    fn enqueue(&self, job: &str) -> String {
        let (status, body) = http(&self.address, "POST /v1/jobs", job);
        assert_eq!(status, 201, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn ended(&self, id: &str) -> Value {
        until("the job to end", || {
            let (status, body) = http(&self.address, &format!("GET /v1/jobs/{id}?wait=10s"), "");
            assert_eq!(status, 200, "{body}");
            let job: Value = serde_json::from_str(&body).unwrap();
            job["finished_at"].is_string().then_some(job)
        })
    }

    /// The processes below this one, postmaster and guard and worker among them.
    fn processes(&self) -> Vec<i32> {
        fn below(pid: i32, found: &mut Vec<i32>) {
            let children = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            for thread in children {
                let text = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
                for child in text.split_whitespace().filter_map(|pid| pid.parse().ok()) {
                    found.push(child);
                    below(child, found);
                }
            }
        }
        let mut found = Vec::new();
        below(self.program.pid(), &mut found);
        found
    }
}

#[test]
fn a_job_runs_the_data_survives_a_restart_and_nothing_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(dir.path());
    let id = dev.enqueue("{\"kind\":\"demo.echo\",\"payload\":{\"hello\":\"world\"}}");
    let job = dev.ended(&id);
    assert_eq!((&job["state"], &job["result"]), (&"succeeded".into(), &serde_json::json!({"hello": "world"})));
    let processes = dev.processes();
    assert!(processes.len() > 4, "{processes:?}");
    dev.program.signal(Signal::INT);
    assert_eq!(dev.program.wait(), 0, "{}", dev.program.printed());
    assert!(processes.iter().all(|pid| !alive(*pid)), "all have ended before dev has");

    let mut again = Dev::start(dir.path());
    assert_eq!(again.ended(&id)["state"], "succeeded");
    assert!(again.program.printed().contains("0 migrations applied just now"));
    let waiting = again.enqueue("{\"kind\":\"demo.sleep\",\"payload\":{\"ms\":1}}");
    assert_eq!(again.ended(&waiting)["state"], "succeeded");
    assert_eq!(again.program.stop(), 0);
}

#[test]
fn a_worker_that_crashes_is_replaced_and_so_is_a_postmaster_that_dies() {
    let dir = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(dir.path());
    let crash = dev.enqueue("{\"kind\":\"demo.crash\"}");
    dev.program.line("another one is started");
    let job = dev.ended(&crash);
    assert_eq!((&job["state"], &job["attempts"]), (&"succeeded".into(), &2.into()), "{job}");
    let postmaster = until("the postmaster's id", || {
        let file = std::fs::read_to_string(dir.path().join("postgres/postmaster.pid")).ok()?;
        file.lines().next()?.trim().parse::<i32>().ok()
    });
    rustix::process::kill_process(rustix::process::Pid::from_raw(postmaster).unwrap(), Signal::KILL).unwrap();
    dev.program.line("postgres runs again");
    let echo = until("jobs to be accepted again", || {
        let (status, body) = http(&dev.address, "POST /v1/jobs", "{\"kind\":\"demo.echo\"}");
        (status == 201).then(|| serde_json::from_str::<Value>(&body).unwrap()["id"].as_str().unwrap().to_owned())
    });
    assert_eq!(dev.ended(&echo)["state"], "succeeded");
    assert_eq!(dev.program.stop(), 0);
}

#[test]
fn when_it_is_killed_nothing_stays_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(dir.path());
    let processes = dev.processes();
    dev.program.signal(Signal::KILL);
    assert_eq!(dev.program.wait(), 128 + 9);
    processes.iter().for_each(|pid| until_gone(*pid));
}

#[test]
fn the_program_shows_a_job_as_the_api_does() {
    let dir = tempfile::tempdir().unwrap();
    let dev = Dev::start(dir.path());
    let id =
        dev.enqueue("{\"kind\":\"demo.fail\",\"payload\":{\"times\":1},\"key\":\"k\",\"backoff\":{\"base\":\"10ms\"}}");
    let from_api = dev.ended(&id);
    let from_program = run(program(&["job", "get", &id, "-o", "json"]).env("DATABASE_URL", &dev.url)).json();
    assert_eq!(from_program, from_api);
}

#[test]
fn what_is_in_the_way_is_said_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let new = dir.path().join("new");
    let dev = |args: &[&str]| run(program(&[&["dev"], args].concat()).arg("--data-dir").arg(&new));
    let api = dev(&["--port", &port]).error(1);
    assert!(api.contains(&format!("port {port} on 127.0.0.1 is in use")) && api.contains("--port"), "{api}");
    let postgres = dev(&["--port", "0", "--pg-port", &port]).error(1);
    assert!(postgres.contains("choose another with --pg-port"), "{postgres}");
    let mut without = program(&["dev", "--port", "0", "--data-dir"]);
    let missing = run(without.arg(&new).env("FAULTLINE_PG_BIN", "/nonexistent")).error(1);
    assert!(missing.contains("no usable PostgreSQL server programs in /nonexistent"), "{missing}");
    assert!(!new.exists());
}

#[test]
fn a_data_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Dev::start(dir.path());
    let second = run(program(&["dev", "--port", "0", "--data-dir"]).arg(dir.path())).error(1);
    assert!(second.contains("is in use by"), "{second}");
}
