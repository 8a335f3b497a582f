//! Enqueues jobs in bulk and drains them with one worker, printing both rates:
//! `cargo run --release -p faultline --example drain -- postgres://… [jobs] [slots]`
//!
//! The database must be migrated. Handlers do nothing, so that the figures are those of the engine; every job is claimed under
//! a lease, finished by its lease id, and kept in the history.

use faultline::{Client, Failure, NewJob, Worker};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or("usage: drain DATABASE_URL [jobs] [slots]")?;
    let jobs: usize = args.next().map_or(Ok(100_000), |n| n.parse())?;
    let slots: usize = args.next().map_or(Ok(2000), |n| n.parse())?;
    let client = Client::connect(&url).await?;

    let batch: Vec<NewJob> = (0..jobs)
        .map(|n| {
            client
                .enqueue_raw("drain", serde_json::json!({"n": n, "text": "x".repeat(80)}))
                .queue("drain")
                .into_new_job()
        })
        .collect::<Result<_, _>>()?;
    let began = Instant::now();
    for chunk in batch.chunks(1000) {
        client.enqueue_all(chunk).await?;
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("enqueued {jobs} jobs in {seconds:.2} s: {:.0}/s", jobs as f64 / seconds);

    let left = Arc::new(AtomicUsize::new(jobs));
    let done = CancellationToken::new();
    let all_done = done.clone();
    let began = Instant::now();
    let summary = Worker::new(&client)
        .queue("drain", slots)
        .on_kind("drain", move |_, _| {
            if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                done.cancel();
            }
            async { Ok::<_, Failure>(()) }
        })
        .run_until(all_done.cancelled_owned())
        .await?;
    let seconds = began.elapsed().as_secs_f64();
    println!("drained {} jobs in {seconds:.2} s: {:.0}/s", summary.succeeded, summary.succeeded as f64 / seconds);
    Ok(())
}
