//! Faultline by its Rust library.

use anyhow::Result;
use faultline::{Client, Failure, Job, NewJob, Run, Worker};
use faultline_store::Database;
use harness::{Payload, Peer, Settings, meter, ready};

struct Faultline(Client);

/// The workload's job.
#[derive(harness::serde::Serialize, harness::serde::Deserialize)]
#[serde(transparent, crate = "harness::serde")]
struct Bench(Payload);

impl Job for Bench {
    const KIND: &'static str = "bench";
}

impl Peer for Faultline {
    async fn setup(url: &str, _settings: Settings) -> Result<()> {
        Client::lazy(url)?.migrate().await?;
        Ok(())
    }

    async fn producer(url: &str, connections: u32) -> Result<Self> {
        Ok(Self(Client::of(Database::new(url, "bench", connections as usize)?)))
    }

    async fn enqueue_many(&self, jobs: Vec<Payload>) -> Result<()> {
        let jobs: Vec<NewJob> =
            jobs.into_iter().map(|job| self.0.enqueue(&Bench(job)).into_new_job()).collect::<Result<_, _>>()?;
        self.0.enqueue_all(&jobs).await?;
        Ok(())
    }

    async fn enqueue_one(&self, job: Payload) -> Result<()> {
        self.0.enqueue(&Bench(job)).await?;
        Ok(())
    }

    async fn work(url: &str, settings: Settings) -> Result<()> {
        let client = Client::connect(url).await?;
        let mut worker = Worker::new(&client).on(|job: Bench, _run: Run| async move {
            meter().run(&job.0).await;
            Ok::<_, Failure>(())
        });
        if settings.is_best() {
            worker = worker.queue("default", 2000);
        }
        ready().await;
        worker.run_until(std::future::pending()).await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    harness::main::<Faultline>().await
}
