//! Awa.
//!
//! Best: the receipt path for jobs without a deadline, which its documentation calls the hot path (`deadline_duration` zero),
//! 512 jobs a claim as by default, workers for two claims, and the pool of its tuning guidelines. Recovery: the settings that its page "Configuration" gives for
//! noticing a crash within five seconds. Default: `QueueConfig::default()`, 50 workers. Bulk: the COPY of its queue storage, the
//! documented path for bulk producers.

use anyhow::Result;
use awa::model::{QueueStorage, QueueStorageConfig, insert};
use awa::{Client, InsertOpts, JobArgs, JobResult, QueueConfig, migrations, storage};
use harness::{Payload, Peer, Settings, meter, ready};
use serde::{Deserialize, Serialize};
use sqlx8::PgPool;
use sqlx8::postgres::PgPoolOptions;
use std::time::Duration;

/// The pool of the documentation's first example.
const CONNECTIONS: u32 = 10;
/// What its page "Benchmarking" says for one queue: four for each, and twenty.
const BEST_CONNECTIONS: u32 = 24;

struct Awa {
    pool: PgPool,
    storage: QueueStorage,
}

#[derive(Debug, Serialize, Deserialize)]
struct Bench {
    payload: Payload,
}

impl JobArgs for Bench {
    fn kind() -> &'static str {
        "bench"
    }
}

fn opts() -> InsertOpts {
    InsertOpts { queue: "bench".into(), ..Default::default() }
}

impl Peer for Awa {
    async fn setup(url: &str, settings: Settings) -> Result<()> {
        let pool = PgPool::connect(url).await?;
        migrations::run(&pool).await?;
        // The first worker's start turns a fresh database to the storage of this version. A job that is enqueued before goes
        // to the former storage, which nobody looks at afterwards.
        let client = client(pool.clone(), settings)?;
        client.start().await?;
        let active = async {
            while storage::status(&pool).await?.state != "active" {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(Duration::from_secs(30), active).await??;
        client.shutdown(Duration::from_secs(5)).await;
        Ok(())
    }

    async fn producer(url: &str, connections: u32) -> Result<Self> {
        let pool = PgPoolOptions::new().max_connections(connections).connect(url).await?;
        Ok(Self { pool, storage: QueueStorage::new(QueueStorageConfig::default())? })
    }

    async fn enqueue_many(&self, jobs: Vec<Payload>) -> Result<()> {
        let jobs: Vec<_> = jobs
            .into_iter()
            .map(|payload| insert::params_with(&Bench { payload }, opts()))
            .collect::<Result<_, _>>()?;
        self.storage.enqueue_params_copy(&self.pool, &jobs).await?;
        Ok(())
    }

    async fn enqueue_one(&self, payload: Payload) -> Result<()> {
        awa::insert_with(&self.pool, &Bench { payload }, opts()).await?;
        Ok(())
    }

    async fn work(url: &str, settings: Settings) -> Result<()> {
        let connections = if settings.is_best() { BEST_CONNECTIONS } else { CONNECTIONS };
        let pool = PgPoolOptions::new().max_connections(connections).connect(url).await?;
        let client = client(pool, settings)?;
        ready().await;
        client.start().await?;
        std::future::pending().await
    }
}

fn client(pool: PgPool, settings: Settings) -> Result<Client> {
    let queue = if settings.is_best() {
        QueueConfig { max_workers: 1024, deadline_duration: Duration::ZERO, ..Default::default() }
    } else {
        QueueConfig::default()
    };
    let mut client =
        Client::builder(pool).queue("bench", queue).register::<Bench, _, _>(|job: Bench, _context| async move {
            meter().run(&job.payload).await;
            Ok(JobResult::Completed)
        });
    if settings == Settings::Recovery {
        client = client
            .heartbeat_interval(Duration::from_secs(1))
            .heartbeat_staleness(Duration::from_secs(4))
            .heartbeat_rescue_interval(Duration::from_secs(1));
    }
    Ok(client.build()?)
}

#[tokio::main]
async fn main() -> Result<()> {
    harness::main::<Awa>().await
}
