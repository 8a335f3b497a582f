//! Standbys follow, fall behind, are promoted, and leave nothing behind.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use faultline_cluster::{Cluster, ClusterError, Mode, Programs};

/// Set in the process that a test starts to own clusters and be killed: where it writes their processes.
const OWNER: &str = "FAULTLINE_TEST_OWNER";
/// A guard kills after 17 s.
const LIMIT: Duration = Duration::from_secs(30);

fn pair() -> (Cluster, Cluster) {
    let primary = Cluster::builder(Programs::find().unwrap()).durable(false).start().unwrap();
    primary.psql("postgres", "create table kept (n int)").unwrap();
    let standby = primary.standby("second").start().unwrap();
    (primary, standby)
}

fn insert(cluster: &Cluster, n: u32) {
    cluster.psql("postgres", &format!("insert into kept values ({n})")).unwrap();
}

fn kept(cluster: &Cluster) -> String {
    cluster.psql("postgres", "select string_agg(n::text, ' ' order by n) from kept").unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < LIMIT, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A client in a process of its own, for statements that the test must not wait for.
fn client(cluster: &Cluster, sql: &str) -> Child {
    let mut command = Command::new(cluster.programs().program("psql"));
    command.args(["-X", "-c", sql, &cluster.url("postgres")]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn alive(pid: &str) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", pid]).output().unwrap();
    !matches!(output.stdout.trim_ascii().first(), None | Some(b'Z'))
}

#[test]
fn a_standby_follows_takes_no_writes_and_after_its_promotion_does() {
    let (mut primary, mut standby) = pair();
    primary.synchronous(true).unwrap();
    insert(&primary, 1);
    until("it is applied", || kept(&standby) == "1");
    let error = standby.psql("postgres", "insert into kept values (2)").unwrap_err();
    assert!(matches!(&error, ClusterError::Sql { code, .. } if code == "25006"), "{error}");
    assert!(primary.promote().is_err() && primary.attach().is_err());
    // It goes on where it was.
    standby.kill().unwrap();
    standby.start_again().unwrap();
    primary.synchronous(true).unwrap();
    insert(&primary, 2);
    primary.kill().unwrap();
    standby.promote().unwrap();
    insert(&standby, 3);
    assert_eq!(kept(&standby), "1 2 3");
}

#[test]
fn a_commit_waits_for_the_synchronous_standby() {
    let (primary, mut standby) = pair();
    primary.synchronous(true).unwrap();
    standby.stop(Mode::Fast).unwrap();
    let mut waiting = client(&primary, "insert into kept values (1)");
    let waits = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
    until("the commit waits", || primary.psql("postgres", waits).unwrap() == "1");
    assert_eq!(waiting.try_wait().unwrap(), None);
    standby.start_again().unwrap();
    assert!(waiting.wait().unwrap().success());
    standby.stop(Mode::Fast).unwrap();
    primary.synchronous(false).unwrap();
    insert(&primary, 2);
    assert_eq!(kept(&primary), "1 2");
}

#[test]
fn what_a_standby_that_was_cut_off_has_not_got_is_lost_with_its_promotion() {
    let (primary, standby) = pair();
    insert(&primary, 1);
    until("it is applied", || kept(&standby) == "1");
    standby.detach().unwrap();
    insert(&primary, 2);
    standby.attach().unwrap();
    until("it has caught up", || kept(&standby) == "1 2");
    standby.detach().unwrap();
    insert(&primary, 3);
    standby.promote().unwrap();
    insert(&standby, 4);
    // Both go on, each by itself.
    insert(&primary, 5);
    assert_eq!((kept(&primary).as_str(), kept(&standby).as_str()), ("1 2 3 5", "1 2 4"));
}

#[test]
fn a_copy_of_nobody_says_why_it_failed() {
    let (mut primary, _standby) = pair();
    let builder = primary.standby("third");
    primary.stop(Mode::Fast).unwrap();
    let error = builder.start().unwrap_err();
    assert!(matches!(&error, ClusterError::Copy { log, .. } if log.contains("refused")), "{error}");
}

/// Not a test of its own: the body of the process that the test below starts and kills.
#[test]
fn owner() {
    let Some(facts) = std::env::var_os(OWNER) else {
        return;
    };
    let (primary, standby) = pair();
    let of = |cluster: &Cluster| format!("{}\n{}\n", cluster.postmaster_pid().unwrap(), cluster.socket_dir().display());
    let facts = PathBuf::from(facts);
    fs::write(facts.with_extension("new"), of(&primary) + &of(&standby)).unwrap();
    fs::rename(facts.with_extension("new"), facts).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_owner_leaves_neither_primary_nor_standby() {
    let dir = tempfile::tempdir().unwrap();
    let facts = dir.path().join("facts");
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.args(["--exact", "owner"]).env(OWNER, &facts).stdout(Stdio::null()).spawn().unwrap();
    until("the owner has clusters", || facts.exists());
    let text = fs::read_to_string(facts).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(alive(lines[0]) && alive(lines[2]));
    child.kill().unwrap();
    child.wait().unwrap();
    for pair in lines.chunks(2) {
        until("the server is gone", || !alive(pair[0]));
        until("the directory is gone", || !PathBuf::from(pair[1]).exists());
    }
}
