use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits in `jobs`.
    Queued,
    /// Is in `jobs` under a lease.
    Running,
    /// Ended well; in `job_history`.
    Succeeded,
    /// Ended badly; in `job_history`.
    Failed,
    /// Ended by an operator; in `job_history`.
    Cancelled,
}

impl State {
    /// Whether a job in it never changes again.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// As the database writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// Why a transition was made; the words of `job_events.reason`.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
            /// Any other word: what a worker gave as the reason of a failure for good.
            Other(Box<str>),
        }

        impl From<String> for Reason {
            fn from(word: String) -> Self {
                match word.as_str() {
                    $($word => Self::$variant,)*
                    _ => Self::Other(word.into()),
                }
            }
        }

        impl Reason {
            /// The word.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Other(word) => word,
                }
            }
        }
    };
}

reasons! {
    /// A new job.
    Enqueued = "enqueued",
    /// An operator changed when it is due.
    Moved = "moved",
    /// A worker took it.
    Claimed = "claimed",
    /// Its worker holds on to it.
    Renewed = "renewed",
    /// An operator asked it to stop.
    CancelRequested = "cancel_requested",
    /// The attempt failed and there will be another.
    Failed = "failed",
    /// Reaped: the lease had run out.
    Expired = "expired",
    /// Reaped early: the session of the worker was gone.
    Lost = "lost",
    /// The worker gave it back.
    Released = "released",
    /// The handler asked to be called later.
    Snoozed = "snoozed",
    /// Success.
    Completed = "completed",
    /// Reaped for the last time.
    CrashLoop = "crash_loop",
    /// Ended by an operator.
    Cancelled = "cancelled",
    /// Reaped, and not tried again since an operator had asked it to stop.
    WorkerLost = "worker_lost",
    /// The last attempt failed.
    AttemptsExhausted = "attempts_exhausted",
    /// The row was deleted and is nowhere.
    Deleted = "deleted",
    /// The transition left no trace where it should have.
    Unexplained = "unexplained",
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.as_str().to_owned()
    }
}

impl Reason {
    /// Whether it was a reaper's doing.
    pub fn is_reap(&self) -> bool {
        matches!(self, Self::Expired | Self::Lost | Self::CrashLoop | Self::WorkerLost)
    }
}

/// A line of `events.jsonl`: a row of `faultline.job_events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The job.
    pub job: Uuid,
    /// Orders the events of one job.
    pub seq: i64,
    /// The database's clock.
    pub at_us: i64,
    /// Null: the job was enqueued.
    pub from: Option<State>,
    /// Null: the row was deleted.
    pub to: Option<State>,
    /// The job's count of attempts afterwards.
    pub attempt: i32,
    /// The most it may have.
    pub max_attempts: i32,
    /// The holder, or the one who was left.
    pub owner: Option<Uuid>,
    /// Its lease.
    pub lease: Option<Uuid>,
    /// When that ends or would have ended.
    pub lease_expires_us: Option<i64>,
    /// When the job is due afterwards.
    pub next_run_us: i64,
    /// Why.
    pub reason: Reason,
}

impl Event {
    /// A worker took the job.
    pub fn is_claim(&self) -> bool {
        self.to == Some(State::Running) && self.from != Some(State::Running)
    }

    /// Somebody's lease on the job ended.
    pub fn leaves_running(&self) -> bool {
        self.from == Some(State::Running) && self.to != Some(State::Running)
    }

    /// The job ended.
    pub fn is_terminal(&self) -> bool {
        self.to.is_some_and(State::is_terminal)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |state: Option<State>| state.map_or("nothing", State::as_str);
        write!(
            f,
            "event {} at {} us: {} -> {} ({})",
            self.seq,
            self.at_us,
            name(self.from),
            name(self.to),
            self.reason.as_str()
        )?;
        write!(f, ", attempt {} of {}", self.attempt, self.max_attempts)?;
        if let (Some(lease), Some(owner)) = (self.lease, self.owner) {
            write!(f, ", lease {lease} of worker {owner}")?;
        }
        if let Some(expires) = self.lease_expires_us {
            write!(f, " until {expires} us")?;
        }
        Ok(())
    }
}
