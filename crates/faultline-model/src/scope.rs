//! How much of the world is searched at once, and which protocol runs in it.

/// The shipped protocol, or one with a deliberate mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// What `crates/faultline-store/sql` does.
    Shipped,
    /// A finish moves whatever runs under the job's id.
    FinishWithoutLease,
    /// A finish compares the number of the attempt.
    FinishByAttempt,
    /// A finish compares the worker.
    FinishByOwner,
    /// A reap notes what has expired, and puts it back by id in a second statement.
    ReapInTwoStatements,
    /// An attempt is counted when it ends.
    AttemptChargedAtFinish,
    /// A reap puts back also what has no attempt left.
    NoMaximumOnReap,
    /// A repeated key is answered without a write of its own (`on conflict do nothing`).
    DoNothingOnConflict,
    /// A key is looked for among the jobs that wait or run.
    KeyOfHotJobs,
    /// A COMMIT whose answer was lost is sent again on a fresh connection, which answers that all is well.
    BlindRetryOfCommit,
    /// A COMMIT that failed is reported as done.
    FailedCommitIsSuccess,
    /// A worker that sees that its lost COMMIT has ended the job, or its lease, asks for a finish to hear the same.
    FinishAfterLook,
    /// Whoever comes back after an outage reaps at once.
    NoReapHoldoff,
    /// A reaper does not notice that it had been stopped.
    StallUnnoticed,
    /// The end of a lease is computed from the worker's clock.
    ClientClockInLease,
    /// A claim notes what waits, and takes it by id in a second statement.
    ClaimWithoutRecheck,
    /// A handler commits its effects, then ends the job.
    EffectBeforeFinish,
}

/// How time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// Any lease may have expired at any moment, for every clock: what must hold whatever the time.
    Any,
    /// In ticks, each as long as between two renewals. A worker that is not stopped renews in every tick in which the
    /// database answers; nothing else is assumed of anybody's speed.
    Ticks,
}

/// How commits get to the server that a failover promotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// Sometime: a failover goes back to any earlier moment.
    Asynchronous,
    /// Before a write is answered; without an answer, sometime.
    Synchronous,
}

/// What producers send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requests {
    /// Nothing: the jobs are there from the beginning.
    None,
    /// Each the same request under the same key.
    SameKey,
    /// Each its own job, without a key.
    NoKey,
}

/// Bounds of one search: how many there are of everything, and how often what may go wrong.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The protocol.
    pub variant: Variant,
    /// How time passes.
    pub time: Time,
    /// Workers.
    pub workers: u8,
    /// Attempts that a worker runs at once.
    pub slots: usize,
    /// Jobs; with producers, one for each of them.
    pub jobs: u8,
    /// The most attempts of a job.
    pub max_attempts: u8,
    /// What producers send.
    pub requests: Requests,
    /// Whether handlers write through `complete_in`.
    pub in_transaction: bool,
    /// Whether handlers fail, and workers release and snooze, as they like.
    pub other_endings: bool,
    /// How commits get to the other server.
    pub replication: Replication,
    /// What may go wrong how often.
    pub budget: Budget,
}

/// What may go wrong, and how often yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Budget {
    /// A worker dies.
    pub crashes: u8,
    /// An answer is lost.
    pub lost: u8,
    /// An answer is lost, and the statement arrives later.
    pub late: u8,
    /// An attempt is put back, which is not charged.
    pub put_backs: u8,
    /// An operator cancels a job.
    pub cancels: u8,
    /// The other server takes over, with what it has.
    pub failovers: u8,
    /// The database is away for a while.
    pub outages: u8,
    /// A worker is stopped for a while.
    pub pauses: u8,
    /// All workers are stopped for a while.
    pub stalls: u8,
    /// A worker's presence session is cut.
    pub cuts: u8,
}

impl Default for Scope {
    /// The shipped protocol in a world without faults: two workers, one job.
    fn default() -> Self {
        Self {
            variant: Variant::Shipped,
            time: Time::Any,
            workers: 2,
            slots: 1,
            jobs: 1,
            max_attempts: 2,
            requests: Requests::None,
            in_transaction: false,
            other_endings: true,
            replication: Replication::Asynchronous,
            budget: Budget::default(),
        }
    }
}

impl Scope {
    /// The same world with another protocol.
    #[must_use]
    pub fn with(self, variant: Variant) -> Self {
        Self { variant, ..self }
    }
}
