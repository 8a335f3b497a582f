//! `GET /metrics`: open, quick, true of requests, and there while the database is not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Server, database, migrated};
use faultline_cluster::{Cluster, Mode, Programs};
use faultline_server::Auth;
use serde_json::json;
use std::time::{Duration, Instant};

/// The promise, with the database up or down.
const QUICK: Duration = Duration::from_millis(50);

async fn scrape(server: &Server) -> String {
    let answer = server.raw(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", false).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    body.to_owned()
}

fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn requests_are_counted_by_route_and_status_and_nothing_of_theirs_becomes_a_label() {
    let database = database();
    let server = Server::start_with(&database.url(), |config| config.auth = Auth::Tokens).await;
    server.get("/v1/jobs/00000000-0000-7000-8000-000000000001").await.expect_problem(401, "unauthorized", None);
    server.get("/v1/jobs/00000000-0000-7000-8000-000000000002").await.expect_problem(401, "unauthorized", None);
    server.get("/nowhere").await.expect_problem(404, "unknown-route", None);
    server.get("/health").await.expect(200);
    let text = scrape(&server).await;
    let counted = |series: &str| value(&text, &format!("faultline_http_requests_total{series}"));
    assert_eq!(counted(r#"{method="GET",route="/v1/jobs/{id}",status="401"}"#), Some(2.0));
    assert_eq!(counted(r#"{method="GET",route="(unknown)",status="404"}"#), Some(1.0));
    assert_eq!(counted(r#"{method="GET",route="/health",status="200"}"#), Some(1.0));
    let series = r#"faultline_http_request_duration_seconds_count{method="GET",route="/v1/jobs/{id}"}"#;
    assert_eq!(value(&text, series), Some(2.0));
    assert!(!text.contains("7000-8000") && !text.contains("/nowhere"), "{text}");
}

#[tokio::test]
async fn enqueues_are_counted_by_what_the_database_answered() {
    let database = database();
    let server = Server::start(&database.url()).await;
    server.enqueue(json!({"kind": "k", "key": "a"})).await.expect(201);
    server.enqueue(json!({"kind": "k", "key": "a"})).await.expect(200);
    server.enqueue(json!({"kind": "k", "key": "a", "priority": 1})).await.expect(409);
    let batch = json!({"jobs": [{"kind": "k"}, {"kind": "other"}, {"kind": "not ok"}]});
    server.post("/v1/jobs/batch", batch).await.expect(200);
    let job = server.enqueue(json!({"kind": "k", "delay": "1h"})).await.expect(201);
    server.post(&format!("/v1/jobs/{}/retry", job["id"].as_str().unwrap()), "").await.expect(200);
    server.post(&format!("/v1/jobs/{}/cancel", job["id"].as_str().unwrap()), "").await.expect(200);
    server.post(&format!("/v1/jobs/{}/retry", job["id"].as_str().unwrap()), "").await.expect(201);
    let text = scrape(&server).await;
    for (series, expected) in [
        (r#"faultline_jobs_enqueued_total{queue="default",kind="k"}"#, 3.0),
        (r#"faultline_jobs_enqueued_total{queue="default",kind="other"}"#, 1.0),
        (r#"faultline_jobs_deduplicated_total{queue="default",kind="k"}"#, 1.0),
        (r#"faultline_enqueue_conflicts_total{queue="default",kind="k"}"#, 1.0),
        (r#"faultline_operator_transitions_total{reason="moved"}"#, 1.0),
        (r#"faultline_operator_transitions_total{reason="cancelled"}"#, 1.0),
        (r#"faultline_operator_transitions_total{reason="enqueued"}"#, 1.0),
        (r#"faultline_indeterminate_statements_total{operation="enqueue"}"#, 0.0),
        (r#"faultline_database_pool_size{pool="faultline-api"}"#, 8.0),
        (r#"faultline_database_pool_in_use{pool="faultline-api"}"#, 0.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_away_the_answer_is_quick_and_says_so() {
    let mut cluster = Cluster::builder(Programs::find().unwrap()).durable(false).start().unwrap();
    let url = cluster.url("postgres");
    std::thread::spawn(move || migrated(&url)).join().unwrap();
    let server = Server::start(&cluster.url("postgres")).await;
    server.enqueue(json!({"kind": "k"})).await.expect(201);
    let text = scrape(&server).await;
    assert_eq!(value(&text, "faultline_database_up"), Some(1.0));

    cluster.stop(Mode::Immediate).unwrap();
    server.until("/health", |reply| reply.status == 503).await;
    let mut quickest = Duration::MAX;
    for _ in 0..10 {
        let began = Instant::now();
        let text = scrape(&server).await;
        quickest = quickest.min(began.elapsed());
        assert_eq!(value(&text, "faultline_database_up"), Some(0.0));
    }
    // The quickest of some: the machine may be busy, and an answer that waits for the database is slow each time.
    assert!(quickest < QUICK, "{quickest:?}");
    let text = scrape(&server).await;
    assert!(value(&text, r#"faultline_database_errors_total{class="unreachable"}"#) > Some(0.0), "{text}");

    cluster.start_again().unwrap();
    server.until("/health", |reply| reply.status == 200).await;
    server.enqueue(json!({"kind": "k"})).await.expect(201);
    let text = scrape(&server).await;
    assert_eq!(value(&text, "faultline_database_up"), Some(1.0));
    let reconnects = r#"faultline_database_reconnects_total{session="faultline-api watch"}"#;
    assert!(value(&text, reconnects) > Some(0.0), "{text}");
}
