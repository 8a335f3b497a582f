//! Who may do what.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Reply, Server, database};
use faultline_cluster::testing::TestDatabase;
use faultline_server::{Auth, new_token};
use faultline_store::tokens::{self, Role};
use faultline_store::{Database, Error};
use hyper::Method;
use serde_json::{Value, json};

async fn create(database: &TestDatabase, name: &str, role: Role) -> String {
    let (token, hash) = new_token();
    let database = Database::new(&database.url(), "tokens", 1).unwrap();
    let created = database.run(async |client| tokens::create(client, name, role, &hash).await).await;
    assert!(created.unwrap());
    token
}

async fn start(database: &TestDatabase) -> Server {
    Server::start_with(&database.url(), |config| config.auth = Auth::Tokens).await
}

async fn ask(server: &Server, token: &str, method: Method, path: &str, body: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    server.send(method, path, &headers, body).await
}

#[tokio::test]
async fn each_role_may_do_its_part() {
    let database = database();
    let mut roles = Vec::new();
    for (name, role) in [("r", Role::Read), ("e", Role::Enqueue), ("w", Role::Work), ("o", Role::Operate)] {
        roles.push((name, create(&database, name, role).await));
    }
    let server = start(&database).await;
    let id = "01890000-0000-7000-8000-000000000000";
    let job = format!("/v1/jobs/{id}");
    let (explain, cancel, retry) = (format!("{job}/explain"), format!("{job}/cancel"), format!("{job}/retry"));
    // What a request is answered by whoever may make it, and who may.
    let matrix: [(Method, &str, &str, u16, &str); 13] = [
        (Method::POST, "/v1/jobs", r#"{"kind":"k"}"#, 201, "eo"),
        (Method::POST, "/v1/jobs/batch", r#"{"jobs":[]}"#, 200, "eo"),
        (Method::GET, &job, "", 404, "reo"),
        (Method::GET, "/v1/jobs", "", 200, "ro"),
        (Method::GET, &explain, "", 404, "ro"),
        (Method::GET, "/v1/queues", "", 200, "ro"),
        (Method::GET, "/v1/queues/q", "", 200, "ro"),
        (Method::GET, "/v1/workers", "", 200, "ro"),
        (Method::POST, &cancel, "", 404, "o"),
        (Method::POST, &retry, "", 404, "o"),
        (Method::POST, "/v1/queues/q/pause", "", 200, "o"),
        (Method::POST, "/v1/queues/q/resume", "", 200, "o"),
        (Method::HEAD, "/v1/queues", "", 200, "ro"),
    ];
    for (method, path, body, status, allowed) in matrix {
        for (name, token) in &roles {
            let reply = ask(&server, token, method.clone(), path, body).await;
            println!("{name} {method} {path}: {}", reply.status);
            if allowed.contains(name) {
                reply.expect(status);
            } else if method == Method::HEAD {
                reply.expect(403);
            } else {
                assert!(reply.challenge.as_deref().is_some_and(|challenge| challenge.contains("insufficient_scope")));
                reply.expect_problem(403, "forbidden", None);
            }
        }
        let reply = server.send(method.clone(), path, &[("content-type", "application/json")], body).await;
        assert_eq!(reply.challenge.as_deref(), Some("Bearer"));
        assert_eq!(reply.status, 401);
    }
    for path in ["/", "/health", "/health/live", "/health/ready", "/openapi.json"] {
        server.get(path).await.expect(200);
    }
    assert_eq!(common::psql(&database, "select distinct actor from faultline.audit_log"), "o");
}

#[tokio::test]
async fn a_token_that_is_unknown_or_ill_formed_is_refused() {
    let database = database();
    let token = create(&database, "o", Role::Operate).await;
    let server = start(&database).await;
    for value in [
        format!("Basic {token}"),
        token.clone(),
        "Bearer".into(),
        "Bearer ".into(),
        format!("Bearer {token}x"),
        "Bearer \u{7f}".replace('\u{7f}', "\t"),
    ] {
        println!("{value:?}");
        let reply = server.send(Method::GET, "/v1/queues", &[("authorization", &value)], "").await;
        reply.expect_problem(401, "unauthorized", None);
    }
    let reply = server.send(Method::GET, "/v1/queues", &[("authorization", &format!("bearer {token}"))], "").await;
    reply.expect(200);
}

#[tokio::test]
async fn a_new_token_works_at_once_and_a_revoked_one_not_for_long() {
    let database = database();
    let server = start(&database).await;
    let token = create(&database, "late", Role::Read).await;
    ask(&server, &token, Method::GET, "/v1/queues", "").await.expect(200);
    let store = Database::new(&database.url(), "tokens", 1).unwrap();
    assert!(store.run(async |client| tokens::revoke(client, "late").await).await.unwrap());
    let refused = async {
        while ask(&server, &token, Method::GET, "/v1/queues", "").await.status != 401 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(common::DEADLINE, refused).await.expect("the token ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_tokens_work_while_the_database_is_away() {
    use faultline_cluster::{Cluster, Mode, Programs};
    let mut cluster = Cluster::builder(Programs::find().unwrap()).durable(false).start().unwrap();
    let url = cluster.url("postgres");
    let own_url = url.clone();
    std::thread::spawn(move || common::migrated(&own_url)).join().unwrap();
    let (token, hash) = new_token();
    let store = Database::new(&url, "tokens", 1).unwrap();
    let created: Result<bool, Error> =
        store.run(async |client| tokens::create(client, "t", Role::Operate, &hash).await).await;
    assert!(created.unwrap());
    let server = Server::start_with(&url, |config| config.auth = Auth::Tokens).await;
    ask(&server, &token, Method::GET, "/v1/queues", "").await.expect(200);
    cluster.stop(Mode::Fast).unwrap();
    ask(&server, &token, Method::GET, "/v1/queues", "").await.expect_problem(503, "database-unavailable", None);
    ask(&server, "flt_unknown", Method::GET, "/v1/queues", "").await.expect_problem(401, "unauthorized", None);
    cluster.start_again().unwrap();
    server.until("/health/ready", |reply| reply.status == 200).await;
    let body = json!({"kind": "k"}).to_string();
    let job = ask(&server, &token, Method::POST, "/v1/jobs", &body).await.expect(201);
    assert_ne!(job["id"], Value::Null);
}
