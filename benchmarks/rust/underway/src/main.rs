//! Underway.
//!
//! Best: 32 tasks at once, as the documentation of `Worker::set_concurrency_limit` has it, connections for all of them, and a
//! poll each 100 ms (`Worker::run_every`), since each poll starts one more of those tasks on a backlog. Default: `Worker::run`,
//! which polls once a minute, with as many tasks at once as there are processors.

use anyhow::Result;
use harness::{Payload, Peer, Settings, meter, ready};
use jiff::ToSpan;
use sqlx8::postgres::PgPoolOptions;
use sqlx8::{PgPool, Postgres, Transaction};
use std::sync::Arc;
use underway::{Queue, Task, Worker, task};

struct Underway {
    pool: PgPool,
    queue: Queue<Bench>,
}

struct Bench;

impl Task for Bench {
    type Input = Payload;
    type Output = ();

    async fn execute(&self, _transaction: Transaction<'_, Postgres>, input: Payload) -> task::Result<()> {
        meter().run(&input).await;
        Ok(())
    }
}

async fn queue(pool: &PgPool) -> Result<Queue<Bench>> {
    Ok(Queue::builder().name("bench").pool(pool.clone()).build().await?)
}

impl Peer for Underway {
    const BATCH: usize = 5000;

    async fn setup(url: &str, _settings: Settings) -> Result<()> {
        let pool = PgPool::connect(url).await?;
        underway::run_migrations(&pool).await?;
        queue(&pool).await?;
        Ok(())
    }

    async fn producer(url: &str, connections: u32) -> Result<Self> {
        let pool = PgPoolOptions::new().max_connections(connections).connect(url).await?;
        let queue = queue(&pool).await?;
        Ok(Self { pool, queue })
    }

    async fn enqueue_many(&self, jobs: Vec<Payload>) -> Result<()> {
        self.queue.enqueue_multi(&self.pool, &Bench, &jobs).await?;
        Ok(())
    }

    async fn enqueue_one(&self, job: Payload) -> Result<()> {
        self.queue.enqueue(&self.pool, &Bench, &job).await?;
        Ok(())
    }

    async fn work(url: &str, settings: Settings) -> Result<()> {
        if settings.is_best() {
            let pool = PgPoolOptions::new().max_connections(40).connect(url).await?;
            let mut worker = Worker::new(Arc::new(queue(&pool).await?), Bench);
            worker.set_concurrency_limit(32);
            ready().await;
            worker.run_every(100.milliseconds()).await?;
        } else {
            let worker = Worker::new(Arc::new(queue(&PgPool::connect(url).await?).await?), Bench);
            ready().await;
            worker.run().await?;
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    harness::main::<Underway>().await
}
