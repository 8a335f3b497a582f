//! A client whose futures are dropped: public calls of the library after no poll, one, two and so on, and requests to the API whose sender hangs
//! up. After each cut comes a whole call, which would get whatever the cut one has left behind in a session.

use crate::DrillError;
use crate::database;
use crate::guest::Visit;
use crate::guest::keyed::Keyed;
use crate::history::{History, Lines, wall_ns};
use crate::http::{Exchange, exchange};
use crate::work::Work;
use faultline::tokio_postgres::{self, NoTls};
use faultline::{Client, Enqueued, Error, Filter, JobId};
use faultline_check::witness::{Answer, Phase, Sample, SessionSample};
use std::collections::HashSet;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Polls before a future is dropped, at most; the longest call needs some fewer to end.
const POLLS: u64 = 12;
/// Between two cuts.
const PAUSE: Duration = Duration::from_millis(5);
/// How long sessions may take to be gone once nobody holds them.
const GONE: Duration = Duration::from_secs(5);

/// Polls a future so many times, each when it was woken, and drops it.
async fn cut<F: Future>(future: F, polls: u64) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

struct Storm {
    client: Client,
    library: History,
    api: History,
    visit: Visit,
    last: Option<JobId>,
}

/// Cuts calls until the load ends; then sessions of the client that outlive it are noted as leaked.
pub(crate) async fn storm(visit: Visit) -> Result<(), DrillError> {
    let failed = |error: Error| DrillError::Process(format!("the client of the storm cannot start: {error}"));
    let before = sessions(&visit.url).await?;
    let client = Client::lazy(&visit.url).map_err(failed)?;
    let (library, api) = (History::open(&visit.dir, "storm-library")?, History::open(&visit.dir, "storm-api")?);
    let mut storm = Storm { client, library, api, visit, last: None };
    let mut number = 0;
    while !storm.visit.stop.is_cancelled() {
        let polls = number / 4 % POLLS;
        match number % 4 {
            0 => storm.enqueue(number, polls).await,
            1 => storm.in_transaction(number, polls).await?,
            2 => storm.others(number, polls).await,
            _ => storm.hang_up(number, polls).await,
        }
        number += 1;
        tokio::time::sleep(PAUSE).await;
    }
    let Storm { client, visit, .. } = storm;
    drop(client);
    note_leaks(&visit, &before).await
}

impl Storm {
    fn keyed<'a>(&'a self, history: &'a History, name: &str, number: u64) -> Keyed<'a> {
        let work = Work { ms: 2, light: true, ..Work::default() };
        Keyed { history, queue: &self.visit.queue, key: format!("{name}-{}-{number}", self.visit.seed), work }
    }

    async fn enqueue(&mut self, number: u64, polls: u64) {
        let keyed = self.keyed(&self.library, "cut", number);
        let op = keyed.begin();
        let unknown = match cut(keyed.by_library(&self.client).into_future(), polls).await {
            Some(answer) => keyed.ended(op, &answer),
            None => {
                keyed.end(op, Phase::Info, None, None);
                true
            }
        };
        if unknown {
            keyed.resolve(&self.client, op).await;
        }
        self.whole(number).await;
    }

    /// The next borrower: what it is told must be so.
    async fn whole(&mut self, number: u64) {
        let keyed = self.keyed(&self.library, "whole", number);
        let op = keyed.begin();
        let answer = keyed.by_library(&self.client).await;
        if keyed.ended(op, &answer) {
            keyed.resolve(&self.client, op).await;
        }
        self.last = answer.ok().map(Enqueued::id);
    }

    /// The same in a transaction of the caller's, which is committed, rolled back, or cut in its commit.
    async fn in_transaction(&mut self, number: u64, polls: u64) -> Result<(), DrillError> {
        let mut config: tokio_postgres::Config = self.visit.url.parse()?;
        let (mut session, connection) = config.application_name("faultline").connect(NoTls).await?;
        tokio::spawn(connection);
        let keyed = self.keyed(&self.library, "tx-cut", number);
        let op = keyed.begin();
        let mut tx = session.transaction().await?;
        let enqueued = cut(keyed.by_library(&self.client).within(&mut tx), polls).await;
        let committed = match number / 4 % 3 {
            0 => tx.rollback().await.map(|()| false).ok(),
            1 => tx.commit().await.map(|()| true).ok(),
            _ => cut(tx.commit(), polls % 3).await.and_then(Result::ok).map(|()| true),
        };
        match (&enqueued, committed) {
            (_, Some(false)) => keyed.end(op, Phase::Fail, None, None),
            (Some(answer @ Ok(_)), Some(true)) => drop(keyed.ended(op, answer)),
            _ => {
                keyed.end(op, Phase::Info, None, None);
                keyed.resolve(&self.client, op).await;
            }
        }
        // The session's next transaction has nothing of the last one.
        let keyed = self.keyed(&self.library, "tx-whole", number);
        let op = keyed.begin();
        let mut tx = session.transaction().await?;
        let answer = keyed.by_library(&self.client).within(&mut tx).await;
        tx.commit().await?;
        keyed.ended(op, &answer);
        Ok(())
    }

    /// Calls that change nothing, and a cancel.
    async fn others(&mut self, number: u64, polls: u64) {
        let Some(id) = self.last else { return };
        match number / 4 % 6 {
            0 => drop(cut(self.client.get(id), polls).await),
            1 => drop(cut(self.client.list(&Filter::default(), 20), polls).await),
            2 => drop(cut(self.client.attempts(id), polls).await),
            3 => drop(cut(self.client.explain(id), polls).await),
            4 => drop(cut(self.client.check_schema(), polls).await),
            _ => drop(cut(self.client.cancel(id), polls).await),
        }
        self.whole(number).await;
    }

    /// A request of which a part is sent, or the whole, and whose answer nobody waits for.
    async fn hang_up(&self, number: u64, polls: u64) {
        let keyed = self.keyed(&self.api, "hung-up", number);
        let (address, body) = (self.visit.address, keyed.by_http().to_string());
        let head = format!(
            "POST /v1/jobs HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let request = format!("{head}{body}");
        let whole = !polls.is_multiple_of(4);
        let sent = if whole { request.len() } else { request.len() * usize::try_from(polls).unwrap_or(0) / 12 };
        let op = keyed.begin();
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let _ = stream.write_all(&request.as_bytes()[..sent]).await;
            tokio::time::sleep(Duration::from_millis(polls / 4)).await;
        }
        if !whole {
            return keyed.end(op, Phase::Fail, None, None);
        }
        keyed.end(op, Phase::Info, None, None);
        keyed.resolve(&self.client, op).await;
        // The API goes on answering others.
        let keyed = self.keyed(&self.api, "answered", number);
        let op = keyed.begin();
        match exchange(address, "POST /v1/jobs", &keyed.by_http().to_string(), GONE).await {
            Exchange::Answered(201, body) => {
                let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
                let id = body["id"].as_str().and_then(|id| id.parse().ok());
                keyed.end(op, Phase::Ok, Some(Answer::Created), id);
            }
            Exchange::Answered(500, _) => keyed.end(op, Phase::Info, Some(Answer::Broken), None),
            _ => {
                keyed.end(op, Phase::Info, None, None);
                keyed.resolve(&self.client, op).await;
            }
        }
    }
}

/// Sessions of clients like ours.
async fn sessions(url: &str) -> Result<HashSet<i32>, DrillError> {
    let sql = "select pid from pg_stat_activity where application_name = 'faultline' and datname = current_database()";
    Ok(database::connect(url).await?.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

async fn note_leaks(visit: &Visit, before: &HashSet<i32>) -> Result<(), DrillError> {
    let until = tokio::time::Instant::now() + GONE;
    let left = loop {
        let left: Vec<i32> = sessions(&visit.url).await?.difference(before).copied().collect();
        if left.is_empty() || tokio::time::Instant::now() > until {
            break left;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let lines = Lines::open(&visit.dir.join("samples.jsonl"), false)?;
    for pid in left {
        let at_us = wall_ns() / 1000;
        let application = "faultline".to_owned();
        let session = SessionSample { sample: 0, at_us, pid, application, idle_in_transaction_us: 0, leaked: true };
        lines.write(&Sample::Session(session)).map_err(DrillError::io("write a sample"))?;
    }
    Ok(())
}
