//! What a worker does when things around it break.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{DEADLINE, Running, client, database, migrate, plain, wait_for, wait_until};
use faultline::{Client, Failure, Reaper, State, Worker};
use faultline_cluster::{Cluster, Mode, Programs};
use faultline_core::{LeaseId, WorkerId};
use faultline_store::lease::{Floors, claim};
use faultline_store::{ClientWrapper, Database};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

const TTL: Duration = Duration::from_secs(1);

fn own_cluster() -> (Cluster, Client) {
    let cluster = Cluster::builder(Programs::find().unwrap()).durable(false).start().unwrap();
    let url = cluster.url("postgres");
    std::thread::spawn({
        let url = url.clone();
        move || migrate(&url)
    })
    .join()
    .unwrap();
    (cluster, Client::lazy(&url).unwrap())
}

/// Stops the database while jobs run, for a part of a lease time up to several, in each way it can stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_costs_a_surviving_worker_no_job_and_no_attempt() {
    type Break = fn(&mut Cluster);
    let breaks: [(&str, Break, f64); 4] = [
        ("fast stop", |c| c.stop(Mode::Fast).unwrap(), 0.3),
        ("immediate stop", |c| c.stop(Mode::Immediate).unwrap(), 1.5),
        ("kill -9", |c| c.kill().unwrap(), 4.0),
        ("kill -9, short", |c| c.kill().unwrap(), 0.3),
    ];
    let (mut cluster, client) = own_cluster();
    let starts: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let starting = starts.clone();
    let worker = Running::start(Worker::new(&client).lease_ttl(TTL).on_kind("sleep", move |payload, run| {
        *starting.lock().unwrap().entry(run.id().to_string()).or_default() += 1;
        let ms: u64 = payload.get().parse().unwrap();
        async move {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(())
        }
    }));
    // Another process that would reap, were it not for the holdoff.
    let stop_reaper = CancellationToken::new();
    let reaper = tokio::spawn(Reaper::all_queues(&client).lease_ttl(TTL).run_until(stop_reaper.clone()));
    for (name, break_it, outage_ttls) in breaks {
        let outage = TTL.mul_f64(outage_ttls);
        let mut ids = Vec::new();
        // Some end before the outage, some in it, some after it.
        for n in 0..30u64 {
            let ms = n * u64::try_from(outage.as_millis()).unwrap() / 10;
            ids.push(client.enqueue_raw("sleep", ms).await.unwrap().id());
        }
        for id in &ids {
            wait_until(&client, *id, |job| job.state != State::Queued).await;
        }
        tokio::task::block_in_place(|| break_it(&mut cluster));
        let asked = Instant::now();
        let refused = client.enqueue_raw("sleep", 0).await.unwrap_err().to_string();
        assert!(refused.contains("cannot reach") || refused.contains("unknown whether"), "{refused}");
        assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
        tokio::time::sleep(outage.saturating_sub(asked.elapsed())).await;
        tokio::task::block_in_place(|| cluster.start_again().unwrap());
        for id in &ids {
            let job = wait_for(&client, *id, State::Succeeded).await;
            assert_eq!((job.attempts, job.crashes), (1, 0), "{name}: {job:?}");
            assert_eq!(starts.lock().unwrap()[&id.to_string()], 1, "{name}");
        }
    }
    let summary = worker.stop().await;
    assert_eq!((summary.leases_lost, summary.retried, summary.failed), (0, 0, 0));
    stop_reaper.cancel();
    reaper.await.unwrap();
}

#[tokio::test]
async fn a_handler_is_stopped_when_its_lease_is_lost() {
    stopped_when_reaped(TTL).await;
}

/// Its own worker may take the job again before it renews, and asks for the new lease only from then on.
#[tokio::test]
async fn a_handler_is_stopped_when_its_worker_gets_the_job_again() {
    stopped_when_reaped(Duration::from_secs(3600)).await;
}

async fn stopped_when_reaped(ttl: Duration) {
    let database = database();
    let client = client(&database);
    let started = Arc::new(Semaphore::new(0));
    let starting = started.clone();
    let worker = Running::start(Worker::new(&client).lease_ttl(ttl).on_kind("long", move |_, run| {
        starting.add_permits(1);
        async move {
            if run.attempt() > 1 {
                return Ok(());
            }
            std::future::pending::<()>().await;
            Err(Failure::new("never"))
        }
    }));
    let id = client.enqueue_raw("long", ()).await.unwrap().id();
    drop(started.acquire().await.unwrap());
    // What a reaper does, without waiting for the lease to expire.
    let plain = plain(&database.url()).await;
    let reaped = plain
        .execute(
            "update faultline.jobs set state = 'queued', lease_id = null, lease_owner = null, lease_expires_at = null,
                    started_at = null where state = 'running'",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(reaped, 1);
    assert_eq!(wait_for(&client, id, State::Succeeded).await.attempts, 2);
    let summary = worker.stop().await;
    assert_eq!((summary.leases_lost, summary.succeeded), (1, 1));
}

#[tokio::test]
async fn handlers_that_block_the_runtime_keep_their_leases() {
    const SHORT: Duration = Duration::from_millis(600);
    let database = database();
    let client = client(&database);
    // A job that nobody renews shows that the reaper was at work meanwhile.
    let left = client.enqueue_raw("left", ()).await.unwrap().id();
    let (lease, owner) = (LeaseId::new(&mut rand::rng()), WorkerId::new(&mut rand::rng()));
    let take = async |session: &mut ClientWrapper| {
        claim(session, "default", lease, owner, Duration::ZERO, 1, &Floors::head()).await
    };
    assert_eq!(client.database().run(take).await.unwrap()[0].id, left);
    let id = client.enqueue_raw("blocks", ()).await.unwrap().id();
    // The reaper must not suffer from the blocked runtime.
    let url = database.url();
    let stop_reaper = CancellationToken::new();
    let stopped = stop_reaper.clone();
    let reaper = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = Client::lazy(&url).unwrap();
            Reaper::all_queues(&client).lease_ttl(SHORT).run_until(stopped).await;
        });
    });
    let worker = Worker::new(&client).lease_ttl(SHORT).on_kind("left", |_, _| async { Ok(()) });
    let worker = Running::start(worker.on_kind("blocks", |_, _| async {
        std::thread::sleep(Duration::from_secs(4));
        Ok(())
    }));
    let job = wait_for(&client, id, State::Succeeded).await;
    assert_eq!((job.attempts, job.crashes), (1, 0));
    wait_for(&client, left, State::Succeeded).await;
    let reaped = client.attempts(left).await.unwrap().remove(0);
    assert!(reaped.ended_at < job.finished_at.unwrap(), "nobody reaped while the runtime was blocked: {reaped:?}");
    worker.stop().await;
    stop_reaper.cancel();
    reaper.join().unwrap();
}

#[tokio::test]
async fn handlers_that_take_every_session_of_the_pool_keep_their_leases() {
    const POOL: usize = 2;
    let database = database();
    let client = Client::of(Database::new(&database.url(), "test", POOL).unwrap());
    let watcher = common::client(&database);
    let stop_reaper = CancellationToken::new();
    let reaper = tokio::spawn(Reaper::all_queues(&watcher).lease_ttl(TTL).run_until(stop_reaper.clone()));
    let pool = client.database().clone();
    let worker = Running::start(Worker::new(&client).lease_ttl(TTL).on_kind("hogs", move |_, _| {
        let pool = pool.clone();
        async move {
            let hog = async |session: &mut ClientWrapper| Ok(session.batch_execute("select pg_sleep(5)").await?);
            pool.run(hog).await.map_err(Failure::new)
        }
    }));
    let jobs: Vec<_> = (0..POOL).map(|_| watcher.enqueue_raw("hogs", ()).into_new_job().unwrap()).collect();
    watcher.enqueue_all(&jobs).await.unwrap();
    for job in &jobs {
        let job = wait_for(&watcher, job.id, State::Succeeded).await;
        assert_eq!((job.attempts, job.crashes), (1, 0), "{job:?}");
    }
    assert_eq!(worker.stop().await.leases_lost, 0);
    stop_reaper.cancel();
    reaper.await.unwrap();
}

#[tokio::test]
async fn a_worker_whose_sessions_are_killed_over_and_over_loses_nothing() {
    let database = database();
    let client = client(&database);
    let worker =
        Running::start(Worker::new(&client).lease_ttl(TTL).queue("default", 10).on_kind("short", |_, _| async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(())
        }));
    let jobs: Vec<_> = (0..3000).map(|_| client.enqueue_raw("short", ()).into_new_job().unwrap()).collect();
    client.enqueue_all(&jobs).await.unwrap();
    let plain = plain(&database.url()).await;
    let killing = async {
        loop {
            plain
                .execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity
                      where datname = current_database() and pid <> pg_backend_pid() and random() < 0.5",
                    &[],
                )
                .await
                .unwrap();
            let row = plain.query_one("select count(*) from faultline.job_history", &[]).await.unwrap();
            if row.get::<_, i64>(0) == 3000 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(2 * DEADLINE, killing).await.expect("all jobs end");
    let row = plain
        .query_one(
            "select count(*), max(attempts), count(distinct id) from faultline.job_history where state = 'succeeded'",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i32>(1), row.get::<_, i64>(2)), (3000, 1, 3000));
    worker.stop().await;
}
