//! `faultline check` and `faultline audit`.

use crate::common::{database, empty_database, enqueue, faultline, program, run};
use faultline_cluster::testing::{TestDatabase, cluster};

fn sql(database: &TestDatabase, sql: &str) -> String {
    cluster().psql(database.name(), sql).unwrap()
}

/// What one check said.
fn status(database: &TestDatabase, name: &str) -> String {
    let answer = faultline(database, &["check", "--reap-bound", "1s", "-o", "json"]);
    let checks: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    let check = checks["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap();
    check["status"].as_str().unwrap().to_owned()
}

#[test]
fn a_sound_database_passes_and_a_broken_one_is_named_with_exit_code_1() {
    let database = database();
    enqueue(&database, &["demo.echo", "{}", "--key", "a"]);
    let sound = faultline(&database, &["check"]).ok().out;
    assert!(sound.contains("rows have the shape of their state") && sound.contains(" 0 violated"), "{sound}");
    // Past the constraints, as only a superuser with bad intent could.
    sql(&database, "delete from faultline.jobs");
    let broken = faultline(&database, &["check"]);
    assert_eq!(broken.code, 1, "{broken:?}");
    assert!(broken.out.contains("1 violated"), "{broken:?}");
    assert_eq!(status(&database, "keys"), "violated");
}

#[test]
fn the_transition_log_is_switched_on_and_off_and_lets_more_be_checked() {
    let database = database();
    let says = |args: &[&str]| faultline(&database, args).ok().out;
    assert!(says(&["audit", "status"]).contains("is off"));
    enqueue(&database, &["demo.echo", "{}"]);
    assert_eq!(status(&database, "log-chain"), "not_checked");
    assert!(says(&["audit", "on"]).contains("is on"));
    enqueue(&database, &["demo.echo", "{}"]);
    assert_eq!(sql(&database, "select count(*) from faultline.job_events"), "1");
    assert_eq!(status(&database, "log-chain"), "passed");
    assert!(says(&["audit", "off"]).contains("is off"));
    enqueue(&database, &["demo.echo", "{}"]);
    assert_eq!(sql(&database, "select count(*) from faultline.job_events"), "1");
    assert_eq!(faultline(&database, &["audit", "status", "-o", "json"]).json()["on"], false);
}

#[test]
fn wrong_calls_say_what_is_wrong() {
    let error = faultline(&empty_database(), &["check"]).error(1);
    assert!(error.contains("faultline migrate"), "{error}");
    let error = run(&mut program(&["check"])).error(2);
    assert!(error.contains("DATABASE_URL"), "{error}");
    let answer = faultline(&database(), &["check", "--rows", "0"]);
    assert_eq!(answer.code, 2, "{answer:?}");
}
