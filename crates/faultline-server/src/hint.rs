//! Hints to workers that a queue has work, sent after the enqueuing commit and outside of it: a transaction that notifies
//! takes a cluster-wide lock when it commits.
//!
//! The first hint goes out at once; those that come while it is on its way, or within [`HINT_INTERVAL`] after it, are one
//! hint for each queue in the next round. A hint that is lost with the connection or the process costs its job the
//! workers' polling interval, nothing else.

use crate::limits::{HINT_INTERVAL, MAX_HINTS};
use faultline_store::{Database, enqueue};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// How long a round of hints may take.
const HINT_TIME: std::time::Duration = std::time::Duration::from_secs(2);

/// The queues whose workers are still to be told.
#[derive(Clone)]
pub(crate) struct Hints {
    shared: Arc<Shared>,
}

struct Shared {
    queues: Mutex<HashSet<String>>,
    some: Notify,
    database: Database,
}

impl Hints {
    /// Starts the sender; it ends with the runtime.
    pub(crate) fn start(database: Database) -> Self {
        let shared = Arc::new(Shared { queues: Mutex::default(), some: Notify::new(), database });
        let sender = Self { shared: shared.clone() };
        tokio::spawn(async move {
            loop {
                sender.shared.some.notified().await;
                sender.send().await;
                tokio::time::sleep(HINT_INTERVAL).await;
            }
        });
        Self { shared }
    }

    /// Notes queues that have work.
    pub(crate) fn tell<'a>(&self, queues: impl Iterator<Item = &'a str>) {
        let mut noted = self.shared.queues.lock().unwrap_or_else(PoisonError::into_inner);
        for queue in queues {
            if noted.len() < MAX_HINTS && !noted.contains(queue) {
                noted.insert(queue.to_owned());
            }
        }
        if !noted.is_empty() {
            self.shared.some.notify_one();
        }
    }

    /// Sends what is noted: in rounds by the sender, and once more at the end of the server.
    pub(crate) async fn send(&self) {
        let queues = std::mem::take(&mut *self.shared.queues.lock().unwrap_or_else(PoisonError::into_inner));
        if queues.is_empty() {
            return;
        }
        let call = async |client: &mut faultline_store::ClientWrapper| {
            for queue in &queues {
                enqueue::notify(client, queue).await?;
            }
            Ok(())
        };
        if let Err(error) = self.shared.database.run_within(HINT_TIME, call).await {
            tracing::debug!(%error, queues = queues.len(), "hints were not sent; workers find the jobs by looking");
        }
    }
}
