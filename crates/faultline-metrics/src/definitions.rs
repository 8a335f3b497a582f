//! Every metric: its name, type, labels, who reports it, whether it may be summed over processes, and what it means.
//!
//! This table is the only way to a metric: the families are made from it, docs/metrics.md is written from it, and the queries of
//! alerts and dashboards are checked against it. Names end in their unit; counters get `_total` behind that in the text.
//!
//! Labels are bounded: `queue` and `kind` by [`MAX_QUEUES`](crate::MAX_QUEUES) and [`MAX_KINDS`](crate::MAX_KINDS), the
//! others by the code that knows their values. An id is never a label.

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Type {
    /// Only grows, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

/// Who reports a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Every process.
    All,
    /// Whoever enqueues through the API or the library.
    Producer,
    /// A worker.
    Worker,
    /// The API.
    Api,
    /// The observer beside the API: the same facts in every process that has one.
    Observer,
}

impl By {
    /// For the documentation.
    pub fn words(self) -> &'static str {
        match self {
            Self::All => "every process",
            Self::Producer => "`serve`, programs that enqueue",
            Self::Worker => "`work`, programs with a worker",
            Self::Api => "`serve`",
            Self::Observer => "`serve` (its observer)",
        }
    }
}

/// How the values of several processes go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// Each process reports its own share.
    Sum,
    /// Every process reports the same thing.
    Max,
    /// The worst one tells.
    Min,
}

impl Merge {
    /// For the documentation.
    pub fn words(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Max => "max: all say the same",
            Self::Min => "min: the worst one tells",
        }
    }
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// The name without the `_total`, `_bucket`, `_count` and `_sum` that the text adds.
    pub name: &'static str,
    /// The type.
    pub type_: Type,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Who reports it.
    pub by: By,
    /// Whether it may be summed over processes.
    pub merge: Merge,
    /// What it means.
    pub help: &'static str,
}

/// Round trips and requests.
const SHORT_S: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// How long handlers take: upper bounds in seconds.
pub const LONG_S: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0];
/// How long a job had been due when it started: upper bounds in seconds. Counts by these bounds are stored
/// (`faultline.rollups`), so that another list needs a migration.
pub const LATENCY_S: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 3600.0];
/// From a loss to its recovery; the promise is 4 s for a killed worker.
const RECOVERY_S: &[f64] = &[0.1, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 15.0, 30.0, 60.0, 300.0];

macro_rules! definitions {
    ($($constant:ident = $type_:expr, $name:literal, [$($label:literal),*], $by:ident, $merge:ident, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Definition = Definition {
                name: $name, type_: $type_, labels: &[$($label),*], by: By::$by, merge: Merge::$merge, help: $help,
            };
        )*
        /// All of them, in the order of the documentation.
        pub const ALL: &[&Definition] = &[$(&$constant),*];
    };
}

use Type::{Counter, Gauge, Histogram};

definitions! {
    // Jobs on their way in.
    JOBS_ENQUEUED = Counter, "faultline_jobs_enqueued", ["queue", "kind"], Producer, Sum,
        "Jobs that were created, each counted when its commit was known; not those enqueued by SQL or inside a \
         caller's transaction";
    JOBS_DEDUPLICATED = Counter, "faultline_jobs_deduplicated", ["queue", "kind"], Producer, Sum,
        "Enqueues that were answered with the job which holds the key";
    ENQUEUE_CONFLICTS = Counter, "faultline_enqueue_conflicts", ["queue", "kind"], Producer, Sum,
        "Enqueues that were refused because another request holds the key";
    OPERATOR_TRANSITIONS = Counter, "faultline_operator_transitions", ["reason"], All, Sum,
        "What operators' calls did to jobs: cancelled (while waiting), cancel_requested (while running), moved \
         (due now), enqueued (successor of an ended job)";

    // Attempts.
    JOBS_CLAIMED = Counter, "faultline_jobs_claimed", ["queue", "kind"], Worker, Sum,
        "Attempts begun: jobs that a claim of this process took, also when its answer was lost and found out \
         about later";
    ATTEMPTS_ENDED = Counter, "faultline_attempts_ended", ["queue", "kind", "outcome", "reason"], Worker, Sum,
        "Attempts whose end the database has confirmed. outcome: succeeded, retried, failed, cancelled, \
         released, snoozed; reason: the word in job_events.reason";
    ATTEMPTS_FAILED = Counter, "faultline_attempts_failed", ["queue", "kind", "cause"], Worker, Sum,
        "Attempts that ended as retried or failed, by what happened to the handler: error, panic, timeout";
    ATTEMPTS_RELEASED = Counter, "faultline_attempts_released", ["queue", "kind", "cause"], Worker, Sum,
        "Attempts given back uncharged: unknown_kind (no handler here), isolated (it crashed workers before \
         and waits for its turn), shutdown";
    EXECUTION = Histogram(LONG_S), "faultline_execution_seconds", ["queue", "kind"], Worker, Sum,
        "How long handlers ran, however they ended";
    START_LATENCY = Histogram(LATENCY_S), "faultline_start_latency_seconds", ["queue", "kind"], Worker, Sum,
        "From when a job was due (enqueued, unless it was to wait) to when its first attempt was claimed, on \
         the database's clock";

    // Leases.
    LEASE_RENEWALS = Counter, "faultline_lease_renewals", ["queue"], Worker, Sum,
        "Leases renewed by answers that arrived; a renewal whose answer was lost is not counted, so this is a \
         lower bound of the events";
    LEASES_LOST = Counter, "faultline_leases_lost", ["queue"], Worker, Sum,
        "Handlers that were stopped because their lease was no longer held";
    STALE_WRITES_REFUSED = Counter, "faultline_stale_writes_refused", ["queue"], Worker, Sum,
        "Ends of attempts that the database refused because their lease was no longer held: somebody else has \
         the job";
    LEASES_REAPED = Counter, "faultline_leases_reaped", ["queue", "lease", "reason"], All, Sum,
        "Leases that this process ended for others. lease: expired (not renewed in time) or lost (the worker's \
         session was gone); reason: expired or lost (put back), crash_loop or worker_lost (ended), the word in \
         job_events.reason";
    RECOVERY_DELAY = Histogram(RECOVERY_S), "faultline_recovery_delay_seconds", ["lease"], All, Sum,
        "How long a reaped job had been without its worker as far as this process could know: since its lease \
         expired, or since the worker's session was first seen missing";
    RENEWAL_MARGIN = Gauge, "faultline_renewal_margin_seconds", [], Worker, Min,
        "Lease time that is left if the next round of renewals fails, of the worker that is worst off; below 0 \
         its leases may be gone";

    // Workers.
    WORKER_SLOTS = Gauge, "faultline_worker_slots", ["queue"], Worker, Sum,
        "Jobs that this process runs at once at most";
    WORKER_SLOTS_USED = Gauge, "faultline_worker_slots_used", ["queue"], Worker, Sum,
        "Handlers that run now; the rest of the slots is free";
    FINISH_BACKLOG = Gauge, "faultline_finish_backlog", [], Worker, Sum,
        "Attempts that have ended here and whose end the database has not confirmed yet";
    CLAIM_DURATION = Histogram(SHORT_S), "faultline_claim_duration_seconds", ["queue"], Worker, Sum,
        "How long claims took that were answered; its count is the number of claims";
    EMPTY_CLAIMS = Counter, "faultline_empty_claims", ["queue"], Worker, Sum,
        "Claims that found nothing";

    // What could not be known at once.
    INDETERMINATE = Counter, "faultline_indeterminate_statements", ["operation"], All, Sum,
        "Statements whose answer was lost, so that they may have been committed: enqueue, claim, finish";
    INDETERMINATE_RESOLVED = Counter, "faultline_indeterminate_resolved", ["operation", "resolution"], All, Sum,
        "What became of them: happened or did_not_happen (claim), answered (asked again under the same id or \
         lease until it was known), unknown (given up; never reported as success)";

    // The database as this process meets it.
    DATABASE_UP = Gauge, "faultline_database_up", [], All, Min,
        "1 if the database's last answer to this process was one, 0 if there was none";
    DATABASE_SESSIONS_OPENED = Counter, "faultline_database_sessions_opened", ["session"], All, Sum,
        "Sessions opened, by the name that pg_stat_activity shows";
    DATABASE_RECONNECTS = Counter, "faultline_database_reconnects", ["session"], All, Sum,
        "Sessions opened in the place of one that was lost";
    DATABASE_ERRORS = Counter, "faultline_database_errors", ["class"], All, Sum,
        "Calls that failed, by the class of the SQLSTATE (its first two characters), or unreachable, \
         indeterminate, schema";
    DATABASE_POOL_SIZE = Gauge, "faultline_database_pool_size", ["pool"], All, Sum,
        "Sessions that a pool may have";
    DATABASE_POOL_IN_USE = Gauge, "faultline_database_pool_in_use", ["pool"], All, Sum,
        "Sessions of a pool that are at work";
    DATABASE_POOL_WAITING = Gauge, "faultline_database_pool_waiting", ["pool"], All, Sum,
        "Calls that wait for a session of a pool";

    // The whole database, as the observer last saw it.
    QUEUE_DEPTH = Gauge, "faultline_queue_depth", ["queue", "state"], Observer, Max,
        "Jobs of a queue: due (could start now), scheduled (wait for their first start), retrying (wait after an attempt), \
         running. Counted up to a bound of 100 to 10,000 rows a priority, see faultline_queue_depth_bounded";
    QUEUE_DEPTH_BOUNDED = Gauge, "faultline_queue_depth_bounded", ["queue"], Observer, Max,
        "1 if the queue holds more jobs than were counted";
    QUEUE_OLDEST_DUE_AGE = Gauge, "faultline_queue_oldest_due_age_seconds", ["queue"], Observer, Max,
        "How long the oldest due job of a queue has been due; 0 without one";
    QUEUE_PAUSED = Gauge, "faultline_queue_paused", ["queue"], Observer, Max,
        "1 if an operator has paused the queue";
    QUEUE_WORKERS = Gauge, "faultline_queue_workers", ["queue"], Observer, Max,
        "Live workers that poll the queue";
    WORKERS_ALIVE = Gauge, "faultline_workers_alive", [], Observer, Max,
        "Workers heard of within three lease times";
    OLDEST_XMIN_AGE = Gauge, "faultline_database_oldest_xmin_age_seconds", ["holder", "application"], Observer, Max,
        "For how long somebody's transaction has kept dead rows from being removed, and whose: session, standby, \
         prepared_transaction, none; one series. Needs pg_monitor to see the sessions of other roles";
    OLDEST_XMIN_TRANSACTIONS = Gauge, "faultline_database_oldest_xmin_transactions", ["holder", "application"], Observer, Max,
        "The same in transactions, the only age that a replication_slot has";
    DEAD_ROWS = Gauge, "faultline_database_dead_rows", ["table"], Observer, Max,
        "Dead rows of the tables whose rows change, by the statistics of the database";
    PARTITIONS_AHEAD = Gauge, "faultline_history_partitions_ahead", ["table"], Observer, Max,
        "Days from today on (UTC) for which the table has its partition, without a gap; at 0 today's rows go to the default one";
    OBSERVATION_AGE = Gauge, "faultline_observation_age_seconds", [], Observer, Min,
        "How old the observer's last look is; the gauges of the whole database are left out when it is too old";
    OBSERVATION_FAILURES = Counter, "faultline_observation_failures", [], All, Sum,
        "Parts of a look that the database refused or that took longer than 2 s";

    // The API.
    HTTP_REQUESTS = Counter, "faultline_http_requests", ["method", "route", "status"], Api, Sum,
        "Requests answered, by the route's pattern; (unknown) for paths that lead nowhere";
    HTTP_DURATION = Histogram(SHORT_S), "faultline_http_request_duration_seconds", ["method", "route"], Api, Sum,
        "From the end of a request's headers to the beginning of its answer, waiting included where that was \
         asked for";
}
