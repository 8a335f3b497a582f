//! `POST /v1/jobs` and `POST /v1/jobs/batch`: what is created, what is a repeat, and how many commits it takes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{DEADLINE, Hands, Server, database, id_of, psql};
use futures_util::future::join_all;
use hyper::Method;
use serde_json::{Value, json};
use std::time::Duration;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn the_answer_to_an_enqueue_is_the_job_as_it_is_read() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let minimal = server.enqueue(json!({"kind": "demo.echo"})).await;
    let location = minimal.location.clone().unwrap();
    let mut minimal = minimal.expect(201);
    assert_eq!(location, format!("/v1/jobs/{}", id_of(&minimal)));
    assert_eq!(minimal.as_object_mut().unwrap().remove("created"), Some(Value::Bool(true)));
    assert_eq!(minimal["payload"], json!({}));
    assert_eq!(server.get(&location).await.expect(200), minimal);

    let full = json!({
        "kind": "mail.send", "payload": [1, {"a": null}], "queue": "mail", "key": "k1", "key_ttl": "1h", "priority": 1,
        "run_at": "2150-01-31T12:00:00Z", "max_attempts": 3, "timeout": "90s",
        "backoff": {"base": "2s", "cap": "1h30m"}, "headers": {"tag": "x"},
    });
    let mut job = server.enqueue(full).await.expect(201);
    job.as_object_mut().unwrap().remove("created");
    assert_eq!(server.get(&format!("/v1/jobs/{}", id_of(&job))).await.expect(200), job);
    assert_eq!((&job["timeout"], &job["backoff"]), (&json!("90s"), &json!({"base": "2s", "cap": "90m"})));
    assert_eq!(job["next_run_at"], "2150-01-31T12:00:00Z");
    let null = server.enqueue(json!({"kind": "k", "payload": null, "queue": null})).await.expect(201);
    assert_eq!((&null["payload"], &null["queue"]), (&Value::Null, &json!("default")));
}

#[tokio::test]
async fn fifty_clients_with_one_key_make_one_job() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let replies =
        join_all((0..50).map(|_| server.enqueue(json!({"kind": "k", "key": "order-42", "payload": {"n": 1}})))).await;
    let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![200; 49], vec![201; 1]].concat());
    let id = id_of(&replies[0].json);
    assert!(replies.iter().all(|reply| id_of(&reply.json) == id));
    assert!(replies.iter().all(|reply| reply.json["created"] == (reply.status == 201)));

    let other = server.enqueue(json!({"kind": "k", "key": "order-42", "payload": {"n": 2}})).await;
    assert_eq!(id_of(&json!({"id": other.expect_problem(409, "key-conflict", Some("key"))["job_id"]})), id);
    // Another queue is another room for keys.
    server.enqueue(json!({"kind": "k", "key": "order-42", "payload": {"n": 2}, "queue": "other"})).await.expect(201);
    assert_eq!(psql(&database, "select count(*) from faultline.jobs where key = 'order-42'"), "2");
}

#[tokio::test]
async fn a_repeated_key_shows_the_job_as_it_is_now() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let body = json!({"kind": "k", "key": "a"});
    let id = id_of(&server.enqueue(body.clone()).await.expect(201));
    let hands = Hands::new(&database.url());
    let job = hands.claim_one("default").await;
    hands.complete("default", &job, "7").await;
    let again = server.enqueue(body.clone()).await.expect(200);
    assert_eq!((id_of(&again), &again["state"], &again["result"]), (id, &json!("succeeded"), &json!(7)));
    // The job is no longer kept, its key is.
    psql(&database, "delete from faultline.job_history");
    assert_eq!(server.enqueue(body).await.expect(200), json!({"id": id, "created": false}));
}

#[tokio::test]
async fn the_key_may_stand_in_the_header() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let with_key = async |key: &'static str, body: Value| {
        server.send(Method::POST, "/v1/jobs", &[JSON, ("idempotency-key", key)], &body.to_string()).await
    };
    let first = with_key("h1", json!({"kind": "k"})).await.expect(201);
    assert_eq!(first["key"], "h1");
    assert_eq!(id_of(&server.enqueue(json!({"kind": "k", "key": "h1"})).await.expect(200)), id_of(&first));
    with_key("h1", json!({"kind": "k", "key": "h1"})).await.expect(200);
    with_key("h1", json!({"kind": "k", "key": "h2"})).await.expect_problem(400, "key-mismatch", Some("key"));
    with_key("", json!({"kind": "k"})).await.expect_problem(422, "invalid-field", Some("key"));
    let twice = [JSON, ("idempotency-key", "a"), ("idempotency-key", "a")];
    let reply = server.send(Method::POST, "/v1/jobs", &twice, r#"{"kind":"k"}"#).await;
    reply.expect_problem(400, "invalid-parameter", Some("idempotency-key"));
    let reply = server.send(Method::POST, "/v1/jobs/batch", &twice[..2], r#"{"jobs":[]}"#).await;
    reply.expect_problem(400, "invalid-parameter", Some("idempotency-key"));
}

#[tokio::test]
async fn the_trace_of_a_request_goes_with_its_job() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let with_trace = async |trace: &'static str, body: Value| {
        server.send(Method::POST, "/v1/jobs", &[JSON, ("traceparent", trace)], &body.to_string()).await.expect(201)
    };
    assert_eq!(with_trace(trace, json!({"kind": "k"})).await["headers"], json!({"traceparent": trace}));
    let job = with_trace(trace, json!({"kind": "k", "headers": {"tag": "x"}})).await;
    assert_eq!(job["headers"], json!({"tag": "x", "traceparent": trace}));
    let job = with_trace(trace, json!({"kind": "k", "headers": {"traceparent": "mine"}})).await;
    assert_eq!(job["headers"], json!({"traceparent": "mine"}));
    assert_eq!(with_trace("nonsense\"", json!({"kind": "k"})).await["headers"], Value::Null);
}

#[tokio::test]
async fn a_bad_job_in_a_batch_does_not_stop_the_others() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let held = id_of(&server.enqueue(json!({"kind": "k", "key": "taken"})).await.expect(201));
    let jobs = json!({"jobs": [
        {"kind": "k"}, {"kind": "k", "nonsense": 1}, {"kind": "k", "key": "new"}, {"kind": "k", "key": "new"}, [],
        {"kind": "other", "key": "taken"}, {"kind": "k", "key": "taken"}, {"kind": "k", "payload": "\u{0}"}, {"kind": "k"},
    ]});
    let answers = server.post("/v1/jobs/batch", jobs).await.expect(200)["jobs"].clone();
    let short: Vec<String> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| match answer["problem"]["type"].as_str() {
            Some(problem) => problem.rsplit(':').next().unwrap().to_owned(),
            None => answer["created"].to_string(),
        })
        .collect();
    let expected =
        ["true", "unknown-field", "true", "false", "invalid-field", "key-conflict", "false", "invalid-field", "true"];
    assert_eq!(short, expected);
    assert_eq!(answers[2]["id"], answers[3]["id"]);
    assert_eq!(answers[5]["problem"]["job_id"], held.to_string());
    assert_eq!(answers[6]["id"], held.to_string());
    assert_eq!(psql(&database, "select count(*) from faultline.jobs"), "4");
    assert_eq!(server.post("/v1/jobs/batch", r#"{"jobs":[]}"#).await.expect(200), json!({"jobs": []}));
    let many = json!({"jobs": vec![json!({"kind": "k"}); 1001]});
    server.post("/v1/jobs/batch", many).await.expect_problem(422, "invalid-field", Some("jobs"));
}

#[tokio::test]
async fn a_job_that_the_database_refuses_fails_alone() {
    let database = database();
    psql(&database, "alter table faultline.jobs add constraint no_poison check (kind <> 'poison')");
    let server = Server::start(&database.url()).await;
    let kinds = (0..60).map(|n| if n == 37 { "poison" } else { "fine" });
    let replies = join_all(kinds.map(|kind| server.enqueue(json!({"kind": kind})))).await;
    for (n, reply) in replies.into_iter().enumerate() {
        if n == 37 {
            reply.expect_problem(422, "invalid-field", None);
        } else {
            reply.expect(201);
        }
    }
    let batch: Vec<Value> = (0..40).map(|n| json!({"kind": if n % 9 == 0 { "poison" } else { "fine" }})).collect();
    let answers = server.post("/v1/jobs/batch", json!({"jobs": batch})).await.expect(200)["jobs"].clone();
    for (n, answer) in answers.as_array().unwrap().iter().enumerate() {
        assert_eq!(answer["problem"].is_object(), n % 9 == 0, "{answer}");
    }
    assert_eq!(psql(&database, "select count(*) from faultline.jobs"), (59 + 35).to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_enqueues_share_commits() {
    let database = database();
    // One commit at a time takes its time, so that the others gather.
    psql(
        &database,
        "create function public.slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.1); return null; end $$;
         create trigger slow after insert on faultline.jobs for each statement execute function public.slow()",
    );
    let server = Server::start(&database.url()).await;
    let replies = join_all((0..300).map(|_| server.enqueue(json!({"kind": "k"})))).await;
    assert!(replies.iter().all(|reply| reply.status == 201));
    let commits: u64 = psql(&database, "select count(distinct xmin::text) from faultline.jobs").parse().unwrap();
    assert!(commits <= 30, "300 jobs took {commits} commits");
    assert_eq!(psql(&database, "select count(*) from faultline.jobs"), "300");
}

#[tokio::test]
async fn a_key_that_somebody_holds_locked_does_not_keep_others_waiting() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let holder = faultline_store::Database::new(&database.url(), "holder", 1).unwrap();
    let session = holder.session("holder", faultline_store::Plans::Free).await.unwrap();
    session.batch_execute("begin; select faultline.enqueue(kind => 'k', key => 'stuck')").await.unwrap();
    let stuck = server.enqueue(json!({"kind": "k", "key": "stuck"}));
    let others = async {
        let keyed = (0..30).map(|n| server.enqueue(json!({"kind": "k", "key": format!("free-{n}")})));
        let keyless = (0..30).map(|_| server.enqueue(json!({"kind": "k"})));
        for reply in join_all(keyed).await.into_iter().chain(join_all(keyless).await) {
            reply.expect(201);
        }
    };
    let (stuck, ()) = tokio::join!(stuck, others);
    let problem = stuck.expect_problem(503, "database-busy", None);
    assert!(problem["detail"].as_str().unwrap().contains("nothing was changed"));
    session.batch_execute("rollback").await.unwrap();
    server.enqueue(json!({"kind": "k", "key": "stuck"})).await.expect(201);
}

#[tokio::test]
async fn workers_are_told_of_new_jobs_after_their_commit() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let (sender, mut hints) = tokio::sync::mpsc::unbounded_channel();
    let listener = faultline_store::Database::new(&database.url(), "listener", 1).unwrap();
    let session = listener.listening_session("listener", faultline_store::Plans::Free, Some(sender)).await.unwrap();
    session.batch_execute("listen faultline").await.unwrap();
    server.enqueue(json!({"kind": "k", "queue": "later", "delay": "1h"})).await.expect(201);
    server.enqueue(json!({"kind": "k", "queue": "now"})).await.expect(201);
    let hint = tokio::time::timeout(DEADLINE, hints.recv()).await.unwrap().unwrap();
    assert_eq!(hint, "now");
}

#[tokio::test]
async fn a_stopping_server_answers_what_it_has_accepted() {
    let database = database();
    psql(
        &database,
        "create function public.slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.5); return null; end $$;
         create trigger slow after insert on faultline.jobs for each statement execute function public.slow()",
    );
    let server = Server::start(&database.url()).await;
    let id = id_of(&server.enqueue(json!({"kind": "k", "delay": "1h"})).await.expect(201));
    let path = format!("/v1/jobs/{id}?wait=60s");
    let (waited, enqueued, ()) = tokio::join!(server.get(&path), server.enqueue(json!({"kind": "k"})), async {
        // Both are under way as soon as the insert sleeps.
        while psql(&database, "select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == "0" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server.order_stop();
    });
    assert_eq!(waited.expect(200)["state"], "queued");
    enqueued.expect(201);
    server.stop().await;
}
