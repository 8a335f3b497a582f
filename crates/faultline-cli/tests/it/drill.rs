//! Drills as users run them, short: each must pass, a seed must repeat its schedule, and nothing may stay behind.

use crate::common::{
    Answer, Background, database, empty_database, enqueue, faultline, program, run, until, until_gone,
};
use faultline_cluster::testing::cluster;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One drill at a time: their leases are short, and a machine that is kept busy by seven drills loses some for that alone.
fn alone() -> MutexGuard<'static, ()> {
    static DRILL: Mutex<()> = Mutex::new(());
    DRILL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn drill(name: &str, duration: &str, report: &Path) -> Answer {
    let report = report.to_str().unwrap();
    run(&mut program(&["drill", "run", name, "--duration", duration, "--report", report, "-o", "json"]))
}

fn passes(name: &str, duration: &str) -> Value {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let answer = drill(name, duration, dir.path());
    let reports: Value = serde_json::from_str(&answer.out).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    let report = &reports[0];
    assert_eq!(answer.code, 0, "{name}: {report:#}\n{}", answer.err);
    assert_eq!(report["passed"], true);
    let html = std::fs::read_to_string(dir.path().join(format!("{name}-1/report.html"))).unwrap();
    assert!(html.contains("<svg") && html.contains("</html>"), "{name}");
    report.clone()
}

#[test]
fn jobs_of_killed_workers_are_recovered_within_the_promised_time() {
    let report = passes("kill-worker", "5s");
    assert!(report["recovery"]["p99_ms"].as_i64().unwrap() < 4000, "{report:#}");
}

#[test]
fn an_outage_of_the_database_costs_no_job() {
    passes("database-outage", "5s");
}

#[test]
fn a_worker_that_was_stopped_past_its_leases_is_refused() {
    let report = passes("zombie", "6s");
    assert!(report["stale_writes_refused"].as_u64().unwrap() > 0, "{report:#}");
}

#[test]
fn a_key_makes_one_job_however_often_it_is_sent() {
    passes("duplicate-submission", "4s");
}

#[test]
fn jobs_fail_as_often_as_they_may_and_no_text_of_theirs_stops_a_queue() {
    passes("failing-jobs", "5s");
}

#[test]
fn an_interrupted_drill_leaves_no_process_behind() {
    let _alone = alone();
    let (mut drill, started) = drill_with_a_stopped_worker();
    drill.signal(Signal::INT);
    assert_eq!(drill.wait(), 1);
    assert!(drill.printed().contains("interrupted"));
    started.into_iter().for_each(until_gone);
}

#[test]
fn a_drill_whose_supervisor_is_killed_leaves_no_process_behind() {
    let _alone = alone();
    let (mut drill, started) = drill_with_a_stopped_worker();
    drill.signal(Signal::KILL);
    drill.wait();
    started.into_iter().for_each(until_gone);
}

#[test]
fn an_unknown_drill_is_a_wrong_call() {
    let error = run(&mut program(&["drill", "run", "earthquake"])).error(2);
    assert!(error.contains("earthquake"), "{error}");
    let listed = run(&mut program(&["drill", "list", "-o", "json"])).json();
    assert!(listed["drills"].as_array().unwrap().iter().any(|drill| drill["name"] == "zombie"));
}

/// A drill at the moment that is hardest to clean up, with all that it has started: Postgres, the API, the workers.
fn drill_with_a_stopped_worker() -> (Background, Vec<i32>) {
    let mut drill = Background::start(&mut program(&["drill", "run", "zombie"]));
    drill.line("is stopped");
    let stopped = |pid: &i32| state_and_parent(*pid).is_some_and(|(state, _)| state == 'T');
    let started = until("a worker to be stopped", || {
        let started = descendants(drill.pid());
        started.iter().any(stopped).then_some(started)
    });
    // The guard and the postmaster, some of its processes, the API, three workers.
    assert!(started.len() > 8, "{started:?}");
    (drill, started)
}

fn descendants(ancestor: i32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parents: HashMap<i32, i32> = pids.filter_map(|pid| Some((pid, state_and_parent(pid)?.1))).collect();
    let descends = |mut pid: i32| {
        while let Some(parent) = parents.get(&pid) {
            if *parent == ancestor {
                return true;
            }
            pid = *parent;
        }
        false
    };
    parents.keys().copied().filter(|pid| descends(*pid)).collect()
}

fn state_and_parent(pid: i32) -> Option<(char, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

#[test]
fn a_report_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("failing-jobs-1");
    std::fs::create_dir_all(&kept).unwrap();
    std::fs::write(kept.join("run.json"), "{}").unwrap();
    let answer = drill("failing-jobs", "1s", dir.path());
    assert_eq!(answer.code, 2, "{answer:?}");
}

#[test]
fn a_drill_that_lacks_something_is_skipped_and_that_is_no_pass() {
    let nothing = tempfile::tempdir().unwrap();
    let answer = run(program(&["drill", "run", "zombie"]).env("FAULTLINE_PG_BIN", nothing.path()));
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.err.contains("skipped: needs the PostgreSQL server programs"), "{answer:?}");
    assert!(answer.out.contains("0 of 1 drills passed, 1 skipped"), "{answer:?}");
}

/// Everything that a drill could leave in a database.
const LEFT: &str =
    "select (select count(*) from faultline.jobs) || ' ' || (select count(*) from faultline.job_history) || ' '
    || (select count(*) from faultline.job_attempts) || ' ' || (select count(*) from faultline.idempotency_keys) || ' '
    || (select count(*) from faultline.job_events) || ' ' || (to_regnamespace('faultline_drill') is null) || ' '
    || (not faultline.audit_is_on())";

#[test]
fn a_drill_against_a_database_of_ones_own_leaves_it_as_it_was() {
    let _alone = alone();
    let database = database();
    enqueue(&database, &["mine", "{}", "--key", "a"]);
    let (url, name) = (database.url(), database.name());
    let before = cluster().psql(name, LEFT).unwrap();
    let against = ["drill", "run", "kill-worker", "--duration", "5s", "--against", &url];
    let unconfirmed = run(&mut program(&against)).error(2);
    assert!(unconfirmed.contains("--confirm"), "{unconfirmed}");
    let wrong = run(&mut program(&[&against[..], &["--confirm", "other"]].concat())).error(2);
    assert!(wrong.contains(name), "{wrong}");
    let reports = run(&mut program(&[&against[..], &["--confirm", name, "-o", "json"]].concat())).json();
    assert!(reports[0]["jobs"].as_u64().unwrap() > 10, "{reports:#}");
    assert_eq!(cluster().psql(name, LEFT).unwrap(), before);
}

#[test]
fn a_drill_that_breaks_the_database_does_not_run_against_one_of_somebodys_own() {
    let database = database();
    let (url, name) = (database.url(), database.name());
    let against = |drill, url: &str| run(&mut program(&["drill", "run", drill, "--against", url, "--confirm", name]));
    assert!(against("database-outage", &url).err.contains("breaks more than its own processes"));
    assert!(faultline(&database, &["audit", "status"]).ok().out.contains("off"));
    let empty = empty_database();
    let answer = run(&mut program(&["drill", "run", "zombie", "--against", &empty.url(), "--confirm", empty.name()]));
    assert!(answer.code == 1 && answer.err.contains("migrat"), "{answer:?}");
}
