//! The database goes away and comes back under a server: quick and honest answers meanwhile, recovery by itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{DEADLINE, Hands, Server, id_of, migrated};
use faultline_cluster::{Cluster, Mode, Programs};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What counts as quick while the database is away.
const QUICK: Duration = Duration::from_secs(6);

/// A cluster of the test's own, which it may break.
fn cluster() -> Cluster {
    let cluster = Cluster::builder(Programs::find().unwrap()).durable(false).start().unwrap();
    let url = cluster.url("postgres");
    std::thread::spawn(move || migrated(&url)).join().unwrap();
    cluster
}

async fn in_time<T>(what: &str, limit: Duration, answer: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let answer = tokio::time::timeout(DEADLINE, answer).await.unwrap_or_else(|_| panic!("{what} hangs"));
    assert!(begun.elapsed() < limit, "{what} took {:?}", begun.elapsed());
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_answers_quickly_while_the_database_is_stopped_and_recovers() {
    let mut cluster = cluster();
    let server = Server::start(&cluster.url("postgres")).await;
    let id = id_of(&server.enqueue(json!({"kind": "k", "key": "a"})).await.expect(201));
    for mode in [Mode::Fast, Mode::Immediate] {
        cluster.stop(mode).unwrap();
        for path in ["/v1/jobs", "/v1/queues", "/v1/workers", "/v1/queues/q", &format!("/v1/jobs/{id}?wait=10s")] {
            let reply = in_time(path, QUICK, server.get(path)).await;
            assert!(reply.retry_after.is_some());
            reply.expect_problem(503, "database-unavailable", None);
        }
        for path in [format!("/v1/jobs/{id}/cancel"), format!("/v1/jobs/{id}/retry"), "/v1/queues/q/pause".into()] {
            in_time(&path, QUICK, server.post(&path, "")).await.expect_problem(503, "database-unavailable", None);
        }
        let reply = in_time("an enqueue", QUICK, server.enqueue(json!({"kind": "k"}))).await;
        assert!(reply.retry_after.is_some());
        reply.expect_problem(503, "database-unavailable", None);
        let batch = json!({"jobs": [{"kind": "k"}, {"kind": "k"}]});
        in_time("a batch", QUICK, server.post("/v1/jobs/batch", batch)).await.expect_problem(
            503,
            "database-unavailable",
            None,
        );
        let health = in_time("health", QUICK, server.until("/health", |reply| reply.status == 503)).await.json;
        assert_eq!((&health["status"], &health["database"]["state"]), (&json!("unavailable"), &json!("unreachable")));
        assert!(health["database"]["reason"].is_string() && health["schema"].is_null());
        assert_eq!(server.get("/health/ready").await.status, 503);
        server.get("/health/live").await.expect(200);

        cluster.start_again().unwrap();
        server.until("/health/ready", |reply| reply.status == 200).await;
        assert_eq!(id_of(&server.enqueue(json!({"kind": "k", "key": "a"})).await.expect(200)), id);
        server.enqueue(json!({"kind": "k"})).await.expect(201);
    }
    // What was answered 503 has left nothing.
    assert_eq!(cluster.psql("postgres", "select count(*) from faultline.jobs").unwrap(), "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_database_makes_no_answer_up() {
    let mut cluster = cluster();
    let server =
        Server::start_with(&cluster.url("postgres"), |config| config.enqueue_deadline = Duration::from_secs(3)).await;
    // Sessions are open, more than the look at the health may be using, so that statements can be sent into the silence.
    let looks = || server.get("/v1/queues");
    let (.., enqueued) = tokio::join!(looks(), looks(), looks(), looks(), server.enqueue(json!({"kind": "k"})));
    enqueued.expect(201);
    server.enqueue(json!({"kind": "k", "key": "first"})).await.expect(201);
    cluster.pause().unwrap();
    let reply = in_time("an enqueue", QUICK, server.enqueue(json!({"kind": "k", "key": "a"}))).await.expect(202);
    assert_eq!((&reply["indeterminate"], &reply["key"]), (&json!(true), &json!("a")));
    in_time("health", QUICK, server.until("/health", |reply| reply.status == 503)).await;
    in_time("a read", QUICK, server.get("/v1/queues")).await.expect_problem(503, "database-unavailable", None);
    let reply = in_time("an enqueue", QUICK, server.enqueue(json!({"kind": "k"}))).await;
    assert!(matches!(reply.status.as_u16(), 202 | 503), "{reply:?}");
    cluster.resume().unwrap();
    server.until("/health", |reply| reply.status == 200).await;
    // The same key asks again, and the answer is one job, whichever of the two requests made it.
    let again = server.enqueue(json!({"kind": "k", "key": "a"})).await;
    assert!(matches!(again.status.as_u16(), 200 | 201), "{again:?}");
    assert_eq!(cluster.psql("postgres", "select count(*) from faultline.jobs where key = 'a'").unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_was_lost_is_found_again() {
    let mut cluster = cluster();
    let url = cluster.url("postgres");
    // The insert waits until the whole server is stopped under it; the second try comes after the restart.
    cluster
        .psql(
            "postgres",
            "create function public.slow() returns trigger language plpgsql as $$ begin
               if exists (select from pg_settings where name = 'work_mem' and setting = '4096') then perform pg_sleep(30); end if;
               return null; end $$;
             create trigger slow after insert on faultline.jobs for each statement execute function public.slow()",
        )
        .unwrap();
    let server = Server::start_with(&url, |config| config.enqueue_deadline = Duration::from_secs(25)).await;
    let requests = async {
        let (keyless, keyed) =
            tokio::join!(server.enqueue(json!({"kind": "k"})), server.enqueue(json!({"kind": "k", "key": "a"})));
        (keyless.expect(201), keyed.expect(201))
    };
    let restart = tokio::task::spawn_blocking(move || {
        let sleeping =
            || cluster.psql("postgres", "select count(*) from pg_stat_activity where wait_event = 'PgSleep'");
        while sleeping().unwrap() != "2" {
            std::thread::sleep(Duration::from_millis(20));
        }
        cluster.psql("postgres", "alter system set work_mem = '5MB'").unwrap();
        cluster.stop(Mode::Immediate).unwrap();
        cluster.start_again().unwrap();
        cluster
    });
    let ((keyless, keyed), cluster) = tokio::join!(requests, restart);
    for job in [keyless, keyed] {
        assert_eq!(server.get(&format!("/v1/jobs/{}", id_of(&job))).await.expect(200)["state"], "queued");
    }
    assert_eq!(cluster.unwrap().psql("postgres", "select count(*) from faultline.jobs").unwrap(), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_outlives_a_restart() {
    let mut cluster = cluster();
    let url = cluster.url("postgres");
    let server = Server::start(&url).await;
    let id = id_of(&server.enqueue(json!({"kind": "k"})).await.expect(201));
    let path = format!("/v1/jobs/{id}?wait=60s");
    let restart = async {
        // The waits are on: their statement has been seen.
        let watching = "select count(*) from pg_stat_activity where query like '%unnest($1::uuid[]) as w(id)%'";
        tokio::task::spawn_blocking(move || {
            while cluster.psql("postgres", &format!("{watching} and pid <> pg_backend_pid()")).unwrap() == "0" {
                std::thread::sleep(Duration::from_millis(20));
            }
            cluster.kill().unwrap();
            cluster.start_again().unwrap();
            cluster
        })
        .await
        .unwrap()
    };
    let (waited, _cluster) = tokio::join!(server.get(&path), async {
        let cluster = restart.await;
        server.until("/health/ready", |reply| reply.status == 200).await;
        let hands = Hands::new(&url);
        let claimed = hands.claim_one("default").await;
        hands.complete("default", &claimed, "1").await;
        cluster
    });
    assert_eq!(waited.expect(200)["state"], "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_or_old_schema_is_named_with_its_remedy() {
    fn nothing(_: &str) {}
    let database = faultline_cluster::testing::database(nothing);
    let server = Server::start(&database.url()).await;
    let check = async |state: &str| {
        let health = server.until("/health", |reply| reply.json["database"]["state"] == state).await;
        assert_eq!(health.status, 503);
        assert!(health.json["database"]["reason"].as_str().unwrap().contains("run `faultline migrate`"), "{health:?}");
        let problem = server.enqueue(json!({"kind": "k"})).await.expect_problem(503, "schema-outdated", None);
        assert!(problem["detail"].as_str().unwrap().contains("run `faultline migrate`"));
        server.get("/v1/queues").await.expect_problem(503, "schema-outdated", None);
    };
    check("schema_missing").await;
    let url = database.url();
    std::thread::spawn(move || migrated(&url)).join().unwrap();
    let health = server.until("/health", |reply| reply.status == 200).await.json;
    assert_eq!((&health["status"], &health["schema"]), (&json!("ok"), &Value::from(faultline_store::migrate::NEEDED)));
    assert_eq!(health["database"], json!({"state": "up"}));
    server.enqueue(json!({"kind": "k"})).await.expect(201);
    common::psql(&database, "delete from faultline.migrations where version > 1");
    check("schema_too_old").await;
}

#[tokio::test]
async fn a_server_starts_without_a_database() {
    // A port of ours on which nobody answers: it was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server::start(&format!("postgres://nobody@127.0.0.1:{port}/none")).await;
    let reply = in_time("health", QUICK, server.get("/health")).await;
    assert_eq!(reply.status, 503);
    in_time("an enqueue", QUICK, server.enqueue(json!({"kind": "k"}))).await.expect_problem(
        503,
        "database-unavailable",
        None,
    );
    server.get("/openapi.json").await.expect(200);
    in_time("a stop", QUICK, server.stop()).await;
}
