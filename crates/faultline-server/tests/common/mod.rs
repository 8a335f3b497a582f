//! What the tests of the server share: a server on a database of its own, a client that keeps no connection, and a worker's
//! hands.
#![allow(dead_code, reason = "each test binary uses its part")]

use faultline_cluster::testing::{self, TestDatabase};
use faultline_core::{JobId, LeaseId, WorkerId};
use faultline_server::{ServeError, ServerConfig, serve};
use faultline_store::finish::{Ending, Finish, finish};
use faultline_store::lease::{ClaimedJob, Floors, claim};
use faultline_store::{Database, migrate};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything in a test may take; generous, since the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn migrated(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = Database::new(url, "test", 1).unwrap();
        database.run(async |client| migrate::migrate(client).await).await.unwrap();
    });
}

pub(crate) fn database() -> TestDatabase {
    testing::database(migrated)
}

/// A server that runs in the background until it is stopped or dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shutdown: CancellationToken,
    ended: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    pub(crate) async fn start(url: &str) -> Self {
        Self::start_with(url, |_| {}).await
    }

    pub(crate) async fn start_with(url: &str, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = ServerConfig::new(url);
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(serve(listener, config, shutdown.clone()));
        Self { address, shutdown, ended }
    }

    pub(crate) fn order_stop(&self) {
        self.shutdown.cancel();
    }

    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, &mut self.ended).await.expect("the server stops").unwrap().unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: impl ToString) -> Reply {
        self.send(Method::POST, path, &[("content-type", "application/json")], &body.to_string()).await
    }

    pub(crate) async fn enqueue(&self, body: Value) -> Reply {
        self.post("/v1/jobs", body).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        tokio::time::timeout(DEADLINE, send(self.address, request)).await.expect("an answer in time")
    }

    /// Sends bytes as they are, and reads until the server closes; `half_close` says that nothing follows.
    pub(crate) async fn raw(&self, bytes: &[u8], half_close: bool) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        if half_close {
            stream.shutdown().await.unwrap();
        }
        let mut answer = Vec::new();
        // A reset after the answer is as good as an end.
        let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("an answer in time");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Asks until an answer is as wanted.
    pub(crate) async fn until(&self, path: &str, wanted: impl Fn(&Reply) -> bool) -> Reply {
        tokio::time::timeout(DEADLINE, async {
            loop {
                let reply = self.get(path).await;
                if wanted(&reply) {
                    return reply;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("the wanted answer in time")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Reply {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    Reply {
        status: parts.status,
        content_type: header("content-type").unwrap_or_default(),
        location: header("location"),
        retry_after: header("retry-after"),
        challenge: header("www-authenticate"),
        allow: header("allow"),
        json: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) location: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) challenge: Option<String>,
    pub(crate) allow: Option<String>,
    pub(crate) json: Value,
}

impl Reply {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{:#}", self.json);
        self.json
    }

    /// Expects a problem of a type, with a field where one is to blame.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, slug: &str, field: Option<&str>) -> Value {
        assert_eq!(self.content_type, "application/problem+json", "{self:?}");
        let json = self.expect(status);
        assert_eq!(json["type"], format!("urn:faultline:problem:{slug}"), "{json:#}");
        assert_eq!(json["field"].as_str(), field, "{json:#}");
        assert_eq!(json["status"], status);
        assert!(json["title"].is_string() && json["detail"].is_string(), "{json:#}");
        json
    }
}

pub(crate) fn id_of(json: &Value) -> JobId {
    json["id"].as_str().expect("an id").parse().unwrap()
}

/// A worker's hands: claims and finishes through the store.
pub(crate) struct Hands {
    pub(crate) database: Database,
    pub(crate) owner: WorkerId,
}

impl Hands {
    pub(crate) fn new(url: &str) -> Self {
        Self { database: Database::new(url, "hands", 2).unwrap(), owner: WorkerId::new(&mut rand::rng()) }
    }

    pub(crate) async fn claim_one(&self, queue: &str) -> ClaimedJob {
        let lease = LeaseId::new(&mut rand::rng());
        let ttl = Duration::from_secs(30);
        let mut claimed = self
            .database
            .run(async |client| claim(client, queue, lease, self.owner, ttl, 1, &Floors::head()).await)
            .await
            .unwrap();
        claimed.pop().expect("a due job")
    }

    pub(crate) async fn end(&self, queue: &str, job: &ClaimedJob, ending: Ending) {
        let finishes = [Finish { id: job.id, lease_id: job.lease_id, ending }];
        self.database.run(async |client| finish(client, queue, &finishes).await).await.unwrap();
    }

    pub(crate) async fn complete(&self, queue: &str, job: &ClaimedJob, result: &str) {
        let result = serde_json::value::RawValue::from_string(result.to_owned()).unwrap();
        self.end(queue, job, Ending::Complete(Some(result))).await;
    }
}

pub(crate) fn psql(database: &TestDatabase, sql: &str) -> String {
    testing::cluster().psql(database.name(), sql).unwrap()
}
