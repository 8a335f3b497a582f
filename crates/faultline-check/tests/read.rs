//! Witnesses from files: what processes wrote is read, what they could not finish writing is left out, what is misspelt is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use faultline_check::witness::{Action, Answer, FaultKind, Phase};
use faultline_check::{ReadError, read_dir};
use std::fs;
use tempfile::TempDir;

const JOB: &str = "00000000-0000-0000-0000-000000000001";

fn run_with(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("history")).unwrap();
    fs::write(dir.path().join("run.json"), r#"{"drill":"x","seed":7,"required":{"kill":1}}"#).unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn line(phase: &str, rest: &str) -> String {
    format!(r#"{{"phase":"{phase}","op":1,"process":"p","action":"enqueue","wall_ns":1,"boot_ns":2{rest}}}"#) + "\n"
}

#[test]
fn beginning_and_end_of_an_operation_are_one_and_a_cut_last_line_is_none() {
    let ended = line("invoke", "") + &line("ok", &format!(r#","job":"{JOB}","answer":"created""#)) + r#"{"phase":"inv"#;
    let dir = run_with(&[("history/p.jsonl", &ended)]);
    let witnesses = read_dir(dir.path()).unwrap();
    let history = witnesses.history.unwrap();
    assert_eq!(history.len(), 1);
    let record = &history[0].record;
    assert_eq!((record.phase, record.action, record.answer), (Phase::Ok, Action::Enqueue, Some(Answer::Created)));
    assert!(witnesses.events.is_none() && witnesses.samples.is_none(), "what is not there was not taken");
    assert_eq!(witnesses.run.seed, 7);
}

#[test]
fn faults_have_a_beginning_and_an_end() {
    let text = r#"{"fault":1,"phase":"invoke","kind":"database_down","wall_ns":5000}
{"fault":2,"phase":"invoke","kind":"kill","wall_ns":6000,"process":"p"}
{"fault":1,"phase":"ok","kind":"database_down","wall_ns":9000}
"#;
    let dir = run_with(&[("nemesis.jsonl", text)]);
    let faults = read_dir(dir.path()).unwrap().nemesis.unwrap();
    let times: Vec<_> = faults.iter().map(|fault| (fault.kind, fault.began_us, fault.ended_us)).collect();
    assert_eq!(times, [(FaultKind::DatabaseDown, 5, Some(9)), (FaultKind::Kill, 6, Some(6))]);
}

/// It was killed while nobody could be asked for its incarnation.
#[test]
fn a_fault_without_a_worker_is_given_that_of_its_process() {
    let fault = r#"{"fault":1,"phase":"invoke","kind":"kill","wall_ns":6000,"process":"p"}"#;
    let owned = |owner: &str| line("ok", &format!(r#","owner":"{owner}""#));
    let owner_of = |history: &str| {
        let dir = run_with(&[("nemesis.jsonl", fault), ("history/p.jsonl", history)]);
        read_dir(dir.path()).unwrap().nemesis.unwrap()[0].owner.map(|owner| owner.to_string())
    };
    let other = JOB.replace("1", "2");
    assert_eq!(owner_of(&(line("ok", "") + &owned(JOB) + &owned(JOB))).as_deref(), Some(JOB));
    assert_eq!(owner_of(&(owned(JOB) + &owned(&other))), None, "it was several workers");
    assert_eq!(owner_of(&line("ok", "")), None);
}

#[test]
fn a_misspelt_field_is_refused_with_its_file_and_line() {
    let text = line("invoke", "") + &line("ok", r#","anwser":"created""#);
    let dir = run_with(&[("history/p.jsonl", &text)]);
    let error = read_dir(dir.path()).unwrap_err();
    assert!(matches!(&error, ReadError::Line { path, line: 2, .. } if path.ends_with("history/p.jsonl")), "{error:?}");
}

#[test]
fn a_whole_file_that_is_cut_is_refused() {
    let dir = run_with(&[("events.jsonl", r#"{"job":"#)]);
    assert!(matches!(read_dir(dir.path()), Err(ReadError::Line { line: 1, .. })));
}

#[test]
fn a_line_beyond_the_limit_is_refused() {
    let dir = run_with(&[("effects_ext.jsonl", &"x".repeat(faultline_check::MAX_LINE_BYTES + 1))]);
    assert!(matches!(read_dir(dir.path()), Err(ReadError::TooLarge { line: 1, .. })));
}

#[test]
fn an_old_primary_has_its_own_events_and_the_histories_of_all() {
    let dir = run_with(&[("history/p.jsonl", &line("invoke", ""))]);
    fs::create_dir(dir.path().join("old")).unwrap();
    fs::write(dir.path().join("old/run.json"), r#"{"drill":"x"}"#).unwrap();
    fs::write(dir.path().join("old/events.jsonl"), "").unwrap();
    let witnesses = read_dir(dir.path()).unwrap();
    let old = witnesses.old.unwrap();
    assert_eq!(
        (old.history.unwrap().len(), old.events.map(|e| e.len()), witnesses.events.is_none()),
        (1, Some(0), true)
    );
}

#[test]
fn a_run_without_its_settings_cannot_be_judged() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(read_dir(dir.path()), Err(ReadError::Io { .. })));
}
