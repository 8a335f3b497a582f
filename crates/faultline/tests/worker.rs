//! What a worker does with the jobs it runs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{DEADLINE, Running, client, database, wait_for, wait_until};
use faultline::{Cancel, Client, Failure, Job, Run, Snooze, State, Worker};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

#[derive(Serialize, Deserialize)]
struct Add {
    a: i64,
    b: i64,
}

impl Job for Add {
    const KIND: &'static str = "add";
}

fn quick(client: &Client) -> Worker {
    Worker::new(client).lease_ttl(Duration::from_secs(2)).grace(Duration::from_secs(5))
}

#[tokio::test]
async fn a_job_succeeds_and_keeps_its_result() {
    let database = database();
    let client = client(&database);
    let worker = Running::start(quick(&client).on(|job: Add, _| async move { Ok(job.a + job.b) }));
    let id = client.enqueue(&Add { a: 2, b: 3 }).headers(serde_json::json!({"tag": "x"})).await.unwrap().id();
    let job = wait_for(&client, id, State::Succeeded).await;
    assert_eq!((job.result.unwrap().get(), job.attempts, job.last_error), ("5", 1, None));
    assert_eq!(job.headers.unwrap().get(), r#"{"tag": "x"}"#);
    let summary = worker.stop().await;
    assert_eq!((summary.claimed, summary.succeeded), (1, 1));
}

#[tokio::test]
async fn a_failing_job_is_tried_again_until_it_succeeds() {
    let database = database();
    let client = client(&database);
    let worker = Running::start(quick(&client).on_kind("flaky", |_, run: Run| async move {
        if run.attempt() < 3 { Err(Failure::new(format!("attempt {}\0", run.attempt()))) } else { Ok("done") }
    }));
    let no_wait = Duration::ZERO;
    let id = client.enqueue_raw("flaky", ()).backoff(no_wait, no_wait).await.unwrap().id();
    let job = wait_for(&client, id, State::Succeeded).await;
    assert_eq!((job.attempts, job.last_error.as_deref()), (3, Some("attempt 2\u{fffd}")));
    let attempts = client.attempts(id).await.unwrap();
    let outcomes: Vec<_> = attempts.iter().map(|a| (a.attempt, a.outcome.as_str(), a.charged)).collect();
    assert_eq!(outcomes, [(1, "failed", true), (2, "failed", true)]);
    assert_eq!(worker.stop().await.retried, 2);
}

#[tokio::test]
async fn each_way_to_fail_ends_as_it_should() {
    let database = database();
    let client = client(&database);
    let worker = Running::start(
        quick(&client)
            .on_kind("fatal", |_, _| async { Err::<(), _>(Failure::fatal("no such card")) })
            .on_kind("panics", |_, _| async { panic!("at the {}", "disco") as Result<(), Failure> })
            .on_kind("slow", |_, _| std::future::pending::<Result<(), Failure>>())
            .on_kind("loud", |_, _| async { Err::<(), _>(Failure::new("x".repeat(100_000))) })
            .on(|job: Add, _| async move { Ok(job.a) }),
    );
    let enqueue = |kind: &'static str| client.enqueue_raw(kind, ()).max_attempts(1);
    for (id, reason, error) in [
        (enqueue("fatal").max_attempts(9).await, "fatal", "no such card"),
        (enqueue("panics").await, "attempts_exhausted", "the handler panicked: at the disco"),
        (
            enqueue("slow").timeout(Duration::from_millis(50)).await,
            "attempts_exhausted",
            "the attempt took longer than 50ms",
        ),
        (enqueue("loud").await, "attempts_exhausted", "xxx"),
        (enqueue("add").await, "attempts_exhausted", "the payload does not fit kind add"),
    ] {
        let job = wait_for(&client, id.unwrap().id(), State::Failed).await;
        let said = job.last_error.unwrap();
        assert!(said.starts_with(error) && said.len() <= 8192, "{said}");
        assert_eq!((job.reason.as_deref(), job.attempts), (Some(reason), 1));
    }
    assert_eq!(worker.stop().await.failed, 5);
}

#[tokio::test]
async fn a_snooze_is_not_an_attempt() {
    let database = database();
    let client = client(&database);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let worker = Running::start(quick(&client).on_kind("later", move |_, _| {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        async move { if call < 3 { Err(Snooze(Duration::from_millis(10)).into()) } else { Ok(()) } }
    }));
    let id = client.enqueue_raw("later", ()).max_attempts(1).await.unwrap().id();
    let job = wait_for(&client, id, State::Succeeded).await;
    assert_eq!((job.attempts, calls.load(Ordering::SeqCst)), (1, 4));
    worker.stop().await;
}

#[tokio::test]
async fn an_unknown_kind_is_put_back_and_not_failed() {
    let database = database();
    let client = client(&database);
    let worker = Running::start(quick(&client).on(|job: Add, _| async move { Ok(job.a) }));
    let id = client.enqueue_raw("other", ()).max_attempts(1).await.unwrap().id();
    let now = jiff::Timestamp::now();
    let job = wait_until(&client, id, |job| job.state == State::Queued && job.next_run_at > now).await;
    assert_eq!(job.attempts, 0);
    assert!(client.attempts(id).await.unwrap()[0].error.as_ref().unwrap().contains("no handler for kind other"));
    assert_eq!(worker.stop().await.put_back, 1);
}

#[tokio::test]
async fn cancelling_a_running_job_stops_its_handler() {
    let database = database();
    let client = client(&database);
    let started = Arc::new(Notify::new());
    let (starting, dropped) = (started.clone(), Arc::new(Semaphore::new(0)));
    let dropping = dropped.clone();
    struct OnDrop(Arc<Semaphore>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.add_permits(1);
        }
    }
    let worker = Running::start(quick(&client).lease_ttl(Duration::from_millis(600)).on_kind("long", move |_, _| {
        let guard = OnDrop(dropping.clone());
        starting.notify_one();
        async move {
            let _guard = guard;
            std::future::pending::<Result<(), Failure>>().await
        }
    }));
    let id = client.enqueue_raw("long", ()).await.unwrap().id();
    started.notified().await;
    assert_eq!(client.cancel(id).await.unwrap(), Cancel::Requested);
    let job = wait_for(&client, id, State::Cancelled).await;
    assert_eq!(job.reason.as_deref(), Some("cancelled"));
    drop(tokio::time::timeout(DEADLINE, dropped.acquire()).await.expect("the handler was dropped").unwrap());
    assert_eq!(client.cancel(id).await.unwrap(), Cancel::Finished);
    assert_eq!(worker.stop().await.cancelled, 1);
}

#[tokio::test]
async fn no_more_handlers_run_at_once_than_there_are_slots() {
    let database = database();
    let client = client(&database);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running, peak) = (now.clone(), most.clone());
    let worker = Running::start(quick(&client).queue("narrow", 3).on_kind("count", move |_, _| {
        let (running, peak) = (running.clone(), peak.clone());
        async move {
            peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    }));
    let jobs: Vec<_> =
        (0..60).map(|_| client.enqueue_raw("count", ()).queue("narrow").into_new_job().unwrap()).collect();
    client.enqueue_all(&jobs).await.unwrap();
    for job in &jobs {
        wait_for(&client, job.id, State::Succeeded).await;
    }
    assert_eq!(most.load(Ordering::SeqCst), 3);
    worker.stop().await;
}

#[tokio::test]
async fn a_drained_worker_lets_short_jobs_end_and_gives_long_ones_back_uncharged() {
    let database = database();
    let client = client(&database);
    let started = Arc::new(Semaphore::new(0));
    let starting = started.clone();
    let worker =
        Running::start(quick(&client).grace(Duration::from_millis(500)).on_kind("sleep", move |payload, _| {
            let ms: u64 = payload.get().parse().unwrap();
            starting.add_permits(1);
            async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(())
            }
        }));
    let short = client.enqueue_raw("sleep", 300).await.unwrap().id();
    let long = client.enqueue_raw("sleep", 600_000).await.unwrap().id();
    drop(started.acquire_many(2).await.unwrap());
    let summary = worker.stop().await;
    assert_eq!((summary.succeeded, summary.put_back), (1, 1));
    assert_eq!(client.get(short).await.unwrap().unwrap().state, State::Succeeded);
    let given_back = client.get(long).await.unwrap().unwrap();
    assert_eq!((given_back.state, given_back.attempts), (State::Queued, 0));
}

#[tokio::test]
async fn a_result_that_cannot_be_stored_does_not_undo_the_success() {
    let database = database();
    let client = client(&database);
    let worker = Running::start(quick(&client).on_kind("nul", |_, _| async { Ok("a\0b") }));
    let id = client.enqueue_raw("nul", ()).await.unwrap().id();
    let job = wait_for(&client, id, State::Succeeded).await;
    assert!(job.result.unwrap().get().contains("faultline_result_not_stored"));
    worker.stop().await;
}

#[tokio::test]
async fn jobs_run_in_the_order_of_their_priority() {
    let database = database();
    let client = client(&database);
    let mut ids = Vec::new();
    for priority in [4, 3, 2, 1] {
        ids.push(client.enqueue_raw("order", priority).priority(priority).await.unwrap().id());
    }
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seeing = seen.clone();
    let worker = Running::start(quick(&client).queue("default", 1).on_kind("order", move |payload, _| {
        seeing.lock().unwrap().push(payload.get().to_owned());
        async { Ok(()) }
    }));
    for id in ids {
        wait_for(&client, id, State::Succeeded).await;
    }
    assert_eq!(*seen.lock().unwrap(), ["1", "2", "3", "4"]);
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_with_impossible_settings_says_so() {
    let database = database();
    let client = client(&database);
    for (worker, field) in [
        (Worker::new(&client).queue("", 1), "queue"),
        (Worker::new(&client).queue("a", 0), "slots"),
        (Worker::new(&client).queue("a", 1).queue("a", 2), "queue"),
        (Worker::new(&client).lease_ttl(Duration::ZERO), "lease_ttl"),
        (Worker::new(&client).on_kind("a b", |_, _| async { Ok(()) }), "kind"),
    ] {
        let error = worker.run_until(async {}).await.unwrap_err().to_string();
        assert!(error.starts_with(field), "{error}");
    }
}

#[tokio::test]
async fn a_job_that_crashed_its_worker_twice_runs_beside_no_other_such_job() {
    let database = database();
    let client = client(&database);
    let jobs: Vec<_> = (0..5).map(|_| client.enqueue_raw("suspect", ()).into_new_job().unwrap()).collect();
    client.enqueue_all(&jobs).await.unwrap();
    let plain = common::plain(&database.url()).await;
    plain.execute("update faultline.jobs set crashes = 2", &[]).await.unwrap();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running, peak) = (now.clone(), most.clone());
    let worker = Running::start(quick(&client).on_kind("suspect", move |_, _| {
        let (running, peak) = (running.clone(), peak.clone());
        async move {
            peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    }));
    for job in &jobs {
        let job = wait_for(&client, job.id, State::Succeeded).await;
        assert_eq!(job.attempts, 1);
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
    worker.stop().await;
}

#[tokio::test]
async fn jobs_that_fail_together_are_not_tried_again_together() {
    const MINUTE: Duration = Duration::from_secs(60);
    let database = database();
    let client = client(&database);
    let worker =
        Running::start(quick(&client).on_kind("fails", |_, _| async { Err::<(), _>(Failure::new("as all others")) }));
    let enqueue = || client.enqueue_raw("fails", ()).backoff(10 * MINUTE, 10 * MINUTE).into_new_job().unwrap();
    let jobs: Vec<_> = (0..50).map(|_| enqueue()).collect();
    client.enqueue_all(&jobs).await.unwrap();
    let mut due = Vec::new();
    for job in &jobs {
        let tried = |job: &faultline::JobRecord| job.attempts == 1 && job.state == State::Queued;
        due.push(wait_until(&client, job.id, tried).await.next_run_at);
    }
    // Uniform over ten minutes; the time in which they failed is shorter than one.
    let spread = due.iter().max().unwrap().duration_since(*due.iter().min().unwrap());
    assert!(spread.unsigned_abs() > 5 * MINUTE, "they come back within {spread:?}");
    worker.stop().await;
}

#[tokio::test]
async fn workers_on_one_host_are_told_apart() {
    let database = database();
    let client = client(&database);
    let workers: Vec<Running> = (0..2).map(|_| Running::start(quick(&client))).collect();
    let plain = common::plain(&database.url()).await;
    let alive = async || -> i64 {
        let alive = "select count(distinct presence_pid) from faultline.workers where stopped_at is null";
        plain.query_one(alive, &[]).await.unwrap().get(0)
    };
    let both = async {
        while alive().await < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, both).await.expect("both are registered");
    for (stopped, worker) in (1..).zip(workers) {
        worker.stop().await;
        assert_eq!(alive().await, 2 - stopped);
    }
}

/// What a test sees of a handler that never ends by itself.
struct Endless {
    run: Run,
    dropped: Arc<Semaphore>,
}

/// A worker of a queue whose one handler never ends; answers that handler once it runs.
async fn endless(client: &Client, queue: &str, strict: bool) -> (Running, faultline::JobId, Endless) {
    struct OnDrop(Arc<Semaphore>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.add_permits(1);
        }
    }
    let (started, mut runs) = tokio::sync::mpsc::unbounded_channel();
    let worker = quick(client).queue(queue, 1).lease_ttl(Duration::from_millis(900)).strict(strict);
    let worker = Running::start(worker.on_kind("endless", move |_, run: Run| {
        let dropped = Arc::new(Semaphore::new(0));
        let guard = OnDrop(dropped.clone());
        let _ = started.send(Endless { run, dropped });
        async move {
            let _guard = guard;
            std::future::pending::<Result<(), Failure>>().await
        }
    }));
    let id = client.enqueue_raw("endless", ()).queue(queue).await.unwrap().id();
    let first = tokio::time::timeout(DEADLINE, runs.recv()).await.unwrap().unwrap();
    (worker, id, first)
}

#[tokio::test]
async fn a_strict_worker_stops_a_handler_whose_lease_may_have_ended_and_no_other_does() {
    let database = database();
    let client = client(&database);
    let (strict, strict_id, stopped) = endless(&client, "strict", true).await;
    let (loose, loose_id, goes_on) = endless(&client, "loose", false).await;
    // Nobody can renew or reap a row that another session has locked.
    let mut plain = common::plain(&database.url()).await;
    let lock = plain.transaction().await.unwrap();
    lock.execute("select from faultline.jobs where id = any($1) for update", &[&vec![strict_id.0, loose_id.0]])
        .await
        .unwrap();
    drop(tokio::time::timeout(DEADLINE, stopped.dropped.acquire()).await.expect("it is stopped").unwrap());
    assert_eq!((stopped.run.lease_left(), stopped.run.is_lost()), (Duration::ZERO, true));
    let over = async {
        while !goes_on.run.lease_left().is_zero() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, over).await.unwrap();
    // Later than the looks of a strict worker.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((goes_on.dropped.available_permits(), goes_on.run.is_lost()), (0, false));
    lock.rollback().await.unwrap();
    // Given back or reaped, whoever came first: the job is not stuck.
    wait_until(&client, strict_id, |job| job.lease.as_ref().is_some_and(|l| l.id != stopped.run.lease_id())).await;
    strict.stop().await;
    loose.stop().await;
}

#[tokio::test]
async fn renewals_keep_a_strict_handler_running_past_the_length_of_its_lease() {
    let database = database();
    let client = client(&database);
    let worker = quick(&client).lease_ttl(Duration::from_millis(900)).strict(true);
    let worker = Running::start(worker.on_kind("long", |_, run: Run| async move {
        let mut lasted = Vec::new();
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            lasted.push(!run.lease_left().is_zero());
        }
        Ok(lasted.into_iter().all(|held| held))
    }));
    let id = client.enqueue_raw("long", ()).await.unwrap().id();
    let job = wait_for(&client, id, State::Succeeded).await;
    assert_eq!((job.attempts, job.result.unwrap().get()), (1, "true"));
    worker.stop().await;
}

#[tokio::test]
async fn a_row_that_somebody_has_locked_costs_the_other_jobs_of_its_worker_no_lease() {
    let database = database();
    let client = client(&database);
    let go_on = Arc::new(Semaphore::new(0));
    let waiting = go_on.clone();
    let worker = quick(&client).on_kind("long", move |_, _| {
        let waiting = waiting.clone();
        async move {
            drop(waiting.acquire().await.unwrap());
            Ok(())
        }
    });
    let worker = Running::start(worker);
    let locked = client.enqueue_raw("long", ()).await.unwrap().id();
    let other = client.enqueue_raw("long", ()).await.unwrap().id();
    wait_for(&client, locked, State::Running).await;
    let expires = |job: &faultline::JobRecord| job.lease.as_ref().unwrap().expires_at;
    let first = expires(&wait_for(&client, other, State::Running).await);
    let mut plain = common::plain(&database.url()).await;
    let lock = plain.transaction().await.unwrap();
    lock.execute("select from faultline.jobs where id = $1 for update", &[&locked.0]).await.unwrap();
    // The row is locked for two lease times and a half: far beyond the moment in which another job would be recovered.
    let later = first + jiff::SignedDuration::from_secs(5);
    wait_until(&client, other, |job| expires(job) > later).await;
    lock.rollback().await.unwrap();
    wait_until(&client, locked, |job| expires(job) > later).await;
    go_on.add_permits(2);
    for id in [locked, other] {
        assert_eq!(wait_for(&client, id, State::Succeeded).await.attempts, 1);
    }
    assert_eq!(worker.stop().await.leases_lost, 0);
}
