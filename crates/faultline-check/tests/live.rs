//! Checks of a live database: what is right passes, what was broken by hand is found, and nothing is ever written.

#![cfg(feature = "live")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use faultline_check::live::{EVENTS_AS_JSON, Limits, LiveOutcome, ROWS_AS_JSON, check_live};
use faultline_check::witness::{JobRow, Sample, Witnesses};
use faultline_check::{Status, check};
use faultline_cluster::testing::{self, TestDatabase};
use std::time::Duration;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls};

const MIGRATIONS: [&str; 3] = [
    include_str!("../../../migrations/0001_engine.sql"),
    include_str!("../../../migrations/0002_functions.sql"),
    include_str!("../../../migrations/0003_audit.sql"),
];

/// Takes a job under a lease of an hour.
const CLAIM: &str = "update faultline.jobs set state = 'running', attempts = attempts + 1, lease_id = gen_random_uuid(),
    lease_owner = gen_random_uuid(), started_at = clock_timestamp(), lease_expires_at = clock_timestamp() + interval '1 hour'
    where state = 'queued'";
const HISTORY_OF_JOBS: &str =
    "insert into faultline.job_history (id, finished_at, created_at, next_run_at, max_attempts,
    timeout_ms, backoff_base_ms, backoff_cap_ms, attempts, crashes, state, priority, queue, kind, payload)
    select id, clock_timestamp(), created_at, next_run_at, max_attempts, timeout_ms, backoff_base_ms, backoff_cap_ms,
           attempts, crashes, 'succeeded', priority, queue, kind, payload from faultline.jobs";

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A database with the log on, one waiting job with a key, one running and one that ended.
async fn database() -> (TestDatabase, Client) {
    let database = testing::database(|url| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = connect(url).await;
            client.batch_execute("create schema faultline").await.unwrap();
            for migration in MIGRATIONS {
                client.batch_execute(migration).await.unwrap();
            }
        });
    });
    let client = connect(&database.url()).await;
    let enqueue = |key: &str| format!("select faultline.enqueue(kind => 'k', key => '{key}')");
    client.batch_execute("select faultline.audit_on()").await.unwrap();
    client.batch_execute(&enqueue("ends")).await.unwrap();
    client.batch_execute(CLAIM).await.unwrap();
    client.batch_execute("select faultline.complete_in_tx(id, lease_id) from faultline.jobs").await.unwrap();
    client.batch_execute(&enqueue("runs")).await.unwrap();
    client.batch_execute(CLAIM).await.unwrap();
    client.batch_execute(&enqueue("waits")).await.unwrap();
    (database, client)
}

/// The names of the checks that found something.
fn violated(outcomes: &[LiveOutcome]) -> Vec<&str> {
    outcomes.iter().filter(|o| matches!(o.status, Status::Violated { .. })).map(|o| o.name).collect()
}

/// Tight bounds, for what a test has just broken.
fn tight() -> Limits {
    let second = Duration::from_secs(1);
    Limits { reap_bound: second, holdoff: Duration::ZERO, idle_in_transaction: Duration::ZERO, ..Limits::default() }
}

#[tokio::test]
async fn a_sound_database_passes_every_check() {
    let (_database, client) = database().await;
    let outcomes = check_live(&client, &Limits::default()).await.unwrap();
    assert_eq!(outcomes.len(), 9);
    for outcome in outcomes {
        assert_eq!(outcome.status, Status::Passed, "{}", outcome.name);
    }
}

#[tokio::test]
async fn what_was_broken_by_hand_is_found_by_its_check_alone() {
    let drop_checks =
        "alter table faultline.jobs drop constraint jobs_lease_is_whole, drop constraint jobs_attempts_are_bounded;
                       alter table faultline.jobs disable trigger jobs_refuse_illegal_transition";
    let broken = [
        ("shapes", "update faultline.jobs set attempts = -1 where state = 'queued'"),
        ("overdue", "update faultline.jobs set lease_expires_at = clock_timestamp() - interval '1 minute' where state = 'running'"),
        ("both-tables", HISTORY_OF_JOBS),
        (
            "history-twice",
            "create table faultline.copy as select * from faultline.job_history;
             insert into faultline.job_history select * from faultline.copy",
        ),
        ("keys", "delete from faultline.jobs where state = 'queued'; truncate faultline.job_events"),
        ("partitions", "select faultline.maintain_partitions(0); do $$ begin execute format('drop table faultline.job_attempts_%s',
            to_char(clock_timestamp() at time zone 'utc' + interval '1 day', 'YYYYMMDD')); end $$"),
        ("log-chain", "delete from faultline.job_events where reason = 'claimed'
            and job_id in (select job_id from faultline.job_events where reason = 'completed')"),
        ("log-fold", "alter table faultline.jobs disable trigger jobs_audit_update;
            update faultline.jobs set attempts = attempts + 1 where state = 'running';
            alter table faultline.jobs enable trigger jobs_audit_update"),
    ];
    for (name, sql) in broken {
        let (_database, client) = database().await;
        client.batch_execute(drop_checks).await.unwrap();
        client.batch_execute(sql).await.unwrap();
        let outcomes = check_live(&client, &tight()).await.unwrap();
        assert_eq!(violated(&outcomes), [name], "{outcomes:#?}");
    }
}

#[tokio::test]
async fn a_session_that_is_idle_in_its_transaction_is_found() {
    let (database, client) = database().await;
    let idle = connect(&database.url()).await;
    idle.batch_execute("set application_name = 'forgetful'; begin; select 1").await.unwrap();
    // Its state is written before it answers, but by the clock of a moment that has to pass.
    client.batch_execute("select pg_sleep(0.01)").await.unwrap();
    let outcomes = check_live(&client, &tight()).await.unwrap();
    assert_eq!(violated(&outcomes), ["sessions"]);
}

#[tokio::test]
async fn a_gap_in_the_log_is_not_held_against_the_jobs() {
    let (_database, client) = database().await;
    client.batch_execute("select faultline.audit_off()").await.unwrap();
    client.batch_execute(CLAIM).await.unwrap();
    let outcomes = check_live(&client, &Limits::default()).await.unwrap();
    let unchecked = outcomes.iter().filter(|o| matches!(o.status, Status::NotChecked { .. })).map(|o| o.name);
    assert_eq!(unchecked.collect::<Vec<_>>(), ["log-chain", "log-fold"]);
    client.batch_execute("select faultline.audit_on()").await.unwrap();
    client.batch_execute("select faultline.complete_in_tx(id, lease_id) from faultline.jobs").await.unwrap();
    let outcomes = check_live(&client, &Limits::default()).await.unwrap();
    assert!(violated(&outcomes).is_empty(), "{outcomes:#?}");
}

#[tokio::test]
async fn a_check_that_takes_too_long_is_not_made_and_blocks_nobody() {
    let (database, client) = database().await;
    let locker = connect(&database.url()).await;
    locker.batch_execute("begin; lock table faultline.jobs in access exclusive mode").await.unwrap();
    let limits = Limits { statement_timeout: Duration::from_millis(200), ..Limits::default() };
    let outcomes = check_live(&client, &limits).await.unwrap();
    assert!(matches!(&outcomes[0].status, Status::NotChecked { reason } if reason.contains("200 ms")), "{outcomes:#?}");
    assert!(outcomes.iter().any(|o| o.status == Status::Passed), "the others are made");
}

#[tokio::test]
async fn a_role_that_may_only_read_can_check() {
    let (_database, client) = database().await;
    let role = format!("reader_{}", std::process::id());
    let grants = format!(
        "create role {role}; grant usage on schema faultline to {role}; grant select on all tables in schema faultline to {role};
         grant execute on function faultline.audit_is_on() to {role}; set role {role}"
    );
    client.batch_execute(&grants).await.unwrap();
    let outcomes = check_live(&client, &Limits::default()).await.unwrap();
    assert!(violated(&outcomes).is_empty());
    client.batch_execute(&format!("reset role; drop owned by {role}; drop role {role}")).await.unwrap();
}

#[tokio::test]
async fn the_witnesses_of_a_database_are_lines_that_the_checker_reads() {
    let (_database, client) = database().await;
    let lines = async |sql: &str, params: &[(&(dyn ToSql + Sync), Type)]| -> Vec<String> {
        client.query_typed(sql, params).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    let sample = lines(ROWS_AS_JSON, &[(&1, Type::INT4), (&false, Type::BOOL)]).await;
    let end = lines(ROWS_AS_JSON, &[(&2, Type::INT4), (&true, Type::BOOL)]).await;
    assert_eq!((sample.len(), end.len()), (2, 3));
    let sampled = |line: &String| serde_json::from_str::<Sample>(&line.replacen('{', r#"{"what":"job","#, 1)).unwrap();
    let events = lines(EVENTS_AS_JSON, &[]).await;
    let mut witnesses = Witnesses {
        events: Some(events.iter().map(|line| serde_json::from_str(line).unwrap()).collect()),
        samples: Some(sample.iter().map(sampled).collect()),
        end: Some(end.iter().map(|line| serde_json::from_str::<JobRow>(line).unwrap()).collect()),
        ..Witnesses::default()
    };
    witnesses.run.lease_ttl_us = 3_600_000_000;
    let verdict = check(&witnesses);
    assert!(verdict.holds(), "{verdict}");
    for number in [7, 8, 9, 10, 11, 13, 14, 18, 20, 22] {
        let outcome = verdict.outcomes.iter().find(|outcome| outcome.number == number).unwrap();
        assert_eq!(outcome.status, Status::Passed, "{number}");
    }
}
