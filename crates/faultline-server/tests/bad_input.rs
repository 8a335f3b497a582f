//! Whatever a client sends wrongly is a 4xx with a stable type and the name of what is to blame: never a 500, never a hang,
//! and nothing is enqueued.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{DEADLINE, Server, database, psql};
use hyper::Method;
use serde_json::json;
use std::time::{Duration, Instant};

const JSON: (&str, &str) = ("content-type", "application/json");

/// Bodies of `POST /v1/jobs` with their answer: status, type, field.
fn bodies() -> Vec<(String, u16, &'static str, Option<&'static str>)> {
    let deep = format!(r#"{{"kind":"k","payload":{}{}}}"#, "[".repeat(101), "]".repeat(101));
    let bottomless = format!(r#"{{"kind":"k","payload":{}"#, "[".repeat(200_000));
    let large = format!(r#"{{"kind":"k","payload":"{}"}}"#, "x".repeat(1024 * 1024));
    let long_key = format!(r#"{{"kind":"k","key":"{}"}}"#, "x".repeat(513));
    let long_kind = format!(r#"{{"kind":"{}"}}"#, "k".repeat(129));
    let many_headers = format!(r#"{{"kind":"k","headers":{{"a":"{}"}}}}"#, "x".repeat(9000));
    let table: &[(&str, u16, &'static str, Option<&'static str>)] = &[
        ("", 400, "malformed-json", None),
        ("{", 400, "malformed-json", None),
        ("nonsense", 400, "malformed-json", None),
        (r#"{"kind":"k"} x"#, 400, "malformed-json", None),
        (r#"{"kind":"k",}"#, 400, "malformed-json", None),
        (r#"{"kind":"k","payload":{"a":}}"#, 400, "malformed-json", None),
        ("[]", 422, "invalid-field", None),
        (r#"["k"]"#, 422, "invalid-field", None),
        ("null", 422, "invalid-field", None),
        ("{}", 422, "missing-field", Some("kind")),
        (r#"{"kind":"k","nonsense":1}"#, 422, "unknown-field", Some("nonsense")),
        (r#"{"kind":"k","kind":"k"}"#, 422, "invalid-field", Some("kind")),
        (r#"{"kind":"k","backoff":{"nonsense":1}}"#, 422, "unknown-field", Some("backoff.nonsense")),
        (r#"{"kind":"k","backoff":["1s","2s"]}"#, 422, "invalid-field", Some("backoff")),
        (r#"{"kind":"k","backoff":{"base":5}}"#, 422, "invalid-field", Some("backoff.base")),
        (r#"{"kind":"k","backoff":{"base":"2d"}}"#, 422, "invalid-field", Some("backoff.base")),
        (r#"{"kind":"k","backoff":{"cap":"8d"}}"#, 422, "invalid-field", Some("backoff.cap")),
        (r#"{"kind":1}"#, 422, "invalid-field", Some("kind")),
        (r#"{"kind":null}"#, 422, "invalid-field", Some("kind")),
        (r#"{"kind":""}"#, 422, "invalid-field", Some("kind")),
        (r#"{"kind":"a b"}"#, 422, "invalid-field", Some("kind")),
        (r#"{"kind":"\u0000"}"#, 422, "invalid-field", Some("kind")),
        (r#"{"kind":"\ud800"}"#, 422, "invalid-field", Some("kind")),
        (&long_kind, 422, "invalid-field", Some("kind")),
        (r#"{"kind":"k","queue":"-x"}"#, 422, "invalid-field", Some("queue")),
        (r#"{"kind":"k","queue":7}"#, 422, "invalid-field", Some("queue")),
        (r#"{"kind":"k","key":""}"#, 422, "invalid-field", Some("key")),
        (r#"{"kind":"k","key":"a\u0000b"}"#, 422, "invalid-field", Some("key")),
        (r#"{"kind":"k","key":"a\nb"}"#, 422, "invalid-field", Some("key")),
        (&long_key, 422, "invalid-field", Some("key")),
        (r#"{"kind":"k","key":"a","key_ttl":"0s"}"#, 422, "invalid-field", Some("key_ttl")),
        (r#"{"kind":"k","key":"a","key_ttl":"366d"}"#, 422, "invalid-field", Some("key_ttl")),
        (r#"{"kind":"k","priority":0}"#, 422, "invalid-field", Some("priority")),
        (r#"{"kind":"k","priority":5}"#, 422, "invalid-field", Some("priority")),
        (r#"{"kind":"k","priority":70000}"#, 422, "invalid-field", Some("priority")),
        (r#"{"kind":"k","priority":1.5}"#, 422, "invalid-field", Some("priority")),
        (r#"{"kind":"k","priority":"2"}"#, 422, "invalid-field", Some("priority")),
        (r#"{"kind":"k","priority":1e400}"#, 422, "invalid-field", Some("priority")),
        (r#"{"kind":"k","priority":99999999999999999999}"#, 422, "invalid-field", Some("priority")),
        (r#"{"kind":"k","max_attempts":0}"#, 422, "invalid-field", Some("max_attempts")),
        (r#"{"kind":"k","max_attempts":-1}"#, 422, "invalid-field", Some("max_attempts")),
        (r#"{"kind":"k","max_attempts":100001}"#, 422, "invalid-field", Some("max_attempts")),
        (r#"{"kind":"k","delay":"-5s"}"#, 422, "invalid-field", Some("delay")),
        (r#"{"kind":"k","delay":5}"#, 422, "invalid-field", Some("delay")),
        (r#"{"kind":"k","delay":"soon"}"#, 422, "invalid-field", Some("delay")),
        (r#"{"kind":"k","delay":"366d"}"#, 422, "invalid-field", Some("delay")),
        (r#"{"kind":"k","delay":"9999999999999999999d"}"#, 422, "invalid-field", Some("delay")),
        (r#"{"kind":"k","run_at":"tomorrow"}"#, 422, "invalid-field", Some("run_at")),
        (r#"{"kind":"k","run_at":1700000000}"#, 422, "invalid-field", Some("run_at")),
        (r#"{"kind":"k","run_at":"2300-01-01T00:00:00Z"}"#, 422, "invalid-field", Some("run_at")),
        (r#"{"kind":"k","run_at":"-009999-01-02T00:00:00Z"}"#, 422, "invalid-field", Some("run_at")),
        (r#"{"kind":"k","delay":"5s","run_at":"2100-01-01T00:00:00Z"}"#, 422, "invalid-field", Some("run_at")),
        (r#"{"kind":"k","timeout":"0s"}"#, 422, "invalid-field", Some("timeout")),
        (r#"{"kind":"k","timeout":"8d"}"#, 422, "invalid-field", Some("timeout")),
        (r#"{"kind":"k","headers":[]}"#, 422, "invalid-field", Some("headers")),
        (r#"{"kind":"k","headers":{"a":"\u0000"}}"#, 422, "invalid-field", Some("headers")),
        (&many_headers, 422, "invalid-field", Some("headers")),
        (r#"{"kind":"k","payload":"\u0000"}"#, 422, "invalid-field", Some("payload")),
        (r#"{"kind":"k","payload":{"\u0000":1}}"#, 422, "invalid-field", Some("payload")),
        (r#"{"kind":"k","payload":"\ud800"}"#, 422, "invalid-field", Some("payload")),
        (r#"{"kind":"k","payload":"\ud800\u0041"}"#, 422, "invalid-field", Some("payload")),
        (r#"{"kind":"k","payload":1e400}"#, 422, "invalid-field", Some("payload")),
        (r#"{"kind":"k","payload":[1e-400]}"#, 422, "invalid-field", Some("payload")),
        (r#"{"kind":"k","payload":{"a":1,"a":2}}"#, 422, "invalid-field", Some("payload")),
        (&deep, 422, "invalid-field", Some("payload")),
        (&bottomless, 400, "malformed-json", None),
        (&large, 413, "too-large", Some("payload")),
    ];
    table.iter().map(|(body, status, slug, field)| ((*body).to_owned(), *status, *slug, *field)).collect()
}

#[tokio::test]
async fn a_bad_body_names_what_is_to_blame() {
    let database = database();
    let server = Server::start(&database.url()).await;
    for (body, status, slug, field) in bodies() {
        let shown: String = body.chars().take(80).collect();
        println!("{shown}");
        server.post("/v1/jobs", &body).await.expect_problem(status, slug, field);
        // The same inside a batch: the batch passes if it is JSON at all.
        if status != 400 {
            let answer = server.post("/v1/jobs/batch", format!(r#"{{"jobs":[{body}]}}"#)).await.expect(200);
            let problem = &answer["jobs"][0]["problem"];
            assert_eq!((&problem["status"], problem["field"].as_str()), (&json!(status), field), "{shown}: {answer}");
        }
    }
    assert_eq!(psql(&database, "select count(*) from faultline.jobs"), "0");
}

#[tokio::test]
async fn bad_batches_and_other_bodies_are_refused() {
    let database = database();
    let server = Server::start(&database.url()).await;
    for (body, status, slug, field) in [
        ("[]", 422, "invalid-field", None),
        ("{}", 422, "missing-field", Some("jobs")),
        (r#"{"jobs":{}}"#, 422, "invalid-field", Some("jobs")),
        (r#"{"jobs":[],"more":1}"#, 422, "unknown-field", Some("more")),
        (r#"{"jobs":[{"kind":"k"}"#, 400, "malformed-json", None),
    ] {
        println!("{body}");
        server.post("/v1/jobs/batch", body).await.expect_problem(status, slug, field);
    }
    server.post("/v1/queues/q/pause", r#"{"why":"x"}"#).await.expect_problem(422, "unknown-field", Some("why"));
    server.post("/v1/queues/q/pause", r#"{"reason":1}"#).await.expect_problem(422, "invalid-field", Some("reason"));
    let long = json!({"reason": "x".repeat(20_000)});
    server.post("/v1/queues/q/pause", long).await.expect_problem(413, "too-large", None);
    assert_eq!(
        psql(&database, "select (select count(*) from faultline.jobs) + (select count(*) from faultline.queues)"),
        "0"
    );
}

#[tokio::test]
async fn a_body_must_be_declared_as_json() {
    let database = database();
    let server = Server::start(&database.url()).await;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"] {
        let reply = server.send(Method::POST, "/v1/jobs", &[("content-type", content_type)], r#"{"kind":"k"}"#).await;
        reply.expect_problem(415, "unsupported-media-type", Some("content-type"));
    }
    let reply = server.send(Method::POST, "/v1/jobs", &[], r#"{"kind":"k"}"#).await;
    reply.expect_problem(415, "unsupported-media-type", Some("content-type"));
    for content_type in ["application/json; charset=utf-8", "Application/JSON", "application/cloudevents+json"] {
        let reply = server.send(Method::POST, "/v1/jobs", &[("content-type", content_type)], r#"{"kind":"k"}"#).await;
        reply.expect(201);
    }
}

#[tokio::test]
async fn bad_paths_parameters_and_methods_are_refused() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let unknown = "01890000-0000-7000-8000-000000000000";
    for (path, status, slug, field) in [
        ("/nothing", 404, "unknown-route", None),
        ("/v1/jobs/x/y/z", 404, "unknown-route", None),
        ("/v1/jobs/nonsense", 400, "invalid-parameter", Some("id")),
        ("/v1/jobs/%00", 400, "invalid-parameter", Some("id")),
        ("/v1/jobs/%ff", 400, "invalid-parameter", Some("id")),
        (&format!("/v1/jobs/{unknown}"), 404, "unknown-job", None),
        (&format!("/v1/jobs/{unknown}?wait=5s"), 404, "unknown-job", None),
        (&format!("/v1/jobs/{unknown}/explain"), 404, "unknown-job", None),
        (&format!("/v1/jobs/{unknown}?wait=61s"), 400, "invalid-parameter", Some("wait")),
        (&format!("/v1/jobs/{unknown}?wait=soon"), 400, "invalid-parameter", Some("wait")),
        (&format!("/v1/jobs/{unknown}?wait="), 400, "invalid-parameter", Some("wait")),
        (&format!("/v1/jobs/{unknown}?include=all"), 400, "invalid-parameter", Some("include")),
        (&format!("/v1/jobs/{unknown}?nonsense=1"), 400, "invalid-parameter", Some("nonsense")),
        ("/v1/jobs?limit=0", 400, "invalid-parameter", Some("limit")),
        ("/v1/jobs?limit=1001", 400, "invalid-parameter", Some("limit")),
        ("/v1/jobs?limit=ten", 400, "invalid-parameter", Some("limit")),
        ("/v1/jobs?limit=1&limit=2", 400, "invalid-parameter", Some("limit")),
        ("/v1/jobs?state=done", 400, "invalid-parameter", Some("state")),
        ("/v1/jobs?state=", 400, "invalid-parameter", Some("state")),
        ("/v1/jobs?queue=", 400, "invalid-parameter", Some("queue")),
        ("/v1/jobs?kind=a%20b", 400, "invalid-parameter", Some("kind")),
        ("/v1/jobs?key=%00", 400, "invalid-parameter", Some("key")),
        ("/v1/jobs?cursor=nonsense", 400, "invalid-parameter", Some("cursor")),
        ("/v1/jobs?cursor=a", 400, "invalid-parameter", Some("cursor")),
        ("/v1/queues/%20", 400, "invalid-parameter", Some("name")),
    ] {
        println!("{path}");
        server.get(path).await.expect_problem(status, slug, field);
    }
    for (method, path, allow) in [
        (Method::DELETE, "/v1/jobs", "GET,HEAD,POST"),
        (Method::GET, "/v1/jobs/batch", "POST"),
        (Method::PUT, "/health", "GET,HEAD"),
    ] {
        let reply = server.send(method, path, &[JSON], "{}").await;
        let mut allowed: Vec<&str> = reply.allow.as_deref().unwrap_or_default().split(',').collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow, "{path}");
        // `/v1/jobs/batch` is also a job's path: then the id is to blame.
        if path != "/v1/jobs/batch" {
            reply.expect_problem(405, "method-not-allowed", None);
        }
    }
    let reply = server.send(Method::POST, &format!("/v1/jobs/{unknown}/cancel"), &[], "").await;
    reply.expect_problem(404, "unknown-job", None);
    let reply = server.send(Method::POST, &format!("/v1/jobs/{unknown}/retry"), &[], "").await;
    reply.expect_problem(404, "unknown-job", None);
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let from =
        async |origin: &'static str| server.send(Method::POST, "/v1/queues/q/pause", &[("origin", origin)], "").await;
    from("https://evil.example").await.expect_problem(403, "cross-origin", Some("origin"));
    from("null").await.expect_problem(403, "cross-origin", Some("origin"));
    from("http://localhost").await.expect(200);
    let reply = server.send(Method::GET, "/v1/queues", &[("origin", "https://evil.example")], "").await;
    reply.expect(200);
}

#[tokio::test]
async fn bytes_that_are_no_text_and_no_http_are_refused() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let mut bad_utf8 = b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 14\r\n\r\n".to_vec();
    bad_utf8.extend_from_slice(b"{\"kind\":\"k\xff\"}");
    bad_utf8.extend_from_slice(b" ");
    let answer = server.raw(&bad_utf8, true).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("malformed-json"), "{answer}");

    let long_header = format!("GET /health HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    let answer = server.raw(long_header.as_bytes(), false).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many = format!("GET /health HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(200));
    let answer = server.raw(many.as_bytes(), false).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let answer = server.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", true).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    server.get("/health/live").await.expect(200);
}

#[tokio::test]
async fn a_slow_body_is_answered_in_time_and_an_endless_one_too() {
    let database = database();
    let server = Server::start_with(&database.url(), |config| config.body_time = Duration::from_millis(300)).await;
    let head =
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"kind\"";
    let begun = Instant::now();
    let answer = server.raw(head.as_bytes(), false).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("slow-body"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    // A body that breaks off has nobody left to answer to, or is answered 400; the server goes on.
    let answer = server.raw(head.as_bytes(), true).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");

    let head =
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let endless = [head.to_owned(), chunk.repeat(100)].concat();
    let answer = server.raw(endless.as_bytes(), false).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("too-large"), "{answer}");
    assert_eq!(psql(&database, "select count(*) from faultline.jobs"), "0");
}

#[tokio::test]
async fn a_large_body_gets_to_read_its_answer() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let body = json!({"kind": "k", "payload": "x".repeat(8 * 1024 * 1024)}).to_string();
    server.post("/v1/jobs", &body).await.expect_problem(413, "too-large", None);
    let expecting = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let answer = server.raw(expecting.as_bytes(), false).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let batch = json!({"jobs": vec![json!({"kind": "k", "payload": "x".repeat(900_000)}); 15]});
    let answers = server.post("/v1/jobs/batch", batch).await.expect(200);
    assert!(answers["jobs"].as_array().unwrap().iter().all(|answer| answer["created"] == true));
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_place() {
    let database = database();
    let server = Server::start_with(&database.url(), |config| {
        config.write_time = Duration::from_millis(300);
        config.max_connections = 1;
    })
    .await;
    let job = json!({"kind": "k", "payload": "x".repeat(1_000_000)});
    server.post("/v1/jobs/batch", json!({"jobs": vec![job; 8]})).await.expect(200);
    server.until("/health/live", |reply| reply.status == 200).await;
    let mut silent = tokio::net::TcpStream::connect(server.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut silent, b"GET /v1/jobs HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // Its answer is larger than the buffers in between.
    server.until("/health/live", |reply| reply.status == 503).await;
    server.until("/health/live", |reply| reply.status == 200).await;
}

#[tokio::test]
async fn slow_headers_and_too_many_connections_cost_only_themselves() {
    let database = database();
    let server = Server::start_with(&database.url(), |config| {
        config.header_time = Duration::from_millis(300);
        config.max_connections = 2;
    })
    .await;
    server.until("/health/live", |reply| reply.status == 200).await;
    let slow = || server.raw(b"GET /health/live HTTP/1.1\r\nhost:", false);
    let (first, second, third) = tokio::join!(slow(), slow(), async {
        tokio::time::timeout(DEADLINE, async {
            loop {
                let answer =
                    server.raw(b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", false).await;
                if answer.starts_with("HTTP/1.1 503") {
                    return answer;
                }
            }
        })
        .await
        .expect("a refusal while both places are taken")
    });
    assert!(third.contains("retry-after"), "{third}");
    assert!(!first.contains("200") && !second.contains("200"), "{first} {second}");
    server.until("/health/live", |reply| reply.status == 200).await;
}
