//! One cluster per test process, one database per test.
//!
//! ```no_run
//! # fn migrate(_url: &str) {}
//! let database = faultline_cluster::testing::database(migrate);
//! println!("a migrated database of its own: {}", database.url());
//! ```
//!
//! The cluster starts with the first database. Its server goes with the process: statics are not dropped, but the guard sees
//! the process end. Everything here panics on failure, because that is how a test fails.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use crate::{Cluster, ClusterError, Programs};

/// Tests run in parallel and each may hold a few pools.
const MAX_CONNECTIONS: &str = "500";
/// Test data is small, and 500 connections need memory too.
const SHARED_BUFFERS: &str = "64MB";

/// Without `fsync`, copying the files is 1.2 to 2 times quicker than `wal_log`, for creating and dropping alike: 12 ms and
/// 7 ms on PostgreSQL 15 with a small template.
const STRATEGY: &str = "file_copy";

/// The cluster that all tests of this process share: fast, not durable. Do not break it, others use it; start your own.
///
/// # Panics
/// If no server programs are installed or the server does not start; the text says why.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| start().unwrap_or_else(|error| panic!("no Postgres for the tests: {error}")))
}

/// A new database, prepared by `prepare`, which gets the URL of an empty one.
///
/// `prepare` runs once per process, on a thread of its own (so that it may start a runtime even if the test has one); its
/// database then serves as the template. It should close its connections.
///
/// # Panics
/// If `prepare` panics or the server fails.
pub fn database(prepare: fn(&str)) -> TestDatabase {
    static TEMPLATES: Mutex<Option<HashMap<usize, String>>> = Mutex::new(None);
    let template = {
        // A panic in `prepare` leaves the map as it was.
        let mut templates = TEMPLATES.lock().unwrap_or_else(PoisonError::into_inner);
        let templates = templates.get_or_insert_default();
        let known = templates.get(&(prepare as usize)).cloned();
        known.unwrap_or_else(|| {
            let name = template(prepare);
            templates.insert(prepare as usize, name.clone());
            name
        })
    };
    let name = next_name("test");
    run(&format!("create database {name} template {template} strategy {STRATEGY}"));
    TestDatabase { name }
}

/// A database of its own for one test, dropped with this value, whoever is still connected.
#[derive(Debug)]
#[must_use = "the database is dropped with this value"]
pub struct TestDatabase {
    name: String,
}

impl TestDatabase {
    /// The URL to connect to.
    #[must_use]
    pub fn url(&self) -> String {
        cluster().url(&self.name)
    }

    /// The name in [`cluster`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // A database that stays for the few seconds of the process is no reason to fail a test.
        let _ = cluster().psql("postgres", &format!("drop database if exists {} with (force)", self.name));
    }
}

fn start() -> Result<Cluster, ClusterError> {
    Cluster::builder(Programs::find()?)
        .durable(false)
        .setting("max_connections", MAX_CONNECTIONS)
        .setting("shared_buffers", SHARED_BUFFERS)
        .start()
}

fn template(prepare: fn(&str)) -> String {
    let name = next_name("template");
    run(&format!("create database {name} strategy {STRATEGY}"));
    let url = cluster().url(&name);
    let prepared = thread::spawn(move || prepare(&url)).join();
    assert!(prepared.is_ok(), "the template database could not be prepared");
    // A template must have no sessions, and a pool of `prepare` may still be closing its own.
    run(&format!("alter database {name} allow_connections false"));
    run(&format!("select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '{name}'"));
    name
}

fn next_name(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn run(sql: &str) {
    if let Err(error) = cluster().psql("postgres", sql) {
        panic!("{sql}: {error}");
    }
}
