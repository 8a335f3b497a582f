//! Effects that happen exactly once: the handler's own writes and the job's success commit together.
//! `cargo run -p faultline --example pay_once -- postgres://…`

use faultline::tokio_postgres::{self, NoTls};
use faultline::{Client, Failure, Job, Run, Worker};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Serialize, Deserialize)]
struct Pay {
    amount: i32,
}

impl Job for Pay {
    const KIND: &'static str = "pay";
    const QUEUE: &'static str = "payments";
}

async fn connect(url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: pay_once DATABASE_URL")?;
    let faultline = Client::lazy(&url)?;
    faultline.migrate().await?;
    let mut db = connect(&url).await?;
    db.batch_execute("create table if not exists payments (job text not null, amount int not null)").await?;

    // The job and whatever else the transaction does exist together, or not at all.
    let mut tx = db.transaction().await?;
    let no_wait = Duration::ZERO;
    let id = faultline.enqueue(&Pay { amount: 10 }).backoff(no_wait, no_wait).within(&mut tx).await?.id();
    tx.commit().await?;

    let paid = CancellationToken::new();
    let done = paid.clone();
    let worker_url = url.clone();
    Worker::new(&faultline)
        .queue("payments", 4)
        .on(move |job: Pay, run: Run| {
            let (url, done) = (worker_url.clone(), done.clone());
            async move {
                let mut db = connect(&url).await?;
                let mut tx = db.transaction().await?;
                tx.execute("insert into payments values ($1, $2)", &[&run.id().to_string(), &job.amount]).await?;
                if run.attempt() == 1 {
                    // The first attempt ends after its effect: the transaction takes it back.
                    return Err(Failure::new("the lights went out"));
                }
                run.complete_in(&mut tx, &()).await?; // last: it locks the job's row
                tx.commit().await?;
                done.cancel();
                Ok(())
            }
        })
        .run_until(paid.cancelled_owned())
        .await?;

    let row = db.query_one("select count(*) from payments where job = $1", &[&id.to_string()]).await?;
    let job = faultline.get(id).await?.ok_or("the job is kept in the history")?;
    println!("{} after {} attempts, paid {} time", job.state, job.attempts, row.get::<_, i64>(0));
    Ok(())
}
