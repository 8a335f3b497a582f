//! One job on its way, with its options.

use crate::client::Client;
use crate::error::Error;
use faultline_core::job::millis;
use faultline_core::{Backoff, Invalid, JobId, NewJob, Start, limits};
use faultline_store::enqueue::{Enqueued, enqueue_in};
use faultline_trace::TraceContext;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use std::future::IntoFuture;
use std::pin::Pin;
use std::time::Duration;
use tracing::{Instrument, Span};

/// A kind of job with the type of its payload.
///
/// ```
/// use faultline::Job;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct SendEmail {
///     to: String,
/// }
///
/// impl Job for SendEmail {
///     const KIND: &'static str = "send_email";
/// }
/// ```
pub trait Job: Serialize + DeserializeOwned + Send + 'static {
    /// The name by which workers know the handler: 1 to 128 of the characters `A-Z a-z 0-9 . _ : / -`.
    const KIND: &'static str;
    /// The queue that such jobs wait in unless [`Enqueue::queue`] says otherwise.
    const QUEUE: &'static str = limits::DEFAULT_QUEUE;
}

/// A job on its way. Nothing happens until it is awaited or put into a transaction.
#[must_use = "nothing is enqueued until this is awaited"]
pub struct Enqueue<'a> {
    client: &'a Client,
    job: Result<NewJob, Error>,
}

impl<'a> Enqueue<'a> {
    pub(crate) fn new(client: &'a Client, kind: impl Into<String>, payload: &impl Serialize) -> Self {
        let job = to_raw_value(payload)
            .map(|payload| NewJob::new(JobId::now(&mut rand::rng()), kind, payload))
            .map_err(Error::Payload);
        Self { client, job }
    }

    fn set(mut self, change: impl FnOnce(&mut NewJob)) -> Self {
        if let Ok(job) = &mut self.job {
            change(job);
        }
        self
    }

    /// The queue it waits in.
    pub fn queue(self, queue: impl Into<String>) -> Self {
        self.set(|job| job.queue = queue.into())
    }

    /// At most one job per queue and key while the key's window is open: enqueuing the same again answers the first job,
    /// enqueuing something else under the key is refused.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.set(|job| job.key = Some(key.into()))
    }

    /// How long the key stays taken; one day unless told otherwise.
    pub fn key_ttl(self, ttl: Duration) -> Self {
        self.set(|job| job.key_ttl = ttl)
    }

    /// Starts no sooner than this long after the database takes it in.
    pub fn delay(self, delay: Duration) -> Self {
        self.set(|job| job.start = Start::After(delay))
    }

    /// Starts no sooner than this, on the database's clock.
    pub fn run_at(self, at: Timestamp) -> Self {
        self.set(|job| job.start = Start::At(at))
    }

    /// 1 is first, 4 is last, 2 the default. A queue serves a higher priority first, always.
    pub fn priority(self, priority: i16) -> Self {
        self.set(|job| job.priority = priority)
    }

    /// How many attempts may be made, the first included; 20 unless told otherwise.
    pub fn max_attempts(self, max_attempts: i32) -> Self {
        self.set(|job| job.max_attempts = max_attempts)
    }

    /// How long one attempt may take; one hour unless told otherwise.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(|job| job.timeout = timeout)
    }

    /// How long a failed attempt waits for the next: a random time up to `base * 2^(attempt - 1)`, at most `cap`.
    pub fn backoff(self, base: Duration, cap: Duration) -> Self {
        let ms = |duration| i32::try_from(millis(duration)).unwrap_or(i32::MAX);
        self.set(|job| job.backoff = Backoff { base_ms: ms(base), cap_ms: ms(cap) })
    }

    /// Trace context and tags: anything that is written as a JSON object of at most 8 KiB. With the feature `otel`, the trace context
    /// (`traceparent`, `tracestate`) of the caller's span is added unless one is given here.
    pub fn headers(mut self, headers: impl Serialize) -> Self {
        match to_raw_value(&headers) {
            Ok(headers) => self.set(|job| job.headers = Some(headers)),
            Err(error) => {
                self.job = Err(Invalid::new("headers", error.to_string()).into());
                self
            }
        }
    }

    /// The job as it would be enqueued, for [`Client::enqueue_all`]. With the feature `otel` it has the trace context of the caller's
    /// span by now.
    ///
    /// # Errors
    /// [`Error::Payload`] or [`Error::Invalid`].
    pub fn into_new_job(self) -> Result<NewJob, Error> {
        let mut job = self.checked()?;
        if let Some(context) = TraceContext::current() {
            job.headers = context.add_to(job.headers.take());
        }
        Ok(job)
    }

    fn checked(self) -> Result<NewJob, Error> {
        let job = self.job?;
        job.check()?;
        Ok(job)
    }

    /// Enqueues it in the caller's transaction, which decides whether it exists.
    ///
    /// ```no_run
    /// # use serde::{Serialize, Deserialize};
    /// # #[derive(Serialize, Deserialize)] struct SendEmail { to: String }
    /// # impl faultline::Job for SendEmail { const KIND: &'static str = "send_email"; }
    /// # async fn example(faultline: faultline::Client, mut db: tokio_postgres::Client) -> Result<(), faultline::Error> {
    /// let mut tx = db.transaction().await?;
    /// tx.execute("insert into orders (id) values (42)", &[]).await?;
    /// faultline.enqueue(&SendEmail { to: "ann@example.com".into() }).within(&mut tx).await?;
    /// tx.commit().await?; // the order and its e-mail, or neither
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::KeyConflict`], after which the transaction may go on; [`Error::Invalid`] before anything is sent; any other
    /// error leaves the transaction to be rolled back.
    pub async fn within(self, transaction: &mut tokio_postgres::Transaction<'_>) -> Result<Enqueued, Error> {
        let mut job = self.checked()?;
        let span = faultline_trace::send(std::slice::from_mut(&mut job), None);
        let answers = enqueue_in(transaction, std::slice::from_ref(&job)).instrument(span.clone()).await;
        first(&span, answers.map_err(Error::from))
    }
}

/// The answer to one job, which ends its span.
fn first(span: &Span, answers: Result<Vec<Enqueued>, Error>) -> Result<Enqueued, Error> {
    let answer = answers.and_then(|answers| match answers.into_iter().next().expect("one job, one answer") {
        Enqueued::Conflict(holder) => Err(Error::KeyConflict { holder }),
        enqueued => Ok(enqueued),
    });
    let outcome = match &answer {
        Ok(Enqueued::Created(_)) => "created",
        Ok(_) => "duplicate",
        Err(Error::KeyConflict { .. }) => "conflict",
        Err(Error::Indeterminate { .. }) => "indeterminate",
        Err(_) => "failed",
    };
    faultline_trace::sent(span, outcome, answer.as_ref().err().map(|error| error as _));
    answer
}

impl<'a> IntoFuture for Enqueue<'a> {
    type Output = Result<Enqueued, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    /// Enqueues it in a transaction of its own. A lost answer is asked for again for some seconds before it is reported as
    /// [`Error::Indeterminate`].
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let client = self.client;
            let mut job = self.checked()?;
            let span = faultline_trace::send(std::slice::from_mut(&mut job), None);
            let answers = client.enqueue_all(std::slice::from_ref(&job)).instrument(span.clone()).await;
            first(&span, answers)
        })
    }
}

/// The payload as the handler gets it when it asks for raw JSON.
pub(crate) type Payload = Box<RawValue>;
