//! The examples do what they say.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Command;

/// Runs an example, which cargo has built beside the tests, and returns what it printed.
fn run(example: &str, args: &[&str]) -> String {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().parent().unwrap().join("examples").join(example);
    let output = Command::new(&program).args(args).output().unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn send_email_sends_each_once() {
    let database = common::database();
    assert_eq!(
        run("send_email", &[&database.url()]),
        "sent to ann@example.com in attempt 1\nsent to bob@example.com in attempt 2\n\
         succeeded after 1 attempts: \"250 OK\"\nsucceeded after 2 attempts: \"250 OK\"\n"
    );
}

#[test]
fn pay_once_pays_once() {
    let database = common::database();
    assert_eq!(run("pay_once", &[&database.url()]), "succeeded after 2 attempts, paid 1 time\n");
}

#[test]
fn drain_drains() {
    let database = common::database();
    let printed = run("drain", &[&database.url(), "5000", "500"]);
    assert!(printed.contains("enqueued 5000 jobs") && printed.contains("drained 5000 jobs"), "{printed}");
}
