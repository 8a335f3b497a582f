//! Committing a batch of enqueues, and what to say of each of its jobs.
//!
//! A batch is one statement and one commit. Three things may go wrong with it:
//!
//! - The database refuses it: then nothing of it happened. If the values of a job are to blame, the batch is split until
//!   that job stands alone; the others are committed. The same for a key that another transaction holds locked.
//! - It was certainly not sent: nothing happened.
//! - The answer was lost: it may have been committed. The same ids are tried again until the deadline, which creates a
//!   job only if the first try has not ([`faultline_store::enqueue::enqueue_again`]). If that gets no answer either, the
//!   outcome stays unknown, and is said to be.
//!
//! If the process dies at any await, every job of the batch is either committed or not; no answer was given.

use crate::limits::MAX_COMMITS_IN_FLIGHT;
use faultline_core::{NewJob, Start};
use faultline_metrics::{Metrics, Operation, Resolution};
use faultline_store::enqueue::{Enqueued, Times, enqueue_again, enqueue_timed};
use faultline_store::{Database, Error, Notifier};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// The first pause before a second try; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between tries.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// SQLSTATE of a lock that was not free in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// Settings of the sessions: a key that somebody's open transaction holds is found out early, and costs the others little.
const SETTINGS: &str = "-c lock_timeout=500ms";
/// One session for each commit of two lanes and of batch requests, and some for second tries and hints.
const POOL_SIZE: usize = 3 * MAX_COMMITS_IN_FLIGHT + 3;

/// What is known of an enqueue.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// The database has answered. Times are known of a job that was just created.
    Known(Enqueued, Option<Times>),
    /// It may have been committed.
    Unknown,
    /// It was certainly not committed.
    Refused(Arc<Error>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Try {
    First,
    Again,
}

/// Commits batches.
#[derive(Clone)]
pub(crate) struct Committer {
    database: Database,
    notifier: Notifier,
}

impl Committer {
    pub(crate) fn new(url: &str, metrics: &Metrics) -> Result<Self, Error> {
        let database =
            Database::with_settings(url, "faultline-api enqueue", POOL_SIZE, SETTINGS)?.counted_in(metrics)?;
        let notifier = Notifier::start(database.clone());
        Ok(Self { database, notifier })
    }

    /// Where hints to workers go, after a commit and outside of it.
    pub(crate) fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    /// Commits a batch; the outcomes stand in the order of the jobs. `slot` is given back when the database has answered,
    /// or has not: second tries don't keep others from trying.
    pub(crate) async fn commit(&self, jobs: &[NewJob], deadline: Instant, slot: OwnedSemaphorePermit) -> Vec<Outcome> {
        let mut slot = Some(slot);
        let mut outcomes = vec![Outcome::Unknown; jobs.len()];
        let mut parts = vec![(0..jobs.len(), Try::First)];
        let metrics = self.database.metrics().engine();
        let mut unanswered = 0;
        while let Some((range, tries)) = parts.pop() {
            let part = &jobs[range.clone()];
            let answer = match tries {
                Try::First => self.first(part, deadline).await,
                Try::Again => self.again(part, deadline).await,
            };
            match answer {
                Ok(answers) => {
                    self.hint(part, &answers);
                    for ((job, outcome), (enqueued, times)) in part.iter().zip(&mut outcomes[range]).zip(answers) {
                        metrics.enqueued(&job.queue, &job.kind, enqueued.metric());
                        *outcome = Outcome::Known(enqueued, times);
                    }
                }
                Err(error) if part.len() > 1 && one_may_be_to_blame(&error) => {
                    let Range { start, end } = range;
                    let middle = start + (end - start) / 2;
                    parts.push((middle..end, tries));
                    parts.push((start..middle, tries));
                }
                Err(Error::Indeterminate { .. }) if tries == Try::First => {
                    slot = None;
                    unanswered += 1;
                    metrics.indeterminate(Operation::Enqueue);
                    parts.push((range, Try::Again));
                }
                // What the first try did stays unknown, unless the values themselves were refused.
                Err(error) if tries == Try::Again && !error.is_about_data() => {}
                Err(error) => {
                    let error = Arc::new(error);
                    outcomes[range].fill_with(|| Outcome::Refused(error.clone()));
                }
            }
        }
        drop(slot);
        let is_known = outcomes.iter().all(|outcome| !matches!(outcome, Outcome::Unknown));
        for _ in 0..unanswered {
            let resolution = if is_known { Resolution::Answered } else { Resolution::Unknown };
            metrics.resolved(Operation::Enqueue, resolution);
        }
        outcomes
    }

    async fn first(&self, jobs: &[NewJob], deadline: Instant) -> Result<Vec<(Enqueued, Option<Times>)>, Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.database.run_within(left, async |client| enqueue_timed(client, jobs).await).await
    }

    /// Tries again until there is an answer or the deadline has come.
    async fn again(&self, jobs: &[NewJob], deadline: Instant) -> Result<Vec<(Enqueued, Option<Times>)>, Error> {
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep_until((Instant::now() + pause).min(deadline)).await;
            let left = deadline.saturating_duration_since(Instant::now());
            match self.database.run_within(left, async |client| enqueue_again(client, jobs).await).await {
                Ok(answers) => return Ok(answers.into_iter().map(|answer| (answer, None)).collect()),
                Err(error) if error.is_transient() && Instant::now() < deadline => {
                    tracing::debug!(%error, jobs = jobs.len(), "no answer to a second try either");
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn hint(&self, jobs: &[NewJob], answers: &[(Enqueued, Option<Times>)]) {
        let is_due = |job: &NewJob| job.start == Start::After(Duration::ZERO);
        let created = jobs.iter().zip(answers).filter(|(_, (answer, _))| matches!(answer, Enqueued::Created(_)));
        let queues: BTreeSet<&str> =
            created.filter(|(job, _)| is_due(job)).map(|(job, _)| job.queue.as_str()).collect();
        for queue in queues {
            self.notifier.hint(queue);
        }
    }
}

fn one_may_be_to_blame(error: &Error) -> bool {
    error.is_about_data() || matches!(error, Error::Refused { code, .. } if code == LOCK_NOT_AVAILABLE)
}
