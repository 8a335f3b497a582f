//! The client: enqueue, cancel, retry, look.

use crate::chance::Chance;
use crate::enqueue::{Enqueue, Job};
use crate::error::Error;
use faultline_core::{JobId, NewJob};
use faultline_metrics::{Metrics, Operation, Resolution};
use faultline_store::enqueue::{Enqueued, enqueue, enqueue_again};
use faultline_store::operate::{self, Cancel, Retry};
use faultline_store::read::{self, Attempt, Explanation, Filter, Job as JobRecord};
use faultline_store::{DEFAULT_POOL_SIZE, Database, Notifier, migrate};
use serde::Serialize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// How long a lost answer is asked for again before it is reported as indeterminate.
const RESOLVE_FOR: Duration = Duration::from_secs(10);
/// The pause between two such tries.
const RESOLVE_PAUSE: Duration = Duration::from_millis(200);

/// A handle on the jobs of one database. Cheap to clone; connects when it is first used and again when a connection is lost.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    notifier: OnceLock<Notifier>,
    actor: String,
    chance: Chance,
}

impl Client {
    /// Reads the URL, connects and checks that the schema is there.
    ///
    /// # Errors
    /// [`Error::Store`], whose text says what to do.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let client = Self::lazy(url)?;
        client.check_schema().await?;
        Ok(client)
    }

    /// Reads the URL; connects with the first call.
    ///
    /// # Errors
    /// [`Error::Store`] for a URL that can't be used.
    pub fn lazy(url: &str) -> Result<Self, Error> {
        Ok(Self::of(Database::new(url, "faultline", DEFAULT_POOL_SIZE)?))
    }

    /// A client of a database that is configured already.
    pub fn of(database: Database) -> Self {
        let chance = Chance::of(&database);
        Self { inner: Arc::new(Inner { database, notifier: OnceLock::new(), actor: "library".into(), chance }) }
    }

    /// The database under it.
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// What this client counts and measures, and the workers and reapers that are made with it; for a route such as
    /// `GET /metrics`. A program with several clients gives them one by [`Database::counted_in`].
    ///
    /// ```no_run
    /// # fn example(faultline: faultline::Client) -> (&'static str, String) {
    /// let metrics = faultline.metrics().clone();
    /// (faultline::Metrics::MEDIA_TYPE, metrics.encode())
    /// # }
    /// ```
    pub fn metrics(&self) -> &Metrics {
        self.inner.database.metrics()
    }

    pub(crate) fn chance(&self) -> &Chance {
        &self.inner.chance
    }

    /// Checks that the database can be reached and has the schema that this version needs; answers its version.
    ///
    /// # Errors
    /// [`Error::Store`], whose text says what to do.
    pub async fn check_schema(&self) -> Result<i32, Error> {
        Ok(self.inner.database.run(async |client| migrate::check(client).await).await?)
    }

    /// Applies the migrations that the database lacks; answers how many. Safe to call from many processes at once. The
    /// program's `faultline migrate` does the same.
    ///
    /// # Errors
    /// [`Error::Store`], for a role that may not create the schema as well.
    pub async fn migrate(&self) -> Result<usize, Error> {
        const LIMIT: Duration = Duration::from_secs(600);
        let applied = self.inner.database.run_within(LIMIT, async |client| migrate::migrate(client).await).await?;
        Ok(applied.len())
    }

    /// A job on its way: set its options, then `.await` it, or put it into a transaction with [`Enqueue::within`].
    ///
    /// ```no_run
    /// # use serde::{Serialize, Deserialize};
    /// # #[derive(Serialize, Deserialize)] struct SendEmail { to: String }
    /// # impl faultline::Job for SendEmail { const KIND: &'static str = "send_email"; }
    /// # async fn example(faultline: faultline::Client) -> Result<(), faultline::Error> {
    /// let enqueued = faultline.enqueue(&SendEmail { to: "ann@example.com".into() }).key("order-42").await?;
    /// println!("{}", enqueued.id());
    /// # Ok(())
    /// # }
    /// ```
    pub fn enqueue<J: Job>(&self, job: &J) -> Enqueue<'_> {
        Enqueue::new(self, J::KIND, job).queue(J::QUEUE)
    }

    /// The same for a kind that is only known at run time, with anything that can be written as JSON.
    pub fn enqueue_raw(&self, kind: impl Into<String>, payload: impl Serialize) -> Enqueue<'_> {
        Enqueue::new(self, kind, &payload)
    }

    /// Enqueues many jobs, in one statement for every 10,000; the answers stand in order. A key that is taken by another
    /// request is answered as [`Enqueued::Conflict`] and does not stop the others.
    ///
    /// ```no_run
    /// # use serde::{Serialize, Deserialize};
    /// # #[derive(Serialize, Deserialize)] struct SendEmail { to: String }
    /// # impl faultline::Job for SendEmail { const KIND: &'static str = "send_email"; }
    /// # async fn example(faultline: faultline::Client, people: Vec<String>) -> Result<(), faultline::Error> {
    /// let jobs: Result<Vec<_>, _> =
    ///     people.into_iter().map(|to| faultline.enqueue(&SendEmail { to }).into_new_job()).collect();
    /// faultline.enqueue_all(&jobs?).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] before anything is sent. After another error the statements before the failed one stay committed;
    /// calling again with the same jobs is safe only for those with keys.
    pub async fn enqueue_all(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, Error> {
        let limit = faultline_core::limits::MAX_BATCH;
        if jobs.len() > limit {
            // Each statement's are checked before it is sent; here all before the first.
            jobs.iter().try_for_each(NewJob::check)?;
        }
        let mut answers = Vec::with_capacity(jobs.len());
        for chunk in jobs.chunks(limit) {
            let enqueued = self.enqueue_chunk(chunk).await?;
            let counted: Vec<_> =
                chunk.iter().zip(&enqueued).map(|(job, answer)| (&*job.queue, &*job.kind, answer.metric())).collect();
            for same in counted.chunk_by(|one, next| one == next) {
                let (queue, kind, answer) = same[0];
                self.metrics().engine().enqueued_many(queue, kind, answer, same.len() as u64);
            }
            answers.extend(enqueued);
            let mut queues: Vec<&str> = chunk.iter().map(|job| job.queue.as_str()).collect();
            // Most of them are the same.
            queues.dedup();
            queues.sort_unstable();
            queues.dedup();
            queues.into_iter().for_each(|queue| self.hint(queue));
        }
        Ok(answers)
    }

    async fn enqueue_chunk(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, Error> {
        let Some(first) = jobs.first() else { return Ok(Vec::new()) };
        let database = &self.inner.database;
        let mut lost = match database.run(async |client| enqueue(client, jobs).await).await {
            Err(error @ faultline_store::Error::Indeterminate { .. }) => error,
            answer => return Ok(answer?),
        };
        let metrics = self.metrics().engine();
        metrics.indeterminate(Operation::Enqueue);
        let until = Instant::now() + RESOLVE_FOR;
        while Instant::now() < until {
            tokio::time::sleep(RESOLVE_PAUSE).await;
            match database.run_within(RESOLVE_FOR, async |client| enqueue_again(client, jobs).await).await {
                Ok(answers) => {
                    metrics.resolved(Operation::Enqueue, Resolution::Answered);
                    return Ok(answers);
                }
                Err(error) if error.is_transient() => lost = error,
                Err(error) => {
                    metrics.resolved(Operation::Enqueue, Resolution::Unknown);
                    return Err(error.into());
                }
            }
        }
        metrics.resolved(Operation::Enqueue, Resolution::Unknown);
        Err(Error::Indeterminate { id: first.id, source: lost })
    }

    pub(crate) fn hint(&self, queue: &str) {
        self.inner.notifier.get_or_init(|| Notifier::start(self.inner.database.clone())).hint(queue);
    }

    /// One job by its id, wherever it is in its life.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn get(&self, id: JobId) -> Result<Option<JobRecord>, Error> {
        Ok(self.inner.database.run(async |client| read::get(client, id).await).await?)
    }

    /// A page of jobs, newest first, at most 1,000.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn list(&self, filter: &Filter, limit: usize) -> Result<Vec<JobRecord>, Error> {
        Ok(self.inner.database.run(async |client| read::list(client, filter, limit).await).await?)
    }

    /// The attempts of a job that did not end it, in order: with the job itself its whole timeline.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn attempts(&self, id: JobId) -> Result<Vec<Attempt>, Error> {
        Ok(self.inner.database.run(async |client| read::attempts(client, id).await).await?)
    }

    /// Why a waiting job is not running, or who runs it, in words.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn explain(&self, id: JobId) -> Result<Option<Explanation>, Error> {
        Ok(self.inner.database.run(async |client| read::explain(client, id).await).await?)
    }

    /// Cancels a job: a waiting one ends at once, the handler of a running one is stopped with the next renewal.
    ///
    /// # Errors
    /// [`Error::Store`]; safe to repeat.
    pub async fn cancel(&self, id: JobId) -> Result<Cancel, Error> {
        let actor = &self.inner.actor;
        let answer = self.inner.database.run(async |client| operate::cancel(client, actor, id).await).await?;
        if let Some(operator) = answer.metric() {
            self.metrics().engine().operated(operator);
        }
        Ok(answer)
    }

    /// Retries a job: a waiting one is moved to now, an ended one gets a successor.
    ///
    /// # Errors
    /// [`Error::Store`]; safe to repeat.
    pub async fn retry(&self, id: JobId) -> Result<Retry, Error> {
        let actor = &self.inner.actor;
        let successor = JobId::now(&mut rand::rng());
        let answer = self.inner.database.run(async |client| operate::retry(client, actor, id, successor).await).await?;
        if let Some(operator) = answer.metric() {
            self.metrics().engine().operated(operator);
        }
        Ok(answer)
    }
}
