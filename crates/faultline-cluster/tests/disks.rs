//! Small disks fill up, are cleared, and vanish with their server.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use faultline_cluster::{Cluster, ClusterError, Disk, Programs};

/// Set in the process that a test starts to own a cluster and be killed: where it writes its facts.
const OWNER: &str = "FAULTLINE_TEST_OWNER";

/// None, said, where this process may not mount.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn with_disks() -> Option<Cluster> {
    let may = Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).status();
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 || !may.is_ok_and(|status| status.success()) {
        eprintln!("skipped: needs root, for mounts");
        return None;
    }
    let builder = Cluster::builder(Programs::find().unwrap()).durable(false);
    let builder = builder.setting("min_wal_size", "32MB").setting("max_wal_size", "48MB");
    let cluster = builder.small_disks(32, 96).start().unwrap();
    let location = cluster.disk(Disk::Tables);
    cluster.psql("postgres", &format!("create tablespace small location '{}'", location.display())).unwrap();
    cluster.psql("postgres", "create table t (x text) tablespace small").unwrap();
    Some(cluster)
}

const INSERT: &str = "insert into t select repeat('x', 1000) from generate_series(1, 1000)";

#[test]
fn a_full_disk_is_an_error_until_it_is_cleared() {
    let Some(cluster) = with_disks() else { return };
    cluster.fill(Disk::Tables).unwrap();
    let error = cluster.psql("postgres", INSERT).unwrap_err();
    assert!(matches!(&error, ClusterError::Sql { code, .. } if code == "53100"), "{error}");
    cluster.clear(Disk::Tables).unwrap();
    cluster.psql("postgres", INSERT).unwrap();
    assert!(cluster.clear(Disk::Tables).is_err(), "there is nothing left to clear");
    let dir = cluster.socket_dir().to_owned();
    drop(cluster);
    assert!(!dir.exists());
}

#[test]
fn a_full_log_stops_the_server_until_it_is_cleared() {
    let Some(mut cluster) = with_disks() else { return };
    cluster.psql("postgres", INSERT).unwrap();
    cluster.fill(Disk::Wal).unwrap();
    let write = "select pg_switch_wal() from pg_logical_emit_message(false, 'test', 'x')";
    let begun = Instant::now();
    while cluster.psql("postgres", write).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the log goes on though its disk is full");
    }
    cluster.clear(Disk::Wal).unwrap();
    while cluster.psql("postgres", "select 1").is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", cluster.log_tail(20));
        if cluster.postmaster_pid().is_none() {
            cluster.start_again().unwrap();
        }
    }
    assert_eq!(cluster.psql("postgres", "select count(*) from t").unwrap(), "1000");
}

/// Not a test of its own: the body of the process that the test below starts and kills.
#[test]
fn owner() {
    let Some(facts) = std::env::var_os(OWNER) else { return };
    let cluster = with_disks().unwrap();
    std::fs::write(facts, cluster.socket_dir().display().to_string()).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_owner_leaves_no_disks() {
    if with_disks().is_none() {
        return;
    }
    let facts = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.args(["--exact", "owner"]).env(OWNER, facts.path()).stdout(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let dir = loop {
        assert!(begun.elapsed() < Duration::from_secs(60));
        let dir = std::fs::read_to_string(facts.path()).unwrap();
        if !dir.is_empty() {
            break std::path::PathBuf::from(dir);
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    while dir.exists() {
        assert!(begun.elapsed() < Duration::from_secs(90), "the directory stays");
    }
}
