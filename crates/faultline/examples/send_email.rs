//! Enqueues a few jobs and runs them: `cargo run -p faultline --example send_email -- postgres://…`
//!
//! The database is migrated first if need be.

use faultline::{Client, Failure, Job, Run, Worker};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Serialize, Deserialize)]
struct SendEmail {
    to: String,
}

impl Job for SendEmail {
    const KIND: &'static str = "send_email";
    const QUEUE: &'static str = "mail";
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: send_email DATABASE_URL")?;
    let faultline = Client::lazy(&url)?;
    faultline.migrate().await?;

    // Repeating an enqueue with the same key is safe: it answers the same job.
    let first = faultline.enqueue(&SendEmail { to: "ann@example.com".into() }).key("welcome-ann").await?;
    let again = faultline.enqueue(&SendEmail { to: "ann@example.com".into() }).key("welcome-ann").await?;
    assert_eq!(first.id(), again.id());
    let unsure = faultline
        .enqueue(&SendEmail { to: "bob@example.com".into() })
        .backoff(Duration::from_millis(10), Duration::from_secs(1))
        .priority(3)
        .await?;

    let all_sent = CancellationToken::new();
    let sent = all_sent.clone();
    Worker::new(&faultline)
        .queue("mail", 1)
        .on(move |job: SendEmail, run: Run| {
            let sent = sent.clone();
            async move {
                // The mail server is busy at the first try for Bob. Any error is tried again with back-off.
                if job.to.starts_with("bob") && run.attempt() == 1 {
                    return Err(Failure::new("the mail server is busy"));
                }
                println!("sent to {} in attempt {}", job.to, run.attempt());
                if job.to.starts_with("bob") {
                    sent.cancel();
                }
                Ok("250 OK")
            }
        })
        .run_until(all_sent.cancelled_owned())
        .await?;

    for id in [first.id(), unsure.id()] {
        let job = faultline.get(id).await?.ok_or("the job is kept in the history")?;
        println!("{} after {} attempts: {}", job.state, job.attempts, job.result.ok_or("it has a result")?);
    }
    Ok(())
}
