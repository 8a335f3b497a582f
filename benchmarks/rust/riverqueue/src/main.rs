//! River by its Rust crate.
//!
//! Best: the settings of River's own benchmark (`riverqueue bench`): 2,000 workers, 50 connections, batches of 5,000; and the
//! shortest pause between fetches that River takes. Recovery: jobs that run for longer than the job time-out of ten seconds are
//! rescued, looked for each second. Default: the README's quick start, 10 workers.

use anyhow::Result;
use harness::{Payload, Peer, Settings, meter, ready};
use riverqueue::migrate::PostgresMigrator;
use riverqueue::sqlx::PgPool;
use riverqueue::sqlx::postgres::PgPoolOptions;
use riverqueue::{
    BoxError, Client, FETCH_COOLDOWN_MIN, Job, JobArgs, MaintenanceConfig, QueueConfig, WorkContext, WorkOutcome,
    Workers,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a job may run at all, where recovery is to be fast: River tells a dead worker from a slow job by nothing else.
const RESCUE_AFTER: Duration = Duration::from_secs(10);

struct River(Client);

#[derive(Clone, Debug, Serialize, Deserialize, JobArgs)]
#[river(kind = "bench")]
struct Bench {
    payload: Payload,
}

async fn bench(_context: WorkContext, job: Job<Bench>) -> Result<WorkOutcome, BoxError> {
    meter().run(&job.args.payload).await;
    Ok(WorkOutcome::Complete)
}

impl Peer for River {
    const BATCH: usize = 5000;

    async fn setup(url: &str, _settings: Settings) -> Result<()> {
        PostgresMigrator::new(PgPool::connect(url).await?).migrate_up().await?;
        Ok(())
    }

    async fn producer(url: &str, connections: u32) -> Result<Self> {
        let pool = PgPoolOptions::new().max_connections(connections).connect(url).await?;
        Ok(Self(Client::builder(pool).build()?))
    }

    async fn enqueue_many(&self, jobs: Vec<Payload>) -> Result<()> {
        self.0.insert_many(jobs.into_iter().map(|payload| Bench { payload })).await?;
        Ok(())
    }

    async fn enqueue_one(&self, payload: Payload) -> Result<()> {
        self.0.insert(Bench { payload }).await?;
        Ok(())
    }

    async fn work(url: &str, settings: Settings) -> Result<()> {
        let mut workers = Workers::new();
        workers.add_fn(bench)?;
        let connections = if settings.is_best() { 50 } else { 10 };
        let pool = PgPoolOptions::new().max_connections(connections).connect(url).await?;
        let client = Client::builder(pool).workers(workers);
        let client = match settings {
            Settings::Best => client.fetch_cooldown(FETCH_COOLDOWN_MIN).queue("default", QueueConfig::new(2000)),
            Settings::Recovery => client
                .job_timeout(RESCUE_AFTER)
                .maintenance(
                    MaintenanceConfig::default()
                        .with_rescue_after(RESCUE_AFTER)
                        .with_rescuer_interval(Duration::from_secs(1)),
                )
                .queue("default", QueueConfig::new(10)),
            Settings::Default => client.queue("default", QueueConfig::new(10)),
        };
        let client = client.build()?;
        ready().await;
        client.start()?.wait().await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    harness::main::<River>().await
}
