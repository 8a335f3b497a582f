//! Clusters live, break, come back and leave nothing behind.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use faultline_cluster::{Cluster, ClusterError, Mode, Programs};

/// Set in the process that a test starts to own a cluster and be killed: where it writes its facts.
const OWNER: &str = "FAULTLINE_TEST_OWNER";
/// The directory that the owner shall use; unset means a temporary cluster.
const OWNER_DATA_DIR: &str = "FAULTLINE_TEST_OWNER_DATA_DIR";
/// The guard kills after 17 s.
const LIMIT: Duration = Duration::from_secs(30);

fn programs() -> Programs {
    Programs::find().unwrap()
}

fn temporary() -> Cluster {
    Cluster::builder(programs()).durable(false).start().unwrap()
}

fn with_table(cluster: &Cluster) {
    cluster.psql("postgres", "create table kept as select 42 as answer").unwrap();
}

fn answer(cluster: &Cluster) -> String {
    cluster.psql("postgres", "select answer from kept").unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < LIMIT, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A client in a process of its own, for statements that the test must not wait for.
fn psql(cluster: &Cluster, sql: &str) -> Child {
    let mut command = Command::new(cluster.programs().program("psql"));
    command.args(["-X", "-c", sql, &cluster.url("postgres")]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Whether the process exists and is no zombie.
fn alive(pid: u32) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    !matches!(output.stdout.trim_ascii().first(), None | Some(b'Z'))
}

fn parent(pid: u32) -> u32 {
    let output = Command::new("ps").args(["-o", "ppid=", "-p", &pid.to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn kill(pid: u32) {
    assert!(Command::new("sh").args(["-c", "kill -9 $0", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn a_temporary_cluster_answers_and_leaves_nothing() {
    let cluster = temporary();
    let (pid, dir) = (cluster.postmaster_pid().unwrap(), cluster.socket_dir().to_owned());
    let facts = "select current_user, current_setting('server_encoding'), current_setting('TimeZone'), null, 1 union all select 'a', 'b', 'c', 'd', 2";
    assert_eq!(cluster.psql("postgres", facts).unwrap(), "faultline|UTF8|UTC||1\na|b|c|d|2");
    assert!(dir.join(format!(".s.PGSQL.{}", cluster.port())).exists());
    assert!(cluster.data_dir().starts_with(&dir));
    assert!(cluster.log_tail(1).contains("ready to accept connections"), "{}", cluster.log_tail(3));
    drop(cluster);
    assert!(!alive(pid));
    assert!(!dir.exists());
}

#[test]
fn an_error_of_a_statement_tells_the_sqlstate() {
    let cluster = temporary();
    let error = cluster.psql("postgres", "select 1/0").unwrap_err();
    assert!(matches!(&error, ClusterError::Sql { code, .. } if code == "22012"), "{error}");
    let error = cluster.psql("nowhere", "select 1").unwrap_err();
    assert!(matches!(&error, ClusterError::Sql { code, .. } if code == "3D000"), "{error}");
}

#[test]
fn data_survives_every_way_to_stop_and_start() {
    let mut cluster = temporary();
    with_table(&cluster);
    let port = cluster.port();
    for mode in [Mode::Smart, Mode::Fast, Mode::Immediate] {
        cluster.stop(mode).unwrap();
        assert_eq!(cluster.postmaster_pid(), None);
        assert!(matches!(cluster.psql("postgres", "select 1"), Err(ClusterError::Io { .. })));
        cluster.stop(mode).unwrap();
        cluster.start_again().unwrap();
        assert_eq!((answer(&cluster).as_str(), cluster.port()), ("42", port));
        assert!(matches!(cluster.start_again(), Err(ClusterError::NotNow(_))));
    }
}

#[test]
fn data_survives_a_killed_postmaster_also_one_that_somebody_else_killed() {
    let mut cluster = temporary();
    with_table(&cluster);
    cluster.kill().unwrap();
    assert_eq!(cluster.postmaster_pid(), None);
    assert!(matches!(cluster.kill(), Err(ClusterError::NotNow(_))));
    cluster.start_again().unwrap();
    assert_eq!(answer(&cluster), "42");
    for _ in 0..3 {
        kill(cluster.postmaster_pid().unwrap());
        until("the postmaster is gone", || cluster.postmaster_pid().is_none());
        cluster.start_again().unwrap();
        assert_eq!(answer(&cluster), "42");
    }
}

#[test]
fn a_busy_backend_does_not_outlive_a_killed_postmaster() {
    let mut cluster = temporary();
    // Computes without ever waiting, so that it does not notice.
    let mut client = psql(&cluster, "select count(*) from generate_series(1, 1e12::bigint)");
    let busy = "select pid from pg_stat_activity where query like '%1e12%' and pid <> pg_backend_pid()";
    let mut backend = None;
    until("the query runs", || {
        backend = cluster.psql("postgres", busy).unwrap().parse::<u32>().ok();
        backend.is_some()
    });
    cluster.kill().unwrap();
    assert!(!alive(backend.unwrap()));
    assert!(!client.wait().unwrap().success());
    cluster.start_again().unwrap();
}

#[test]
fn a_paused_server_answers_after_it_was_resumed() {
    let mut cluster = temporary();
    cluster.pause().unwrap();
    cluster.pause().unwrap();
    let mut client = psql(&cluster, "select 1");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(client.try_wait().unwrap(), None, "a paused server answered");
    cluster.resume().unwrap();
    cluster.resume().unwrap();
    assert!(client.wait().unwrap().success());
    cluster.pause().unwrap();
    cluster.stop(Mode::Fast).unwrap();
    cluster.start_again().unwrap();
    cluster.pause().unwrap();
    cluster.kill().unwrap();
    cluster.start_again().unwrap();
    cluster.pause().unwrap();
    let begun = Instant::now();
    drop(cluster);
    assert!(begun.elapsed() < Duration::from_secs(8), "dropping a paused cluster took {:?}", begun.elapsed());
}

#[test]
fn a_cluster_whose_guard_was_killed_still_stops_with_its_owner() {
    let mut cluster = temporary();
    let (pid, dir) = (cluster.postmaster_pid().unwrap(), cluster.socket_dir().to_owned());
    kill(parent(pid));
    assert_eq!(cluster.psql("postgres", "select 1").unwrap(), "1");
    cluster.stop(Mode::Fast).unwrap_err();
    drop(cluster);
    assert!(!alive(pid) && !dir.exists());
    let mut cluster = temporary();
    let (pid, dir) = (cluster.postmaster_pid().unwrap(), cluster.socket_dir().to_owned());
    cluster.pause().unwrap();
    kill(parent(pid));
    drop(cluster);
    assert!(!alive(pid) && !dir.exists());
}

#[test]
fn a_failed_start_shows_the_log() {
    let error = Cluster::builder(programs()).durable(false).setting("work_mem", "a lot").start().unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ClusterError::Start { .. }), "{text}");
    assert!(text.contains("work_mem") && text.contains("status 1"), "{text}");
}

#[test]
fn a_port_in_use_is_told_and_the_data_is_kept() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let home = tempfile::tempdir().unwrap();
    let builder = Cluster::builder(programs()).durable(false).data_dir(home.path());
    let error = builder.clone().port(taken.local_addr().unwrap().port()).start().unwrap_err().to_string();
    assert!(error.contains("Address already in use"), "{error}");
    drop(builder.start().unwrap());
}

#[test]
fn a_persistent_cluster_keeps_its_data_and_cleans_up_an_interrupted_first_start() {
    let home = tempfile::tempdir().unwrap();
    // As an owner killed during initdb leaves it.
    fs::create_dir_all(home.path().join("postgres.new-1/base")).unwrap();
    let builder = Cluster::builder(programs()).data_dir(home.path());
    let cluster = builder.clone().start().unwrap();
    with_table(&cluster);
    let runtime = cluster.socket_dir().to_owned();
    drop(cluster);
    assert!(!runtime.exists());
    assert!(!home.path().join("postgres.new-1").exists());
    let cluster = builder.start().unwrap();
    assert_eq!(answer(&cluster), "42");
    assert_eq!(cluster.psql("postgres", "show fsync").unwrap(), "on");
}

#[test]
fn data_of_another_version_is_refused() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("postgres")).unwrap();
    fs::write(home.path().join("postgres/PG_VERSION"), "9\n").unwrap();
    let error = Cluster::builder(programs()).data_dir(home.path()).start().unwrap_err();
    assert!(matches!(error, ClusterError::OtherVersion { .. }), "{error}");
}

#[test]
fn a_stale_lock_file_of_the_server_does_not_hinder_a_start() {
    let home = tempfile::tempdir().unwrap();
    let builder = Cluster::builder(programs()).durable(false).data_dir(home.path());
    drop(builder.clone().start().unwrap());
    // A live process of ours that is no server: what a pid that was reused looks like.
    fs::write(home.path().join("postgres/postmaster.pid"), format!("{}\n", std::process::id())).unwrap();
    drop(builder.start().unwrap());
}

/// Not a test of its own: the body of the processes that the tests below start and kill.
#[test]
fn owner() {
    let Some(facts) = std::env::var_os(OWNER) else {
        return;
    };
    let mut builder = Cluster::builder(programs()).durable(false);
    if let Some(dir) = std::env::var_os(OWNER_DATA_DIR) {
        builder = builder.data_dir(dir);
    }
    let mut cluster = builder.start().unwrap();
    with_table(&cluster);
    cluster.pause().unwrap();
    cluster.resume().unwrap();
    let text = format!("{}\n{}\n", cluster.postmaster_pid().unwrap(), cluster.socket_dir().display());
    let facts = PathBuf::from(facts);
    fs::write(facts.with_extension("new"), text).unwrap();
    fs::rename(facts.with_extension("new"), facts).unwrap();
    loop {
        std::thread::park();
    }
}

struct Owner {
    child: Child,
    postmaster: u32,
    runtime: PathBuf,
}

fn start_owner(data_dir: Option<&Path>) -> Owner {
    let dir = tempfile::tempdir().unwrap();
    let facts = dir.path().join("facts");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "owner"]).env(OWNER, &facts).stdout(Stdio::null());
    if let Some(data_dir) = data_dir {
        command.env(OWNER_DATA_DIR, data_dir);
    }
    let child = command.spawn().unwrap();
    until("the owner has a cluster", || facts.exists());
    let text = fs::read_to_string(facts).unwrap();
    let (postmaster, runtime) = text.trim().split_once('\n').unwrap();
    Owner { child, postmaster: postmaster.parse().unwrap(), runtime: runtime.into() }
}

#[test]
fn a_killed_owner_leaves_no_server_and_no_directory() {
    let mut owner = start_owner(None);
    assert!(alive(owner.postmaster) && owner.runtime.exists());
    owner.child.kill().unwrap();
    owner.child.wait().unwrap();
    until("the server is gone", || !alive(owner.postmaster));
    until("the directory is gone", || !owner.runtime.exists());
}

#[test]
fn a_killed_owner_leaves_its_data_to_the_next_even_at_once() {
    let home = tempfile::tempdir().unwrap();
    let mut owner = start_owner(Some(home.path()));
    let builder = Cluster::builder(programs()).durable(false).data_dir(home.path());
    let error = builder.clone().start().unwrap_err().to_string();
    assert!(error.contains(&format!("in use by another process (pid {})", owner.child.id())), "{error}");
    owner.child.kill().unwrap();
    owner.child.wait().unwrap();
    let cluster = builder.start().unwrap();
    assert_eq!(answer(&cluster), "42");
    until("the socket directory is gone", || !owner.runtime.exists());
}

#[test]
fn an_owner_killed_at_any_moment_of_its_start_leaves_nothing() {
    for delay_ms in [0, 20, 60, 120, 250, 500, 900, 1400] {
        let temp = tempfile::Builder::new().prefix("f").tempdir_in("/tmp").unwrap();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "owner"]).env(OWNER, temp.path().join("facts")).stdout(Stdio::null());
        let mut child = command.env("TMPDIR", temp.path()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        let uses = || {
            let output = Command::new("ps").args(["-A", "-o", "command="]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().contains(&*temp.path().to_string_lossy())
        };
        until("no process uses the directory", || !uses());
        let left: Vec<_> = temp.path().read_dir().unwrap().flatten().map(|entry| entry.path()).collect();
        // Before the guard runs, an empty directory may stay; see guard.rs.
        let full = |path: &PathBuf| path.join("postgres").exists() || path.join("postgres.log").exists();
        assert!(!left.iter().any(full), "killed after {delay_ms} ms, left: {left:?}");
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn root_keeps_data_where_the_server_can_reach_it() {
    let closed = tempfile::tempdir().unwrap();
    if fs::metadata(closed.path()).unwrap().uid() != 0 {
        eprintln!("skipped: not root, so the server runs as ourselves and reaches what we reach");
        return;
    }
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let builder = Cluster::builder(programs()).durable(false).data_dir(closed.path().join("checkout/.faultline"));
    let cluster = builder.clone().start().unwrap();
    with_table(&cluster);
    let data = cluster.data_dir().to_owned();
    assert!(data.starts_with("/var/lib/faultline/"), "{}", data.display());
    assert_eq!(fs::read_link(closed.path().join("checkout/.faultline/postgres")).unwrap(), data);
    drop(cluster);
    let cluster = builder.start().unwrap();
    assert_eq!(answer(&cluster), "42");
    assert_eq!(cluster.data_dir(), data);
    drop(cluster);
    fs::remove_dir_all(data.parent().unwrap()).unwrap();
    // Only if no other cluster of this machine is there.
    let _ = fs::remove_dir("/var/lib/faultline");
}
