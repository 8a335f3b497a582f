//! Requests that wait for a job's end.
//!
//! A waiting request holds a place in a map, not a session. One loop asks for all waited jobs in one statement, every
//! [`WAIT_POLL`]: those that are no longer in the hot table have ended, since a finish moves a job in one statement. While
//! the database is away the loop goes on asking, so that a wait outlives a restart. Nothing runs while nobody waits.
//!
//! Who waits must subscribe first and read the job then: what ends in between is told.

use crate::limits::{HEALTH_TIME, MAX_WAITING_READS, WAIT_POLL, WAIT_POLL_AFTER_FAILURE};
use crate::problem::{Answer, Kind};
use faultline_core::JobId;
use faultline_store::{Database, read};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// Everybody who waits for a job's end.
#[derive(Clone)]
pub(crate) struct Waits {
    shared: Arc<Shared>,
}

struct Shared {
    /// Set by a subscriber; removed by the loop when the job has ended or nobody waits for it any more.
    jobs: Mutex<HashMap<JobId, watch::Sender<bool>>>,
    some: Notify,
    places: Arc<Semaphore>,
}

/// One who waits.
pub(crate) struct Waiter {
    gone: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

impl Waiter {
    /// Resolves when the job has ended, or never was.
    pub(crate) async fn gone(&mut self) {
        // The sender is dropped only after it has told.
        let _ = self.gone.wait_for(|gone| *gone).await;
    }
}

impl Waits {
    /// Starts the loop; it ends with the order to stop, which ends every wait.
    pub(crate) fn start(database: Database, stopping: CancellationToken) -> Self {
        let shared = Arc::new(Shared {
            jobs: Mutex::default(),
            some: Notify::new(),
            places: Arc::new(Semaphore::new(MAX_WAITING_READS)),
        });
        let polled = shared.clone();
        tokio::spawn(async move { stopping.run_until_cancelled(poll(polled, database)).await });
        Self { shared }
    }

    /// Takes a place.
    pub(crate) fn subscribe(&self, id: JobId) -> Answer<Waiter> {
        let place = self
            .shared
            .places
            .clone()
            .try_acquire_owned()
            .map_err(|_| Kind::TooManyRequests.because("too many requests are waiting for a job's end"))?;
        let mut jobs = self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = jobs.entry(id).or_insert_with(|| watch::Sender::new(false)).subscribe();
        self.shared.some.notify_one();
        Ok(Waiter { gone, _place: place })
    }
}

impl Shared {
    fn waited(&self) -> Vec<JobId> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|_, waiters| waiters.receiver_count() > 0);
        jobs.keys().copied().collect()
    }

    fn tell(&self, gone: &[JobId]) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        for waiters in gone.iter().filter_map(|id| jobs.remove(id)) {
            waiters.send_replace(true);
        }
    }
}

async fn poll(shared: Arc<Shared>, database: Database) {
    loop {
        let ids = shared.waited();
        if ids.is_empty() {
            shared.some.notified().await;
            continue;
        }
        let pause = match database.run_within(HEALTH_TIME, async |client| read::gone(client, &ids).await).await {
            Ok(gone) => {
                shared.tell(&gone);
                WAIT_POLL
            }
            Err(error) => {
                tracing::debug!(%error, jobs = ids.len(), "could not look at waited jobs");
                WAIT_POLL_AFTER_FAILURE
            }
        };
        tokio::time::sleep(pause).await;
    }
}
