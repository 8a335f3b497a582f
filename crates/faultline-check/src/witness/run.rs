use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What a drill may be required to have produced; without it, it proved nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Required {
    /// Jobs that ended well.
    Success,
    /// Attempts that failed and were tried again.
    Retry,
    /// Jobs that were reaped, by either reason.
    Reap,
    /// Jobs that were reaped since their worker's session was gone.
    LostReap,
    /// Jobs that were reaped for the last time.
    CrashLoop,
    /// Leases given back.
    Release,
    /// Renewals.
    Renewal,
    /// Finishes that were answered with a lost lease.
    RefusedZombie,
    /// Renewals that were answered with a lost lease.
    RefusedRenewal,
    /// Enqueues that nobody could tell the end of.
    AmbiguousEnqueue,
    /// Claims that nobody could tell the end of.
    AmbiguousClaim,
    /// Finishes that nobody could tell the end of.
    AmbiguousFinish,
    /// Enqueues that found their key's job.
    DuplicateHit,
    /// Enqueues that were refused since their key was taken by another request.
    Conflict,
    /// Enqueues that failed for certain.
    FailedEnqueue,
    /// Worker processes killed.
    Kill,
    /// Times in which nobody could work.
    Outage,
    /// Jobs of killed workers that were claimed again.
    Recovery,
    /// Times in which a process and the database did not hear of each other.
    Partition,
    /// Sessions that were cancelled or terminated.
    BackendKill,
    /// Times in which notifications did not arrive.
    Deaf,
    /// Times in which packets were lost or late, or an answer was cut.
    FlakyNetwork,
    /// Worker processes that were asked to stop and did.
    Shutdown,
    /// The same, by a second signal.
    ShutdownAtOnce,
    /// The same, when the signal came in an outage.
    ShutdownInOutage,
    /// Times from which on there were two primaries.
    SplitBrain,
    /// Acknowledged jobs that a failover has left behind.
    LostAck,
    /// Jobs that succeeded although their attempt lasted longer than a lease does unless it is renewed.
    Outlasted,
    /// Times in which a process's runtime ran nothing for a lease time.
    Stalled,
    /// Sessions that a process asked for and did not get.
    NoSession,
    /// Steps of handlers, noted with their deadline.
    Step,
    /// Enqueues that were refused since a value was out of bounds.
    Refused,
    /// Unknowns that turned out to have happened.
    ResolvedHappened,
    /// Unknowns that turned out not to have happened.
    ResolvedAbsent,
    /// Clocks that were moved.
    ClockSkew,
    /// Snapshots that were held open.
    HeldSnapshot,
    /// Claims that were answered.
    Claim,
    /// Sessions opened after an outage.
    Reconnect,
    /// Different points at which worker processes were killed.
    KillPoint,
    /// Worker processes that their jobs killed.
    Exit,
    /// Successes under a lease that had run out and was not reaped.
    LateSuccess,
    /// Refused finishes of a worker that was stopped after a claim, before the handler began.
    RefusedAfterClaim,
    /// The same in the middle of a handler.
    RefusedMidHandler,
    /// The same inside a handler's transaction, between effect and finish.
    RefusedAfterEffect,
    /// The same between the finish inside the transaction and its commit.
    RefusedFinishSent,
}

/// `run.json`: the settings of a run and the bounds it is judged by. What is left out has the value of [`Run::default`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// The drill's name.
    pub drill: String,
    /// The seed of its schedule.
    pub seed: u64,
    /// When it was over, by the database's clock.
    pub ended_us: i64,
    /// Whether it was healed and given time to finish everything due.
    pub drained: bool,
    /// How long a lease lasts.
    pub lease_ttl_us: i64,
    /// How long a worker's session must be gone before its jobs are reaped.
    pub presence_grace_us: i64,
    /// How long a reaper must have been in contact.
    pub holdoff_us: i64,
    /// How far past its lease a running row may get.
    pub reap_bound_us: i64,
    /// The longest recovery of a killed worker's job.
    pub recovery_bound_us: i64,
    /// The longest time without a claim while there is something to claim and somebody to claim it.
    pub claim_gap_bound_us: i64,
    /// The longest time until an enqueue is answered, whatever the answer.
    pub enqueue_deadline_us: i64,
    /// The longest time from the signal to the exit.
    pub shutdown_bound_us: i64,
    /// The longest outage in which a worker that stops goes on trying to tell what it leaves behind: ten seconds, less the time that
    /// coming back takes.
    pub last_words_us: i64,
    /// The longest time from a second signal to the exit.
    pub at_once_bound_us: i64,
    /// The longest time that a session may be idle in a transaction.
    pub idle_in_transaction_bound_us: i64,
    /// The largest 99th percentile of claims under a held snapshot.
    pub claim_p99_bound_us: i64,
    /// How long a key stays taken.
    pub key_ttl_us: i64,
    /// How far the clocks of supervisor and database may be apart, and how late a statement may read its clock.
    pub clock_tolerance_us: i64,
    /// The first envelope of the back-off; jobs of a run share it.
    pub backoff_base_us: i64,
    /// The largest envelope.
    pub backoff_cap_us: i64,
    /// The most sessions that may be opened within 100 ms after an outage; 0: nobody looked.
    pub connects_per_100ms: u64,
    /// Nothing in the run can cost a worker its lease: each reap is a false one.
    pub unhurt: bool,
    /// Nothing in the run can keep an enqueue from being answered.
    pub uninterrupted: bool,
    /// Some of what happened was counted by nobody, or by processes whose last counts nobody read.
    pub uncounted: bool,
    /// Deadlocks that the database counted.
    pub deadlocks: u64,
    /// Handlers note each step with its deadline.
    pub strict: bool,
    /// A failover to a node that had not received everything: acknowledged writes may be lost, and are reported.
    pub asynchronous_failover: bool,
    /// Jobs that kill the process that runs them.
    pub poison: Vec<Uuid>,
    /// What must have happened, and how often at least.
    pub required: BTreeMap<Required, u64>,
}

impl Default for Run {
    fn default() -> Self {
        const SECOND: i64 = 1_000_000;
        Self {
            drill: String::new(),
            seed: 0,
            ended_us: 0,
            drained: false,
            lease_ttl_us: 15 * SECOND,
            presence_grace_us: 2 * SECOND,
            holdoff_us: 15 * SECOND,
            reap_bound_us: 5 * SECOND,
            recovery_bound_us: 20 * SECOND,
            claim_gap_bound_us: 5 * SECOND,
            enqueue_deadline_us: 10 * SECOND,
            shutdown_bound_us: 35 * SECOND,
            last_words_us: 8 * SECOND,
            at_once_bound_us: 2 * SECOND,
            idle_in_transaction_bound_us: 60 * SECOND,
            claim_p99_bound_us: SECOND,
            key_ttl_us: 86_400 * SECOND,
            clock_tolerance_us: SECOND / 2,
            backoff_base_us: SECOND,
            backoff_cap_us: 600 * SECOND,
            connects_per_100ms: 0,
            unhurt: false,
            uninterrupted: false,
            uncounted: false,
            deadlocks: 0,
            strict: false,
            asynchronous_failover: false,
            poison: Vec::new(),
            required: BTreeMap::new(),
        }
    }
}
