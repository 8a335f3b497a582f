//! A worker between two primaries: a standby was promoted, and the old primary lives on.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{DEADLINE, Running, migrate};
use faultline::{Client, Worker};
use faultline_cluster::{Cluster, Programs};
use std::time::Duration;

const STATE: &str = "select string_agg(state::text || attempts, ' ') from faultline.all_jobs";

async fn until(cluster: &Cluster, sql: &str, answer: &str) {
    let waiting = async {
        while cluster.psql("postgres", sql).unwrap() != answer {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let seen = || cluster.psql("postgres", sql).unwrap();
    tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("{sql}: {} is not {answer}", seen()));
}

/// Whoever claims on one server and renews on another loses every job that it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_presence_has_moved_claims_no_more_where_it_was() {
    let old = Cluster::builder(Programs::find().unwrap()).durable(false).start().unwrap();
    let url = old.url("postgres");
    std::thread::spawn(move || migrate(&url)).join().unwrap();
    let new = old.standby("new").start().unwrap();
    let url = format!(
        "postgres://faultline@127.0.0.1:{},127.0.0.1:{}/postgres?target_session_attrs=read-write",
        new.port(),
        old.port()
    );
    let worker = Running::start(
        Worker::new(&Client::lazy(&url).unwrap())
            .lease_ttl(Duration::from_secs(2))
            .on_kind("k", |_, _| async { Ok(()) }),
    );
    // It claims where writes are taken, and its claim session is there to stay.
    old.psql("postgres", "select faultline.enqueue('k')").unwrap();
    until(&old, STATE, "succeeded1").await;
    until(&new, STATE, "succeeded1").await;
    new.detach().unwrap();
    new.promote().unwrap();
    old.psql(
        "postgres",
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name like '%presence'",
    )
    .unwrap();
    let present = "select count(*) from pg_stat_activity where application_name like '%presence'";
    until(&new, present, "1").await;
    // On the new primary it works.
    new.psql("postgres", "select faultline.enqueue('k')").unwrap();
    until(&new, STATE, "succeeded1 succeeded1").await;
    // On the old one its last claim may have been under way; from now on it claims nothing.
    until(&old, "select count(*) from pg_stat_activity where application_name like '%claim'", "0").await;
    worker.stop().await;
}
