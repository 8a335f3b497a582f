//! What happened, in order: the witness that tests judge, and the text that must be the same for the same seed.

use crate::statement::Statement;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use uuid::Uuid;

/// Something that happened. Ids of jobs made by tests are small numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A session was opened.
    Opened,
    /// A session ended, as the server sees it.
    Closed,
    /// A statement was run.
    Ran(Statement),
    /// A statement was refused.
    Refused(String),
    /// The network or the server changed, or a test began something.
    Fault(String),
    /// A job was enqueued.
    Enqueued {
        /// The job.
        job: Uuid,
    },
    /// A job was claimed.
    Claimed {
        /// The job.
        job: Uuid,
        /// Its new lease.
        lease: Uuid,
        /// The number of the attempt.
        attempt: i32,
    },
    /// A lease was renewed.
    Renewed {
        /// The job.
        job: Uuid,
        /// Its lease.
        lease: Uuid,
        /// For how long it had been expired, ms.
        overdue_ms: i128,
    },
    /// A renewal did not find the lease.
    NotRenewed {
        /// The job.
        job: Uuid,
        /// The lease.
        lease: Uuid,
    },
    /// An attempt was ended by its worker's word.
    Moved {
        /// The job.
        job: Uuid,
        /// The lease.
        lease: Uuid,
        /// The job's state now.
        state: &'static str,
    },
    /// A finish did not find the lease.
    NotMoved {
        /// The job.
        job: Uuid,
        /// The lease.
        lease: Uuid,
    },
    /// An attempt was ended by a reaper.
    Reaped {
        /// The job.
        job: Uuid,
        /// The lease.
        lease: Uuid,
        /// The worker that held it.
        owner: Uuid,
        /// `expired` or `lost`.
        outcome: &'static str,
        /// Whether the attempt counts.
        is_charged: bool,
        /// The job's state now.
        state: &'static str,
    },
    /// A worker registered.
    Registered {
        /// The worker.
        worker: Uuid,
    },
    /// Others said goodbye for a worker.
    Buried {
        /// The worker.
        worker: Uuid,
    },
    /// A handler began.
    Started {
        /// The job.
        job: Uuid,
        /// The lease.
        lease: Uuid,
    },
    /// A handler returned.
    Returned {
        /// The job.
        job: Uuid,
        /// The lease.
        lease: Uuid,
    },
    /// A handler was dropped before its end.
    Dropped {
        /// The job.
        job: Uuid,
        /// The lease.
        lease: Uuid,
    },
}

/// An event with its time and place.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Milliseconds since the world began.
    pub at_ms: u64,
    /// Host and purpose of the session, or who else it concerns.
    pub who: Arc<str>,
    /// What happened.
    pub event: Event,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10} {:<12} {:?}", self.at_ms, self.who, self.event)
    }
}

/// All that happened.
#[derive(Default)]
pub struct Log {
    entries: Mutex<Vec<Entry>>,
    grown: Notify,
}

impl Log {
    pub(crate) fn push(&self, at_ms: u64, who: &Arc<str>, event: Event) {
        self.lock().push(Entry { at_ms, who: who.clone(), event });
        self.grown.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when such an event has happened, before or after the call.
    pub async fn until(&self, wanted: impl Fn(&Event) -> bool) {
        loop {
            let grown = self.grown.notified();
            if self.count(&wanted) > 0 {
                return;
            }
            grown.await;
        }
    }

    /// Everything so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// How many events so far are such ones.
    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.lock().iter().filter(|entry| wanted(&entry.event)).count()
    }

    /// Everything so far, a line each.
    pub fn text(&self) -> String {
        self.entries().iter().map(|entry| format!("{entry}\n")).collect()
    }
}
