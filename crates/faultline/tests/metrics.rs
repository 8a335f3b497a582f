//! Counters are witnesses: what they say equals what the database's own log of transitions says, for every way in which an
//! attempt may begin and end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{DEADLINE, Running, client, database, plain, wait_for, wait_until};
use faultline::{Client, Failure, JobId, Snooze, State, Worker};
use faultline_core::{LeaseId, WorkerId};
use faultline_store::lease::{ClaimedJob, Floors, claim};
use faultline_store::presence::{WorkerFacts, register};
use faultline_store::{Database, Plans};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// What the metrics of a client say: the sum of a counter over the series that have these labels.
fn counted(client: &Client, name: &str, labels: &[&str]) -> u64 {
    let text = client.metrics().encode();
    let samples = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
    samples
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum()
}

/// Everything that has a word in `job_events.reason`, by that word.
fn by_reason(client: &Client) -> BTreeMap<String, u64> {
    let plain = [
        ("faultline_jobs_enqueued_total{", "enqueued"),
        ("faultline_jobs_claimed_total{", "claimed"),
        ("faultline_lease_renewals_total{", "renewed"),
    ];
    let with_word =
        ["faultline_attempts_ended_total{", "faultline_leases_reaped_total{", "faultline_operator_transitions_total{"];
    let mut counts = BTreeMap::new();
    for line in client.metrics().encode().lines() {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let word = plain.iter().find(|(name, _)| series.starts_with(name)).map(|(_, word)| *word).or_else(|| {
            with_word.iter().find(|name| series.starts_with(**name))?;
            series.split_once("reason=\"")?.1.split('"').next()
        });
        if let (Some(word), Ok(value @ 1..)) = (word, value.parse::<u64>()) {
            *counts.entry(word.to_owned()).or_default() += value;
        }
    }
    counts
}

/// The same of the database's log.
async fn events(url: &str) -> BTreeMap<String, u64> {
    let rows =
        plain(url).await.query("select reason, count(*) from faultline.job_events group by 1", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), u64::try_from(row.get::<_, i64>(1)).unwrap())).collect()
}

/// Takes one job of a queue as some other worker would.
async fn take(database: &Database, queue: &str, owner: WorkerId, ttl: Duration) -> ClaimedJob {
    let lease = LeaseId::new(&mut rand::rng());
    let session = database.session("thief", Plans::InOrder).await.unwrap();
    claim(&session, queue, lease, owner, ttl, 1, &Floors::head()).await.unwrap().pop().unwrap()
}

/// A worker that dies: its session ends while it holds a job.
async fn die_with_a_job(database: &Database, queue: &str) {
    let id = WorkerId::new(&mut rand::rng());
    let session = database.session("victim", Plans::ById).await.unwrap();
    let facts = WorkerFacts {
        id,
        pid: 1,
        slots: 1,
        lease_ttl: Duration::from_secs(60),
        host: "host".into(),
        version: "0".into(),
        queues: vec![queue.into()],
        kinds: vec!["*".into()],
        started_at: jiff::Timestamp::now(),
    };
    register(&session, &facts, true).await.unwrap();
    take(database, queue, id, Duration::from_secs(60)).await;
}

async fn enqueue(client: &Client, queue: &str, kind: &str, attempts: i32) -> JobId {
    let job = client.enqueue_raw(kind, json!({})).queue(queue).max_attempts(attempts);
    job.backoff(Duration::ZERO, Duration::ZERO).await.unwrap().id()
}

fn worker(client: &Client, started: Arc<Notify>) -> Worker {
    let snoozed = std::sync::atomic::AtomicBool::new(false);
    Worker::new(client)
        .queue("q", 10)
        .queue("reaped", 10)
        .lease_ttl(Duration::from_secs(1))
        .grace(Duration::ZERO)
        .on_kind("fine", async |_, _| Ok::<_, Failure>(1))
        .on_kind("errs", async |_, _| Err::<(), _>(Failure::new("no")))
        .on_kind("fatal", async |_, _| Err::<(), _>(Failure::fatal("never")))
        .on_kind("panics", |_, _| async { panic!("on purpose") as Result<(), Failure> })
        .on_kind("slow", async |_, _| {
            tokio::time::sleep(DEADLINE).await;
            Ok::<_, Failure>(())
        })
        .on_kind("snoozes", move |_, _| {
            let again = snoozed.swap(true, std::sync::atomic::Ordering::Relaxed);
            async move { if again { Ok(()) } else { Err(Failure::from(Snooze(Duration::ZERO))) } }
        })
        .on_kind("waits", move |_, _| {
            started.notify_one();
            std::future::pending::<Result<(), Failure>>()
        })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_equal_the_transitions_of_a_run() {
    let database = database();
    let client = client(&database);
    plain(&database.url()).await.batch_execute("select faultline.audit_on()").await.unwrap();

    // By hands that count nothing: a worker that dies, one that forgets its lease, and a crash loop.
    let elsewhere = Database::new(&database.url(), "elsewhere", 2).unwrap();
    for _ in 0..2 {
        enqueue(&client, "reaped", "fine", 3).await;
    }
    enqueue(&client, "reaped", "fine", 1).await;
    die_with_a_job(&elsewhere, "reaped").await;
    for _ in 0..2 {
        take(&elsewhere, "reaped", WorkerId::new(&mut rand::rng()), Duration::from_millis(1)).await;
    }

    let fine = [enqueue(&client, "q", "fine", 1).await, enqueue(&client, "q", "fine", 1).await];
    let [errs, fatal, panics] = [
        enqueue(&client, "q", "errs", 3).await,
        enqueue(&client, "q", "fatal", 3).await,
        enqueue(&client, "q", "panics", 1).await,
    ];
    let slow = client.enqueue_raw("slow", json!({})).queue("q").max_attempts(1).timeout(Duration::from_millis(5));
    let slow = slow.await.unwrap().id();
    let snoozes = enqueue(&client, "q", "snoozes", 1).await;
    let unknown = enqueue(&client, "q", "nobodys", 1).await;
    // A duplicate, a conflict.
    for kind in ["fine", "fine", "errs"] {
        let _ = client.enqueue_raw(kind, json!({})).queue("q").key("one").await;
    }

    let started = Arc::new(Notify::new());
    let running = Running::start(worker(&client, started.clone()));
    for id in fine.into_iter().chain([snoozes]) {
        wait_for(&client, id, State::Succeeded).await;
    }
    for id in [errs, fatal, panics, slow] {
        wait_for(&client, id, State::Failed).await;
    }
    wait_until(&client, unknown, |job| job.state == State::Queued && job.next_run_at > jiff::Timestamp::now()).await;

    // Operators: cancel a waiting job and a running one, move one to now, retry one that has ended.
    assert_eq!(client.cancel(unknown).await.unwrap(), faultline::Cancel::Cancelled);
    let waits = enqueue(&client, "q", "waits", 1).await;
    started.notified().await;
    assert_eq!(client.cancel(waits).await.unwrap(), faultline::Cancel::Requested);
    wait_for(&client, waits, State::Cancelled).await;
    let later = client.enqueue_raw("fine", json!({})).queue("q").delay(DEADLINE).await.unwrap().id();
    client.retry(later).await.unwrap();
    wait_for(&client, later, State::Succeeded).await;
    let faultline::Retry::Successor { id: again, .. } = client.retry(fine[0]).await.unwrap() else { panic!() };
    wait_for(&client, again, State::Succeeded).await;
    client.retry(fine[0]).await.unwrap();

    // Somebody else has the job: its handler is stopped, and what it says is refused.
    enqueue(&client, "q", "waits", 2).await;
    started.notified().await;
    let held: i64 = until(&database.url(), "select count(*) from faultline.jobs where queue = 'reaped'", 0).await;
    assert_eq!(held, 0, "the dead worker's jobs have run");
    let summary = running.stop().await;
    assert_eq!(summary.leases_lost, 0);

    let mut expected = events(&database.url()).await;
    // The hands above took three jobs.
    *expected.get_mut("claimed").unwrap() -= 3;
    let counts = by_reason(&client);
    for word in ["lost", "expired", "crash_loop", "released", "snoozed", "moved", "attempts_exhausted", "renewed"] {
        assert!(counts.contains_key(word), "{word} did not happen: {counts:?}");
    }
    assert_eq!(counts, expected);

    let is = |name, labels: &[&str]| counted(&client, name, labels);
    assert_eq!(is("faultline_jobs_deduplicated_total", &[]), 1);
    assert_eq!(is("faultline_enqueue_conflicts_total", &[r#"kind="errs""#]), 1);
    assert_eq!(is("faultline_attempts_failed_total", &[r#"cause="error""#]), 4, "errs thrice, fatal");
    assert_eq!(is("faultline_attempts_failed_total", &[r#"cause="panic""#]), 1);
    assert_eq!(is("faultline_attempts_failed_total", &[r#"cause="timeout""#]), 1);
    assert_eq!(is("faultline_attempts_released_total", &[r#"cause="unknown_kind""#]), 1);
    assert_eq!(is("faultline_attempts_released_total", &[r#"cause="shutdown""#]), 1);
    assert_eq!(is("faultline_leases_reaped_total", &[r#"lease="expired""#, r#"reason="crash_loop""#]), 1);
    assert_eq!(is("faultline_recovery_delay_seconds_count", &[]), 2, "the crash loop was no recovery");
    assert_eq!(is("faultline_start_latency_seconds_count", &[r#"kind="fine""#, r#"queue="q""#]), 5);
    assert_eq!(is("faultline_stale_writes_refused_total", &[]) + is("faultline_leases_lost_total", &[]), 0);
    let text = client.metrics().encode();
    assert!(text.contains("\nfaultline_finish_backlog 0\n") && text.contains("\nfaultline_database_up 1\n"), "{text}");
    assert!(text.contains("faultline_worker_slots{queue=\"q\"} 0"), "a stopped worker offers no slots");
}

/// An answer that was lost counts once, when it has become known: sessions are killed under a worker, before and after their
/// statements have committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_known_after_its_answer_was_lost_counts_once() {
    const JOBS: usize = 500;
    let database = database();
    let client = client(&database);
    let session = plain(&database.url()).await;
    session.batch_execute("select faultline.audit_on()").await.unwrap();
    let worker = Worker::new(&client).queue("q", 20).on_kind("fine", async |_, _| Ok::<_, Failure>(()));
    let running = Running::start(worker);
    let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                 where datname = current_database() and application_name in ('faultline claim', 'faultline finish')
                   and state = 'active'";
    let mut jobs = 0;
    let storm = async {
        loop {
            let lost = counted(&client, "faultline_indeterminate_statements_total", &[]);
            let left: i64 = session.query_one("select count(*) from faultline.jobs", &[]).await.unwrap().get(0);
            match (left, lost) {
                (0, 1..) => break,
                (0, 0) => {
                    let job = || client.enqueue_raw("fine", json!({})).queue("q").into_new_job().unwrap();
                    client.enqueue_all(&(0..JOBS).map(|_| job()).collect::<Vec<_>>()).await.unwrap();
                    jobs += JOBS as u64;
                }
                // Each costs the worker a pause: some are enough.
                (_, 0..4) => {
                    session.execute(kill, &[]).await.unwrap();
                }
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(2 * DEADLINE, storm).await.expect("answers are lost, and all jobs end");
    let summary = running.stop().await;
    assert_eq!(summary.succeeded, jobs);
    let engine_lost = |operation: &str| {
        let lost = counted(&client, "faultline_indeterminate_statements_total", &[operation]);
        (lost, counted(&client, "faultline_indeterminate_resolved_total", &[operation]))
    };
    let (claims, finishes) = (engine_lost("operation=\"claim\""), engine_lost("operation=\"finish\""));
    assert_eq!((claims.0, finishes.0), (claims.1, finishes.1), "all have become known");
    assert!(counted(&client, "faultline_database_reconnects_total", &[]) > 0);

    let (mut counts, mut expected) = (by_reason(&client), events(&database.url()).await);
    // A renewal whose answer was lost is not asked for again.
    counts.remove("renewed");
    expected.remove("renewed");
    assert_eq!(counts, expected);
}

async fn until(url: &str, sql: &str, wanted: i64) -> i64 {
    let session = plain(url).await;
    let reached = tokio::time::timeout(DEADLINE, async {
        loop {
            let found: i64 = session.query_one(sql, &[]).await.unwrap().get(0);
            if found == wanted {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    reached.await.unwrap_or_else(|_| panic!("waited in vain: {sql}"))
}
