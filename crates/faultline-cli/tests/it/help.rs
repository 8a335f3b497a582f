//! Help texts and the errors of wrong calls, as they are printed.

use crate::common::{program, run};

#[test]
fn help_texts() {
    for (name, args) in [
        ("faultline", &[] as &[&str]),
        ("dev", &["dev"]),
        ("migrate", &["migrate"]),
        ("serve", &["serve"]),
        ("work", &["work"]),
        ("job", &["job"]),
        ("job-enqueue", &["job", "enqueue"]),
        ("job-list", &["job", "list"]),
        ("queue", &["queue"]),
        ("worker", &["worker"]),
        ("token-create", &["token", "create"]),
        ("health", &["health"]),
        ("check", &["check"]),
        ("audit-on", &["audit", "on"]),
        ("drill-run", &["drill", "run"]),
        ("bench", &["bench"]),
    ] {
        let help = run(&mut program(&[args, &["--help"]].concat())).ok();
        assert!(help.out.lines().all(|line| line.chars().count() <= 100), "{name} has lines that are too long");
        insta::assert_snapshot!(format!("help-{name}"), help.out);
    }
}

#[test]
fn wrong_calls() {
    for (name, args) in [
        ("unknown-command", &["migarte"] as &[&str]),
        ("unknown-verb", &["job", "lsit"]),
        ("unknown-flag", &["serve", "--prot", "1"]),
        ("bad-duration", &["job", "enqueue", "k", "--delay", "5"]),
        ("bad-id", &["job", "get", "x"]),
        ("bad-state", &["job", "list", "--state", "done"]),
        ("bad-port", &["serve", "--port", "70000"]),
        ("bad-log", &["serve", "--log", "fualtline=loud"]),
        ("no-way-to-work", &["work"]),
    ] {
        let answer = run(&mut program(args));
        assert_eq!(answer.code, 2, "{answer:?}");
        insta::assert_snapshot!(format!("wrong-{name}"), answer.err);
    }
}

#[test]
fn the_version() {
    let version = run(&mut program(&["-V"])).ok().out;
    assert_eq!(version, concat!("faultline ", env!("CARGO_PKG_VERSION"), "\n"));
}
