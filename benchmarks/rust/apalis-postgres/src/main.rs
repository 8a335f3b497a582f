//! apalis with apalis-postgres.
//!
//! Best: LISTEN/NOTIFY, batches of 1,000 instead of 10, and handlers on all threads (`parallelize`). Recovery: heartbeats each
//! second of which two may be missed. Default: `PostgresStorage` as in its README's first example, which polls.

use anyhow::{Result, anyhow};
use apalis::prelude::*;
use apalis_postgres::{Config, PostgresStorage, queries};
use harness::{Payload, Peer, Settings, meter, ready};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use std::time::Duration;

const QUEUE: &str = "bench";

struct Apalis(PgPool);

async fn bench(payload: Payload) -> Result<(), BoxDynError> {
    meter().run(&payload).await;
    Ok(())
}

impl Apalis {
    async fn push(&self, jobs: Vec<Payload>) -> Result<()> {
        let tasks = jobs
            .iter()
            .map(|job| Ok(TaskBuilder::new(serde_json::to_vec(job)?).build()))
            .collect::<Result<_, serde_json::Error>>()?;
        let mut connection = self.0.acquire().await?;
        queries::push_tasks(&mut *connection, QUEUE, tasks).await?;
        Ok(())
    }
}

impl Peer for Apalis {
    async fn setup(url: &str, _settings: Settings) -> Result<()> {
        PostgresStorage::setup(&PgPool::connect(url).await?).await?;
        Ok(())
    }

    async fn producer(url: &str, connections: u32) -> Result<Self> {
        Ok(Self(PgPoolOptions::new().max_connections(connections).connect(url).await?))
    }

    async fn enqueue_many(&self, jobs: Vec<Payload>) -> Result<()> {
        self.push(jobs).await
    }

    async fn enqueue_one(&self, job: Payload) -> Result<()> {
        self.push(vec![job]).await
    }

    async fn work(url: &str, settings: Settings) -> Result<()> {
        let pool = PgPool::connect(url).await?;
        // Two workers of one name would be one worker to apalis.
        let name = format!("bench-{}", std::process::id());
        let config = Config::default().queue(QUEUE);
        let stopped = match settings {
            Settings::Best => {
                let backend = PostgresStorage::new(&pool).with_config(config.batch_size(1000)).with_pubsub();
                let worker = WorkerBuilder::new(name.as_str()).backend(backend).parallelize(tokio::spawn).build(bench);
                ready().await;
                worker.run().await
            }
            Settings::Recovery | Settings::Default => {
                let config = if settings == Settings::Recovery {
                    config.heartbeat_interval(Duration::from_secs(1)).missed_heartbeats(2)
                } else {
                    config
                };
                let backend = PostgresStorage::new(&pool).with_config(config);
                let worker = WorkerBuilder::new(name.as_str()).backend(backend).build(bench);
                ready().await;
                worker.run().await
            }
        };
        stopped.map_err(|error| anyhow!("{error}"))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    harness::main::<Apalis>().await
}
