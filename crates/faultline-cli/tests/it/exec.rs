//! `faultline work --exec`: what a command is given, what becomes of what it says, and how it is ended.

use crate::common::{
    Background, alive, database, ended, enqueue, faultline, job, pids, program, run, until, until_gone,
};
use faultline_cluster::testing::TestDatabase;
use rustix::process::Signal;
use serde_json::{Value, json};

/// Runs one job by a shell script; answers the job at its end.
#[track_caller]
fn by(script: &str, options: &[&str]) -> Value {
    let database = database();
    let id = enqueue(&database, options);
    let _worker = Background::worker(&database, &["--exec", "sh", "-c", script]);
    ended(&database, &id)
}

fn outcome(job: &Value) -> (&str, i64) {
    (job["state"].as_str().unwrap(), job["attempts"].as_i64().unwrap())
}

#[test]
fn a_command_is_given_the_payload_and_the_facts() {
    let script = r#"
        read -r payload
        printf '{"payload":%s,"kind":"%s","queue":"%s","attempt":%s,"of":%s,"key":"%s","id":"%s","trace":"%s"}' \
            "$payload" "$FAULTLINE_KIND" "$FAULTLINE_QUEUE" "$FAULTLINE_ATTEMPT" "$FAULTLINE_MAX_ATTEMPTS" \
            "$FAULTLINE_KEY" "$FAULTLINE_JOB_ID" "$TRACEPARENT"
        [ ${#FAULTLINE_LEASE_ID} = 36 ] && [ ${#FAULTLINE_WORKER_ID} = 36 ]"#;
    let trace = "{\"traceparent\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"}";
    let job = by(script, &["mail", "{\"to\":[1]}", "--key", "a b", "--max-attempts", "7", "--headers", trace]);
    assert_eq!(outcome(&job), ("succeeded", 1), "{job}");
    let expected = json!({
        "payload": {"to": [1]}, "kind": "mail", "queue": "default", "attempt": 1, "of": 7, "key": "a b", "id": job["id"],
        "trace": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    });
    assert_eq!(job["result"], expected);
}

#[test]
fn a_job_without_a_key_does_not_inherit_one() {
    let database = database();
    let id = enqueue(&database, &["k"]);
    let mut command = program(&["work", "--exec", "sh", "-c", "printf '[\"%s\"]' \"${FAULTLINE_KEY-none}\""]);
    let _worker = Background::start(command.env("DATABASE_URL", database.url()).env("FAULTLINE_KEY", "outer"));
    assert_eq!(ended(&database, &id)["result"], json!(["none"]));
}

#[test]
fn exit_code_75_comes_back_after_the_delay_that_the_command_names() {
    let script = "if [ $FAULTLINE_ATTEMPT = 1 ]; then echo 20ms; echo busy >&2; exit 75; fi; echo done";
    // A back-off of a day would outlast the test.
    let job = by(script, &["k", "--backoff-base", "1d", "--backoff-cap", "1d"]);
    assert_eq!(outcome(&job), ("succeeded", 2), "{job}");
    assert_eq!(job["result"], "done");
    assert!(job["last_error"].as_str().unwrap().contains("(exit code 75): busy"), "{job}");
}

#[test]
fn any_other_exit_is_a_failed_attempt_with_the_end_of_standard_error() {
    let script = "head -c 300000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 3";
    let job = by(script, &["k", "--max-attempts", "2", "--backoff-base", "10ms"]);
    assert_eq!(outcome(&job), ("failed", 2));
    let error = job["last_error"].as_str().unwrap();
    assert!(error.starts_with("exit code 3: [cut] … x") && error.ends_with("xthe end"), "{error}");
    assert!((8000..=8192).contains(&error.len()), "{}", error.len());
    let killed = by("kill -9 $$", &["k", "--max-attempts", "1"]);
    assert_eq!(killed["last_error"], "killed by signal 9");
}

#[test]
fn an_output_beyond_the_limit_is_read_to_its_end_and_leaves_a_mark() {
    let job = by("head -c 5000000 /dev/zero | tr '\\0' x", &["k"]);
    assert_eq!(outcome(&job), ("succeeded", 1));
    assert_eq!(job["result"]["bytes"], 5_000_000);
    let bytes = by("printf '\\377\\000'", &["k", "--max-attempts", "1"]);
    assert_eq!(outcome(&bytes), ("succeeded", 1), "{bytes}");
}

#[test]
fn a_command_that_reads_nothing_neither_hangs_nor_fails() {
    let database = database();
    let payload = format!("\"{}\"", "x".repeat(100_000));
    let id = enqueue(&database, &["k", &payload]);
    let _worker = Background::worker(&database, &["--exec", "sh", "-c", "exec <&-; echo '[]'"]);
    assert_eq!(outcome(&ended(&database, &id)), ("succeeded", 1));
}

#[test]
fn one_string_is_split_into_words_and_another_language_works() {
    let python = run(std::process::Command::new("sh").args(["-c", "python3 --version"]));
    if python.code != 0 {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let handler = dir.path().join("sum it.py");
    std::fs::write(&handler, "import json, sys\nprint(json.dumps({'sum': sum(json.load(sys.stdin))}))\n").unwrap();
    let database = database();
    let id = enqueue(&database, &["k", "[1, 2, 3]"]);
    let command = format!("python3 '{}'", handler.display());
    let _worker = Background::worker(&database, &["--exec", &command]);
    assert_eq!(ended(&database, &id)["result"], json!({"sum": 6}));
}

#[test]
fn what_a_command_leaves_behind_does_not_hold_up_its_job() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let script = format!("sleep 1000 & echo $! >> '{}'; echo '[1]'", file.display());
    let job = by(&script, &["k"]);
    assert_eq!((outcome(&job), &job["result"]), (("succeeded", 1), &json!([1])));
    until_gone(pids(&file, 1)[0]);
}

/// A command that runs for ever, with a process of its own, and the ids of both once it runs.
struct Endless {
    database: TestDatabase,
    worker: Background,
    id: String,
    pids: Vec<i32>,
    _dir: tempfile::TempDir,
}

impl Endless {
    #[track_caller]
    fn start(prelude: &str, worker: &[&str], options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pids");
        let script = format!("{prelude}; sleep 1000 & printf '%s\\n' $! $$ >> '{}'; wait; wait", file.display());
        let database = database();
        let id = enqueue(&database, &[&["k"], options].concat());
        let worker = Background::worker(&database, &[worker, &["--exec", "sh", "-c", &script]].concat());
        let pids = pids(&file, 2);
        Self { database, worker, id, pids, _dir: dir }
    }
}

#[test]
fn a_time_out_ends_the_whole_group() {
    let endless = Endless::start("true", &[], &["--timeout", "1s", "--max-attempts", "1"]);
    let job = ended(&endless.database, &endless.id);
    assert_eq!(outcome(&job), ("failed", 1), "{job}");
    endless.pids.iter().for_each(|pid| until_gone(*pid));
}

#[test]
fn a_command_that_ignores_sigterm_is_killed() {
    let endless = Endless::start("trap '' TERM", &[], &["--timeout", "1s", "--max-attempts", "1"]);
    ended(&endless.database, &endless.id);
    endless.pids.iter().for_each(|pid| until_gone(*pid));
}

#[test]
fn a_cancelled_job_s_command_is_ended() {
    let endless = Endless::start("true", &["--lease-ttl", "1s"], &[]);
    faultline(&endless.database, &["job", "cancel", &endless.id]).ok();
    assert_eq!(outcome(&ended(&endless.database, &endless.id)).0, "cancelled");
    endless.pids.iter().for_each(|pid| until_gone(*pid));
}

#[test]
fn a_worker_that_drains_ends_what_outlasts_its_grace_and_gives_it_back_uncharged() {
    let mut endless = Endless::start("true", &["--grace", "100ms"], &[]);
    assert_eq!(endless.worker.stop(), 0);
    assert!(endless.pids.iter().all(|pid| !alive(*pid)), "nothing is left when the worker has ended");
    let job = job(&endless.database, &endless.id);
    assert_eq!(outcome(&job), ("queued", 0), "{job}");
}

#[test]
fn a_second_signal_kills_the_commands_and_exits_at_once() {
    let mut endless = Endless::start("trap '' TERM", &["--grace", "1h"], &[]);
    endless.worker.signal(Signal::TERM);
    endless.worker.line("the worker drains");
    endless.worker.signal(Signal::INT);
    assert_eq!(endless.worker.wait(), 128 + 2);
    endless.pids.iter().for_each(|pid| until_gone(*pid));
}

#[test]
fn a_job_of_a_worker_that_was_killed_runs_elsewhere_with_one_more_attempt() {
    let mut endless = Endless::start("true", &["--lease-ttl", "1s"], &[]);
    let mut other = Background::worker(&endless.database, &["--lease-ttl", "1s", "--exec", "sh", "-c", "echo '[2]'"]);
    endless.worker.signal(Signal::KILL);
    assert_eq!(endless.worker.wait(), 128 + 9);
    let job = ended(&endless.database, &endless.id);
    assert_eq!((outcome(&job), &job["result"]), (("succeeded", 2), &json!([2])));
    assert_eq!(other.stop(), 0);
    // Nobody was left to end the command of the killed worker: that is this test's to do.
    for pid in &endless.pids {
        let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(*pid).unwrap(), Signal::KILL);
    }
}

#[test]
fn a_worker_waits_for_a_schema_that_comes_later() {
    let database = crate::common::empty_database();
    let mut command = program(&["work", "--demo", "--wait", "60s"]);
    let mut worker = Background::start(command.env("DATABASE_URL", database.url()));
    worker.line("waiting");
    faultline(&database, &["migrate"]).ok();
    worker.line("the worker has started");
    until("the worker to be listed", || {
        let listed = faultline(&database, &["worker", "list", "-o", "jsonl"]).ok().out;
        listed.contains("demo.echo").then_some(())
    });
    assert_eq!(worker.stop(), 0);
}

#[test]
fn wrong_calls_of_work_are_refused_at_once() {
    let database = database();
    for (args, expected) in [
        (&["--exec", "./no-such-file"] as &[&str], "--exec ./no-such-file: No such file"),
        (&["--exec", ""], "--exec needs a command"),
        (&["--queue", "a b", "--demo"], "--queue: must be 1 to 128"),
        (&["--queue", "q,q:3", "--demo"], "q is named twice"),
        (&["--concurrency", "0", "--demo"], "slots: must be"),
        (&["--lease-ttl", "1ms", "--demo"], "lease_ttl: must be 300ms to 1h"),
        (&["--http", "ftp://x/"], "--http ftp://x/: must begin with http"),
    ] {
        let error = faultline(&database, &[&["work"], args].concat()).error(2);
        assert!(error.contains(expected), "{error}");
    }
    let both = faultline(&database, &["work", "--demo", "--http", "http://x/"]);
    assert!(both.code == 2 && both.err.contains("cannot be used with"), "{both:?}");
}
