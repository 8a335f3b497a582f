//! Graphile Worker RS.
//!
//! Best: the settings of its own benchmark (`benches/perf_test.rs`): 500 jobs at once, polls of 5 ms, completions gathered for
//! 5 ms, a local queue of 5,000. Recovery: heartbeats and sweeps each second, five seconds' silence, no delay. Default: nothing
//! set, so that as many jobs run at once as there are processors.

use anyhow::Result;
use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, TaskHandler, WorkerContext, WorkerOptions, WorkerUtils,
};
use harness::{Payload, Peer, Settings, meter, ready};
use serde::{Deserialize, Serialize};
use std::time::Duration;

struct Graphile(WorkerUtils);

#[derive(Clone, Serialize, Deserialize)]
struct Bench {
    payload: Payload,
}

impl TaskHandler for Bench {
    const IDENTIFIER: &'static str = "bench";

    async fn run(self, _context: WorkerContext) -> impl IntoTaskHandlerResult {
        meter().run(&self.payload).await;
        Ok::<(), String>(())
    }
}

fn options(url: &str) -> WorkerOptions {
    WorkerOptions::default().database_url(url).define_job::<Bench>()
}

impl Peer for Graphile {
    async fn setup(url: &str, _settings: Settings) -> Result<()> {
        options(url).init().await?;
        Ok(())
    }

    async fn producer(url: &str, connections: u32) -> Result<Self> {
        Ok(Self(options(url).max_pg_conn(connections).init().await?.create_utils()))
    }

    async fn enqueue_many(&self, jobs: Vec<Payload>) -> Result<()> {
        let spec = JobSpec::default();
        let jobs: Vec<_> = jobs.into_iter().map(|payload| (Bench { payload }, &spec)).collect();
        self.0.add_jobs(&jobs).await?;
        Ok(())
    }

    async fn enqueue_one(&self, payload: Payload) -> Result<()> {
        self.0.add_job(Bench { payload }, JobSpec::default()).await?;
        Ok(())
    }

    async fn work(url: &str, settings: Settings) -> Result<()> {
        let second = Duration::from_secs(1);
        let few = Duration::from_millis(5);
        let options = match settings {
            Settings::Best => options(url)
                .concurrency(500)
                .poll_interval(few)
                .complete_job_batch_delay(few)
                .local_queue(LocalQueueConfig::default().with_size(5000)),
            Settings::Recovery => options(url)
                .heartbeat_interval(second)
                .sweep_interval(second)
                .sweep_threshold(Duration::from_secs(5))
                .recovery_delay(Duration::ZERO),
            Settings::Default => options(url),
        };
        let worker = options.init().await?;
        ready().await;
        worker.run().await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    harness::main::<Graphile>().await
}
