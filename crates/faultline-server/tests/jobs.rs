//! Reading and operating: waits, lists, cancel, retry, queues, workers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Hands, Server, database, id_of, psql};
use faultline_store::finish::Ending;
use faultline_store::presence::{WorkerFacts, register};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn ids(list: &Value) -> Vec<String> {
    list["jobs"].as_array().unwrap().iter().map(|job| id_of(job).to_string()).collect()
}

#[tokio::test]
async fn a_wait_ends_with_its_job() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let id = id_of(&server.enqueue(json!({"kind": "k"})).await.expect(201));
    let hands = Hands::new(&database.url());
    let claimed = hands.claim_one("default").await;
    let path = format!("/v1/jobs/{id}?wait=60s");
    let begun = Instant::now();
    // The claim is in the database: the wait sees a running job first, whichever of the two comes first.
    let (waited, ()) = tokio::join!(server.get(&path), hands.complete("default", &claimed, r#"{"sent":true}"#));
    let job = waited.expect(200);
    assert_eq!((&job["state"], &job["result"]), (&json!("succeeded"), &json!({"sent": true})));
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(job["lease"].is_null() && job["finished_at"].is_string());
    assert_eq!(server.get(&path).await.expect(200), job);
}

#[tokio::test]
async fn a_wait_that_is_over_answers_the_present_state() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let id = id_of(&server.enqueue(json!({"kind": "k"})).await.expect(201));
    let begun = Instant::now();
    let job = server.get(&format!("/v1/jobs/{id}?wait=200ms")).await.expect(200);
    assert_eq!(job["state"], "queued");
    assert!(begun.elapsed() >= Duration::from_millis(200));
    let hands = Hands::new(&database.url());
    let claimed = hands.claim_one("default").await;
    let job = server.get(&format!("/v1/jobs/{id}?wait=0s")).await.expect(200);
    assert_eq!((&job["state"], &job["attempts"]), (&json!("running"), &json!(1)));
    assert_eq!(job["lease"]["id"], claimed.lease_id.to_string());
    assert_eq!(job["lease"]["owner"], hands.owner.to_string());
}

#[tokio::test]
async fn many_waits_need_few_sessions_and_statements() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let jobs = json!({"jobs": vec![json!({"kind": "k"}); 200]});
    let answers = server.post("/v1/jobs/batch", jobs).await.expect(200);
    let all: Vec<String> = ids(&answers);
    let waits = all.iter().map(|id| format!("/v1/jobs/{id}?wait=60s"));
    let waits = futures_util::future::join_all(waits.map(|path| {
        let server = &server;
        async move { server.get(&path).await.expect(200)["state"].clone() }
    }));
    let cancel = async {
        server.until("/v1/queues/default", |reply| reply.json["due"] == 200).await;
        let sessions =
            psql(&database, "select count(*) from pg_stat_activity where application_name like 'faultline-api%'");
        assert!(sessions.parse::<u32>().unwrap() <= 20, "{sessions} sessions");
        psql(&database, "select count(faultline.cancel(id)) from faultline.jobs");
    };
    let (states, ()) = tokio::join!(waits, cancel);
    assert!(states.iter().all(|state| state == "cancelled"));
}

#[tokio::test]
async fn a_list_is_paged_and_filtered() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let mut all = Vec::new();
    for n in 0..7 {
        let body = json!({"kind": format!("k{}", n % 2), "queue": "q", "key": format!("key-{n}")});
        all.push(id_of(&server.enqueue(body).await.expect(201)).to_string());
    }
    let later =
        id_of(&server.enqueue(json!({"kind": "k0", "queue": "later", "delay": "1h"})).await.expect(201)).to_string();
    all.sort();
    all.reverse();
    let first = server.get("/v1/jobs?queue=q&limit=3").await.expect(200);
    assert_eq!(ids(&first), all[..3]);
    let next = |list: &Value| format!("/v1/jobs?queue=q&limit=3&cursor={}", list["next_cursor"].as_str().unwrap());
    let second = server.get(&next(&first)).await.expect(200);
    assert_eq!(ids(&second), all[3..6]);
    let third = server.get(&next(&second)).await.expect(200);
    assert_eq!((ids(&third), &third["next_cursor"]), (all[6..].to_vec(), &Value::Null));

    let hands = Hands::new(&database.url());
    let running = hands.claim_one("q").await;
    let failed = hands.claim_one("q").await;
    let fail = Ending::Fail { error: "no".into(), delay: Duration::from_secs(3600) };
    hands.end("q", &failed, fail).await;
    let done = hands.claim_one("q").await;
    hands.complete("q", &done, "1").await;
    let listed = async |query: &str| ids(&server.get(&format!("/v1/jobs?{query}")).await.expect(200));
    assert_eq!(listed("state=running").await, [running.id.to_string()]);
    assert_eq!(listed("state=succeeded").await, [done.id.to_string()]);
    assert_eq!(listed("state=retrying").await, [failed.id.to_string()]);
    assert_eq!(listed("state=scheduled").await, [later.clone(), failed.id.to_string()]);
    assert_eq!(listed("state=succeeded,running").await.len(), 2);
    assert_eq!(listed("state=queued").await.len(), 6);
    assert_eq!(listed("kind=k1").await.len(), 3);
    assert_eq!(listed("key=key-5").await.len(), 1);
    assert_eq!(listed("queue=nobody").await.len(), 0);

    let job = server.get(&format!("/v1/jobs/{}?include=attempts", failed.id)).await.expect(200);
    assert_eq!(job["past_attempts"][0]["error"], "no");
    assert_eq!(job["last_error"], "no");
    assert!(server.get(&format!("/v1/jobs/{}", failed.id)).await.expect(200).get("past_attempts").is_none());
}

#[tokio::test]
async fn a_page_of_large_jobs_is_cut_and_goes_on() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let job = json!({"kind": "k", "payload": "x".repeat(1_000_000)});
    server.post("/v1/jobs/batch", json!({"jobs": vec![job; 15]})).await.expect(200);
    let first = server.get("/v1/jobs?limit=1000").await.expect(200);
    assert_eq!(ids(&first).len(), 9);
    let rest = format!("/v1/jobs?limit=1000&cursor={}", first["next_cursor"].as_str().unwrap());
    let second = server.get(&rest).await.expect(200);
    assert_eq!((ids(&second).len(), &second["next_cursor"]), (6, &Value::Null));
}

#[tokio::test]
async fn cancel_ends_what_waits_and_asks_what_runs() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let waiting = id_of(&server.enqueue(json!({"kind": "k", "queue": "a"})).await.expect(201));
    let path = format!("/v1/jobs/{waiting}/cancel");
    assert_eq!(
        server.post(&path, "").await.expect(200),
        json!({"id": waiting, "state": "cancelled", "cancel_requested": false})
    );
    let problem = server.post(&path, "").await.expect_problem(409, "job-finished", None);
    assert_eq!((&problem["job_id"], &problem["state"]), (&json!(waiting), &json!("cancelled")));

    let running = id_of(&server.enqueue(json!({"kind": "k", "queue": "b"})).await.expect(201));
    let hands = Hands::new(&database.url());
    let claimed = hands.claim_one("b").await;
    let path = format!("/v1/jobs/{running}/cancel");
    for _ in 0..2 {
        let answer = server.post(&path, "").await.expect(200);
        assert_eq!(answer, json!({"id": running, "state": "running", "cancel_requested": true}));
    }
    assert_eq!(server.get(&format!("/v1/jobs/{running}")).await.expect(200)["cancel_requested"], true);
    hands.complete("b", &claimed, "1").await;
    let problem = server.post(&path, "").await.expect_problem(409, "job-finished", None);
    assert_eq!(problem["state"], "succeeded");
    assert_eq!(
        psql(&database, "select string_agg(actor || ' ' || action, ', ' order by at) from faultline.audit_log"),
        "api job.cancel, api job.cancel, api job.cancel"
    );
}

#[tokio::test]
async fn retry_makes_one_successor() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let id = id_of(&server.enqueue(json!({"kind": "k", "payload": [1], "delay": "1h"})).await.expect(201));
    let path = format!("/v1/jobs/{id}/retry");
    let moved = server.post(&path, "").await.expect(200);
    assert_eq!((id_of(&moved), &moved["created"], &moved["state"]), (id, &json!(false), &json!("queued")));
    let hands = Hands::new(&database.url());
    let claimed = hands.claim_one("default").await;
    server.post(&path, "").await.expect_problem(409, "job-running", None);
    hands.complete("default", &claimed, "1").await;
    let reply = server.post(&path, "").await;
    let location = reply.location.clone().unwrap();
    let successor = reply.expect(201);
    assert_eq!((&successor["retry_of"], &successor["payload"]), (&json!(id), &json!([1])));
    assert_eq!(location, format!("/v1/jobs/{}", id_of(&successor)));
    assert_eq!(id_of(&server.post(&path, "").await.expect(200)), id_of(&successor));
}

#[tokio::test]
async fn queues_are_shown_paused_and_resumed() {
    let database = database();
    let server = Server::start(&database.url()).await;
    server.enqueue(json!({"kind": "k", "queue": "a/b"})).await.expect(201);
    server.enqueue(json!({"kind": "k", "queue": "a/b", "delay": "1h"})).await.expect(201);
    let paused = server.post("/v1/queues/a%2Fb/pause", r#"{"reason":"maintenance"}"#).await.expect(200);
    assert_eq!((&paused["paused"], &paused["paused_reason"]), (&json!(true), &json!("maintenance")));
    assert_eq!((&paused["due"], &paused["scheduled"]), (&json!(1), &json!(1)));
    server.post("/v1/queues/other/pause", "").await.expect(200);
    let queues = server.get("/v1/queues").await.expect(200)["queues"].clone();
    let names: Vec<&str> = queues.as_array().unwrap().iter().map(|queue| queue["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a/b", "other"]);
    let job = server.get("/v1/jobs?queue=a/b&limit=1000").await.expect(200);
    let due = job["jobs"].as_array().unwrap().iter().find(|job| job["next_run_at"] == job["created_at"]).unwrap();
    let explained = server.get(&format!("/v1/jobs/{}/explain", id_of(due))).await.expect(200);
    assert!(explained["reasons"][0].as_str().unwrap().contains("paused"), "{explained}");
    let resumed = server.post("/v1/queues/a%2Fb/resume", "").await.expect(200);
    assert_eq!((&resumed["paused"], &resumed["paused_reason"]), (&json!(false), &Value::Null));
    server.post("/v1/queues/never-named/resume", "").await.expect(200);
}

#[tokio::test]
async fn workers_are_shown() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let hands = Hands::new(&database.url());
    let facts = WorkerFacts {
        id: hands.owner,
        pid: 7,
        slots: 3,
        lease_ttl: Duration::from_secs(15),
        host: "here".into(),
        version: "1".into(),
        queues: vec!["q".into()],
        kinds: vec!["*".into()],
        started_at: jiff::Timestamp::now(),
    };
    hands.database.run(async |client| register(client, &facts, false).await.map(|_| ())).await.unwrap();
    let workers = server.get("/v1/workers").await.expect(200)["workers"].clone();
    assert_eq!((&workers[0]["id"], &workers[0]["alive"]), (&json!(hands.owner), &json!(true)));
    assert_eq!(server.get("/v1/queues/q").await.expect(200)["workers"], 1);
}

#[tokio::test]
async fn an_ended_job_is_explained_too() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let id = id_of(&server.enqueue(json!({"kind": "k"})).await.expect(201));
    let explained = server.get(&format!("/v1/jobs/{id}/explain")).await.expect(200);
    assert!(explained["reasons"][0].as_str().unwrap().contains("no live worker"), "{explained}");
    server.post(&format!("/v1/jobs/{id}/cancel"), "").await.expect(200);
    let explained = server.get(&format!("/v1/jobs/{id}/explain")).await.expect(200);
    assert_eq!(explained["state"], "cancelled");
    assert!(explained["reasons"][0].as_str().unwrap().contains("ended as cancelled"), "{explained}");
}
