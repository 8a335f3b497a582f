//! What a handler knows of its attempt.

use crate::error::Error;
use crate::worker::registry::{Registry, Stop};
use faultline_core::{JobId, LeaseId, WorkerId, json};
use faultline_store::lease::ClaimedJob;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// One attempt of a job, as its handler sees it. Cheap to clone.
#[derive(Clone)]
pub struct Run {
    inner: Arc<Inner>,
}

struct Inner {
    job: ClaimedJob,
    queue: Arc<str>,
    worker: WorkerId,
    registry: Arc<Registry>,
    stop: Stop,
    /// Set by `complete_in`: from then on only the transaction's commit decides.
    completed_in: AtomicBool,
}

impl Run {
    pub(crate) fn new(job: ClaimedJob, queue: Arc<str>, worker: WorkerId, registry: Arc<Registry>, stop: Stop) -> Self {
        Self { inner: Arc::new(Inner { job, queue, worker, registry, stop, completed_in: AtomicBool::new(false) }) }
    }

    pub(crate) fn job(&self) -> &ClaimedJob {
        &self.inner.job
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.inner.stop
    }

    pub(crate) fn queue_name(&self) -> &Arc<str> {
        &self.inner.queue
    }

    pub(crate) fn was_completed_in(&self) -> bool {
        self.inner.completed_in.load(Ordering::Acquire)
    }

    /// The job's id: the same for all attempts, fit for others to deduplicate on.
    pub fn id(&self) -> JobId {
        self.inner.job.id
    }

    /// The number of this attempt, counting from 1.
    pub fn attempt(&self) -> i32 {
        self.inner.job.attempt
    }

    /// The most attempts the job may have.
    pub fn max_attempts(&self) -> i32 {
        self.inner.job.max_attempts
    }

    /// The job's kind.
    pub fn kind(&self) -> &str {
        &self.inner.job.kind
    }

    /// The queue it waited in.
    pub fn queue(&self) -> &str {
        &self.inner.queue
    }

    /// Its idempotency key.
    pub fn key(&self) -> Option<&str> {
        self.inner.job.key.as_deref()
    }

    /// Its headers, a JSON object.
    pub fn headers(&self) -> Option<&RawValue> {
        self.inner.job.headers.as_deref()
    }

    /// When it was enqueued, on the database's clock.
    pub fn created_at(&self) -> Timestamp {
        self.inner.job.created_at
    }

    /// The lease of this attempt: another one for every attempt, fit for others to tell attempts apart.
    pub fn lease_id(&self) -> LeaseId {
        self.inner.job.lease_id
    }

    /// The worker that runs this attempt.
    pub fn worker_id(&self) -> WorkerId {
        self.inner.worker
    }

    /// Resolves when the attempt is over from outside: its lease was lost, the job was cancelled, the worker shuts down.
    /// The handler is dropped at its next `.await` anyway; this is for parts of it that run elsewhere, such as a thread.
    pub async fn lost(&self) {
        self.inner.stop.stopped().await;
    }

    /// Whether [`Run::lost`] has resolved; for a thread to look at between steps.
    pub fn is_lost(&self) -> bool {
        self.inner.stop.is_stopped()
    }

    /// How long the lease of this attempt lasts for certain unless it is renewed again; zero once it may have ended. Renewals move it, three in
    /// a lease time. To be looked at right before a step that two workers must not do at once; [`Worker::strict`](crate::Worker::strict)
    /// looks at it at every `.await`.
    pub fn lease_left(&self) -> Duration {
        self.inner.stop.deadline().left()
    }

    /// Finishes the job inside the caller's transaction: what else the transaction wrote and the job's success commit
    /// together or not at all. Make it the last statement before the commit, since it locks the job's row.
    ///
    /// A handler that returns `Ok` without having committed the transaction has failed its attempt.
    ///
    /// ```no_run
    /// # async fn example(run: faultline::Run, mut db: tokio_postgres::Client) -> Result<(), faultline::Failure> {
    /// let mut tx = db.transaction().await?;
    /// tx.execute("update accounts set balance = balance - 10 where id = 1", &[]).await?;
    /// run.complete_in(&mut tx, &()).await?;
    /// tx.commit().await?; // the money moves exactly once, whatever dies when
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::LeaseLost`] when another worker may be running the job: roll the transaction back.
    pub async fn complete_in(
        &self,
        transaction: &mut tokio_postgres::Transaction<'_>,
        result: &impl Serialize,
    ) -> Result<(), Error> {
        let result = self.begin_complete_in(result)?;
        faultline_store::mutant!("effect-before-finish", { transaction.batch_execute("commit; begin").await? });
        transaction
            .query_typed(
                "select faultline.complete_in_tx($1, $2, $3)",
                &[
                    (&self.id().0, tokio_postgres::types::Type::UUID),
                    (&self.lease_id().0, tokio_postgres::types::Type::UUID),
                    (&result.as_deref().map(tokio_postgres::types::Json), tokio_postgres::types::Type::JSONB),
                ],
            )
            .await?;
        Ok(())
    }

    /// What every driver's `complete_in` begins with; answers the result as it is stored.
    pub(crate) fn begin_complete_in(&self, result: &impl Serialize) -> Result<Option<Box<RawValue>>, Error> {
        let text = serde_json::to_string(result).map_err(Error::Payload)?;
        // From here on a renewal that misses the row says nothing: the transaction may have committed.
        self.inner.registry.finishing(self.id(), self.lease_id());
        self.inner.completed_in.store(true, Ordering::Release);
        Ok((text != "null").then(|| json::storable_result(&text)))
    }
}
