//! What the tests of the library share.
#![allow(dead_code, reason = "each test binary uses its part")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use faultline::{Client, JobId, JobRecord, State, Summary, Worker};
use faultline_cluster::testing::{self, TestDatabase};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything in a test may take; generous, since the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn migrate(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { Client::lazy(url).unwrap().migrate().await.unwrap() });
}

pub(crate) fn database() -> TestDatabase {
    testing::database(migrate)
}

pub(crate) fn client(database: &TestDatabase) -> Client {
    Client::lazy(&database.url()).unwrap()
}

/// A worker that runs in the background until it is told to stop.
pub(crate) struct Running {
    pub(crate) stop: CancellationToken,
    pub(crate) ended: JoinHandle<Result<Summary, faultline::Error>>,
}

impl Running {
    pub(crate) fn start(worker: Worker) -> Self {
        let stop = CancellationToken::new();
        let ended = tokio::spawn(worker.run_until(stop.clone().cancelled_owned()));
        Self { stop, ended }
    }

    pub(crate) async fn stop(self) -> Summary {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.ended).await.expect("the worker stops").unwrap().unwrap()
    }
}

/// Waits until a job is in a state.
pub(crate) async fn wait_for(client: &Client, id: JobId, state: State) -> JobRecord {
    wait_until(client, id, |job| job.state == state).await
}

/// Waits until a job looks as described.
pub(crate) async fn wait_until(client: &Client, id: JobId, wanted: impl Fn(&JobRecord) -> bool) -> JobRecord {
    let mut last = None;
    let found = tokio::time::timeout(DEADLINE, async {
        loop {
            if let Ok(Some(job)) = client.get(id).await {
                if wanted(&job) {
                    return job;
                }
                last = Some(job);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    found.unwrap_or_else(|_| panic!("job {id} did not get there, it is {last:?}"))
}

/// A plain connection for looking and meddling.
pub(crate) async fn plain(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
