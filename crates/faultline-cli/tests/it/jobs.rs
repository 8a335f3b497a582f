//! `faultline job`, `queue`, `worker` and `token`, on a database without a worker unless one is started.

use crate::common::{
    Background, database, empty_database, ended, enqueue, faultline, faultline_with_input, job, program, run,
};
use faultline_cluster::testing::cluster;

const NOBODY: &str = "00000000-0000-7000-8000-000000000000";

#[test]
fn a_job_is_enqueued_with_all_its_options() {
    let database = database();
    let id = enqueue(
        &database,
        &[
            "report",
            "{\"a\": 1}",
            "--queue",
            "slow",
            "--key",
            "k1",
            "--delay",
            "1h",
            "--priority",
            "3",
            "--max-attempts",
            "4",
            "--timeout",
            "90s",
            "--backoff-base",
            "2s",
            "--headers",
            "{\"tag\":\"x\"}",
        ],
    );
    let job = job(&database, &id);
    assert_eq!(job["payload"], serde_json::json!({"a": 1}));
    assert_eq!(job["headers"], serde_json::json!({"tag": "x"}));
    let facts = ["queue", "kind", "key", "priority", "max_attempts", "state"].map(|name| job[name].clone());
    assert_eq!(serde_json::json!(facts), serde_json::json!(["slow", "report", "k1", 3, 4, "queued"]));
}

#[test]
fn the_same_key_is_the_same_job_and_another_request_is_a_conflict() {
    let database = database();
    let first = faultline(&database, &["job", "enqueue", "mail", "[1]", "--key", "k", "-o", "json"]).json();
    let again = faultline(&database, &["job", "enqueue", "mail", "[1]", "--key", "k", "-o", "json"]).json();
    assert_eq!((first["created"].clone(), again["created"].clone()), (true.into(), false.into()));
    assert_eq!(first["id"], again["id"]);
    let conflict = faultline(&database, &["job", "enqueue", "mail", "[2]", "--key", "k"]).error(1);
    assert!(conflict.contains(first["id"].as_str().unwrap()) && conflict.contains("another key"), "{conflict}");
}

#[test]
fn the_payload_may_come_from_standard_input() {
    let database = database();
    let enqueued = faultline_with_input(&database, &["job", "enqueue", "k", "-", "-o", "json"], "{\"big\": true}\n");
    let id = enqueued.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(job(&database, &id)["payload"], serde_json::json!({"big": true}));
    let too_large = format!("\"{}\"", "x".repeat(1024 * 1024));
    let refused = faultline_with_input(&database, &["job", "enqueue", "k", "-"], &too_large).error(2);
    assert!(refused.contains("PAYLOAD: must be at most 1048576 bytes"), "{refused}");
}

#[test]
fn bad_values_are_refused_with_the_name_of_the_field() {
    let database = database();
    for (args, expected) in [
        (&["k", "{"] as &[&str], "PAYLOAD: is not JSON"),
        (&["k", "\"\\u0000\""], "PAYLOAD: must not contain the character NUL"),
        (&["k k"], "kind: must be 1 to 128"),
        (&["k", "--queue", ""], "queue: must be"),
        (&["k", "--priority", "9"], "priority: must be"),
        (&["k", "--max-attempts", "0"], "max_attempts: must be"),
        (&["k", "--delay", "400d"], "delay: must be"),
        (&["k", "--headers", "[1]"], "headers: must be an object"),
    ] {
        let error = faultline(&database, &[&["job", "enqueue"], args].concat()).error(2);
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(faultline(&database, &["job", "list", "-o", "json"]).json()["jobs"], serde_json::json!([]));
}

#[test]
fn a_list_has_filters_and_pages() {
    let database = database();
    let ids: Vec<String> = (0..3).map(|_| enqueue(&database, &["a", "--queue", "one"])).collect();
    enqueue(&database, &["b", "--queue", "two", "--delay", "1h"]);
    let page = faultline(&database, &["job", "list", "--queue", "one", "--limit", "2", "-o", "json"]).json();
    assert_eq!(page["jobs"].as_array().unwrap().len(), 2);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = faultline(&database, &["job", "list", "--queue", "one", "--cursor", cursor, "-o", "jsonl"]).ok().out;
    assert_eq!(rest.lines().count(), 1);
    assert!(rest.contains(&ids[0]));
    let scheduled = faultline(&database, &["job", "list", "--state", "scheduled", "-o", "json"]).json();
    assert_eq!(scheduled["jobs"][0]["kind"], "b");
    let table = faultline(&database, &["job", "list"]).ok().out;
    assert!(table.starts_with("ID ") && table.lines().count() == 5, "{table}");
}

#[test]
fn a_waiting_job_can_be_cancelled_once_and_then_retried_by_a_successor() {
    let database = database();
    let id = enqueue(&database, &["k", "--delay", "1h"]);
    let moved = faultline(&database, &["job", "retry", &id]).ok().out;
    assert!(moved.contains("is due now"), "{moved}");
    assert!(faultline(&database, &["job", "cancel", &id]).ok().out.contains("is cancelled"));
    let again = faultline(&database, &["job", "cancel", &id]).error(1);
    assert!(again.contains("has cancelled: only a queued or running job"), "{again}");
    let successor = faultline(&database, &["job", "retry", &id, "-o", "json"]).json();
    assert_eq!(successor["retry_of"], id.as_str());
    let asked_again = faultline(&database, &["job", "retry", &id, "-o", "json"]).json();
    assert_eq!(asked_again["id"], successor["id"]);
}

#[test]
fn an_unknown_job_is_an_error_of_one_line() {
    let database = database();
    for verb in ["get", "watch", "cancel", "retry", "explain"] {
        let error = faultline(&database, &["job", verb, NOBODY]).error(1);
        assert!(error.starts_with(&format!("error: there is no job {NOBODY}")), "{error}");
    }
}

#[test]
fn explain_names_the_reason() {
    let database = database();
    let id = enqueue(&database, &["k", "--queue", "q"]);
    let explain = || faultline(&database, &["job", "explain", &id]).ok().out;
    assert!(explain().contains("no live worker polls queue q"));
    faultline(&database, &["queue", "pause", "q", "--reason", "maintenance"]).ok();
    assert!(explain().contains("(maintenance)"), "{}", explain());
    assert!(faultline(&database, &["queue", "list"]).ok().out.contains("(maintenance)"));
    assert!(faultline(&database, &["queue", "resume", "q"]).ok().out.contains("is resumed"));
    assert!(faultline(&database, &["queue", "resume", "q"]).ok().out.contains("was not paused"));
    let audited = cluster().psql(database.name(), "select distinct actor from faultline.audit_log").unwrap();
    assert_eq!(audited, "cli:tester");
}

#[test]
fn the_demonstration_kinds_do_what_they_promise() {
    let database = database();
    let mut worker = Background::worker(&database, &["--demo"]);
    let echo = ended(&database, &enqueue(&database, &["demo.echo", "{\"hello\":\"world\"}"]));
    assert_eq!(
        (echo["state"].clone(), echo["result"].clone()),
        ("succeeded".into(), serde_json::json!({"hello": "world"}))
    );
    let fails = enqueue(&database, &["demo.fail", "{\"times\": 2}", "--backoff-base", "10ms"]);
    let fails = ended(&database, &fails);
    assert_eq!((fails["state"].clone(), fails["attempts"].clone()), ("succeeded".into(), 3.into()));
    let slept = ended(&database, &enqueue(&database, &["demo.sleep", "{\"ms\": 5}"]));
    assert_eq!(slept["result"], serde_json::json!({"slept_ms": 5}));
    let wrong = ended(&database, &enqueue(&database, &["demo.sleep", "{\"ms\": \"x\"}"]));
    assert_eq!((wrong["state"].clone(), wrong["reason"].clone()), ("failed".into(), "fatal".into()));
    let workers = faultline(&database, &["worker", "list", "-o", "json"]).json();
    assert_eq!(workers["workers"][0]["alive"], true);
    let crash = enqueue(&database, &["demo.crash"]);
    assert_eq!(worker.wait(), 128 + 6, "aborted");
    assert_eq!(job(&database, &crash)["state"], "running");
}

#[test]
fn watch_prints_each_transition_once_until_the_end() {
    let database = database();
    let id = enqueue(&database, &["demo.fail", "{\"times\": 1}", "--backoff-base", "10ms"]);
    let watching = ["job", "watch", &id, "-o", "jsonl"];
    let mut watch = Background::start(program(&watching).env("DATABASE_URL", database.url()));
    watch.line("enqueued");
    let _worker = Background::worker(&database, &["--demo"]);
    assert_eq!(watch.wait(), 0);
    let printed = until_closed(&mut watch);
    let events: Vec<serde_json::Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["enqueued", "started", "failed", "started", "succeeded"]);
    let fails = enqueue(&database, &["demo.fail", "{\"times\": 9}", "--max-attempts", "1"]);
    assert_eq!(faultline(&database, &["job", "watch", &fails]).code, 1);
}

fn until_closed(program: &mut Background) -> String {
    program.line("succeeded");
    program.printed()
}

#[test]
fn a_token_is_shown_once_and_revoked_once() {
    let database = database();
    let created = faultline(&database, &["token", "create", "ci", "--role", "enqueue", "-o", "json"]).json();
    assert!(created["token"].as_str().unwrap().starts_with("flt_"));
    assert!(faultline(&database, &["token", "create", "ci", "--role", "read"]).error(1).contains("another name"));
    let listed = faultline(&database, &["token", "list"]).ok().out;
    assert!(listed.contains("ci") && !listed.contains("flt_"), "{listed}");
    faultline(&database, &["token", "revoke", "ci"]).ok();
    assert!(faultline(&database, &["token", "revoke", "ci"]).error(1).contains("no token ci"));
}

#[test]
fn without_a_schema_or_a_database_the_error_says_what_to_do() {
    let database = empty_database();
    let missing = faultline(&database, &["job", "list"]).error(1);
    assert_eq!(missing, "error: the database has no schema faultline; run `faultline migrate`");
    let enqueue = faultline(&database, &["job", "enqueue", "k"]).error(1);
    assert_eq!(enqueue, missing);
    let work = faultline(&database, &["work", "--demo"]).error(1);
    assert_eq!(work, missing);
    let none = run(&mut program(&["job", "list"])).error(2);
    assert!(none.contains("set DATABASE_URL"), "{none}");
    let nonsense = run(program(&["job", "list"]).env("DATABASE_URL", "nonsense")).error(2);
    assert!(nonsense.contains("the database URL can't be used"), "{nonsense}");
    let away = run(program(&["job", "list"]).env("DATABASE_URL", "postgres://someone:secret@127.0.0.1:9/db")).error(1);
    assert!(away.contains("cannot reach the database at 127.0.0.1/db") && !away.contains("secret"), "{away}");
}

#[test]
fn an_old_schema_is_told_from_a_missing_one() {
    let database = database();
    cluster().psql(database.name(), "delete from faultline.migrations where version > 1").unwrap();
    let old = faultline(&database, &["queue", "list"]).error(1);
    assert!(old.contains("schema is at version 1, this program needs"), "{old}");
}
