//! The statements that the server knows, recognised by their text: the shipped `.sql` files themselves.
//!
//! Another text is refused, so a statement that the loops begin to use shows at once. That the answers are those of the text is
//! not looked at here; `tests/validated.rs` compares them with Postgres.

use postgres_types::Type;

/// A statement of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Statement {
    /// Whether the session's settings arrived, and which server this is.
    Greeting,
    /// The schema's version.
    Version,
    /// `enqueue.sql`, without keys.
    Enqueue,
    /// `enqueue_alike.sql`
    EnqueueAlike,
    /// `claim.sql`
    Claim,
    /// `recover_claim.sql`
    RecoverClaim,
    /// `renew.sql`
    Renew,
    /// `held.sql`
    Held,
    /// `complete.sql`
    Complete,
    /// `fail.sql`
    Fail,
    /// `put_back.sql`
    PutBack,
    /// `finish_outcome.sql`
    FinishOutcome,
    /// `confirm.sql`: every commit is as durable as any other here.
    Confirm,
    /// `watch.sql`
    Watch,
    /// `rehearse.sql`: nothing is ever locked here, and nothing changes.
    Rehearse,
    /// `reap.sql`
    Reap,
    /// `queues_of_workers.sql`
    QueuesOfWorkers,
    /// `bury.sql`
    Bury,
    /// `queue_names.sql`
    QueueNames,
    /// `register_worker.sql`
    Register,
    /// `heartbeat.sql`
    Heartbeat,
    /// `stop_worker.sql`
    StopWorker,
    /// `notify.sql`
    Notify,
    /// `faultline.cancel`
    Cancel,
    /// `audit.sql`: there is no audit log here.
    Audit,
    /// `faultline.maintain_partitions`: there are no partitions here.
    Partitions,
    /// `prune.sql`
    Prune,
    /// `rollup_report.sql`: nobody draws what happens here.
    RollupReport,
    /// `rollup_prune.sql`
    RollupPrune,
}

/// A statement's text and types.
pub(crate) struct Shape {
    pub(crate) statement: Statement,
    pub(crate) sql: &'static str,
    pub(crate) parameters: &'static [Type],
    pub(crate) columns: &'static [(&'static str, Type)],
}

/// The statement with this text.
pub(crate) fn find(sql: &str) -> Option<&'static Shape> {
    SHAPES.iter().find(|shape| shape.sql == sql)
}

macro_rules! shipped {
    ($name:literal) => {
        include_str!(concat!("../../faultline-store/sql/", $name, ".sql"))
    };
}

const CLAIMED: &[(&str, Type)] = &[
    ("id", Type::UUID),
    ("kind", Type::TEXT),
    ("priority", Type::INT2),
    ("next_run_at", Type::TIMESTAMPTZ),
    ("tie", Type::INT4),
    ("created_at", Type::TIMESTAMPTZ),
    ("started_at", Type::TIMESTAMPTZ),
    ("attempts", Type::INT4),
    ("max_attempts", Type::INT4),
    ("crashes", Type::INT4),
    ("timeout_ms", Type::INT4),
    ("backoff_base_ms", Type::INT4),
    ("backoff_cap_ms", Type::INT4),
    ("key", Type::TEXT),
    ("headers", Type::JSONB),
    ("payload", Type::JSONB),
];
const PAIR: &[(&str, Type)] = &[("id", Type::UUID), ("lease_id", Type::UUID)];
const MOVED: &[(&str, Type)] = &[("id", Type::UUID), ("lease_id", Type::UUID), ("state", Type::TEXT)];

macro_rules! shape {
    ($statement:ident, $sql:expr, [$($parameter:ident),*], $columns:expr) => {
        Shape { statement: Statement::$statement, sql: $sql, parameters: &[$(Type::$parameter),*], columns: $columns }
    };
}

#[rustfmt::skip]
static SHAPES: &[Shape] = &[
    shape!(Greeting,
        "select coalesce(current_setting('faultline.direct', true), '') = 'on', pg_catalog.pg_postmaster_start_time()",
        [], &[("?column?", Type::BOOL), ("pg_postmaster_start_time", Type::TIMESTAMPTZ)]),
    shape!(Version, "select coalesce(max(version), 0) from faultline.migrations", [], &[("version", Type::INT4)]),
    shape!(Enqueue, shipped!("enqueue"),
        [UUID_ARRAY, TEXT_ARRAY, TEXT_ARRAY, JSONB_ARRAY, JSONB_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT2_ARRAY, INT8_ARRAY,
         TIMESTAMPTZ_ARRAY, INT4_ARRAY, INT4_ARRAY, INT4_ARRAY, INT4_ARRAY],
        &[("ord", Type::INT8), ("id", Type::UUID), ("created", Type::BOOL), ("conflict", Type::BOOL),
          ("created_at", Type::TIMESTAMPTZ), ("next_run_at", Type::TIMESTAMPTZ)]),
    shape!(EnqueueAlike, shipped!("enqueue_alike"),
        [UUID_ARRAY, JSONB_ARRAY, JSONB_ARRAY, TEXT, TEXT, INT2, INT8, TIMESTAMPTZ, INT4, INT4, INT4, INT4], &[]),
    shape!(Claim, shipped!("claim"),
        [TEXT, UUID, UUID, INT8, INT8, INT2_ARRAY, TIMESTAMPTZ_ARRAY, INT4_ARRAY], CLAIMED),
    shape!(RecoverClaim, shipped!("recover_claim"),
        [TEXT, UUID, INT2_ARRAY, TIMESTAMPTZ_ARRAY, INT4_ARRAY, INT8], CLAIMED),
    shape!(Renew, shipped!("renew"), [TEXT, UUID_ARRAY, UUID_ARRAY, INT8],
        &[("id", Type::UUID), ("lease_id", Type::UUID), ("cancel", Type::BOOL)]),
    shape!(Held, shipped!("held"), [TEXT, UUID_ARRAY, UUID_ARRAY], PAIR),
    shape!(Complete, shipped!("complete"), [TEXT, UUID_ARRAY, UUID_ARRAY, JSONB_ARRAY], PAIR),
    shape!(Fail, shipped!("fail"),
        [TEXT, UUID_ARRAY, UUID_ARRAY, TEXT_ARRAY, INT8_ARRAY, BOOL_ARRAY, TEXT_ARRAY], MOVED),
    shape!(PutBack, shipped!("put_back"), [TEXT, UUID_ARRAY, UUID_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY], MOVED),
    shape!(FinishOutcome, shipped!("finish_outcome"), [UUID_ARRAY, UUID_ARRAY], MOVED),
    shape!(Confirm, shipped!("confirm"), [], &[("pg_logical_emit_message", Type::PG_LSN)]),
    shape!(Watch, shipped!("watch"), [INT8, TEXT_ARRAY, INT2_ARRAY, TIMESTAMPTZ_ARRAY, INT4_ARRAY],
        &[("name", Type::TEXT), ("priority", Type::INT2), ("due", Type::BOOL), ("running", Type::BOOL), ("expired", Type::UUID_ARRAY),
          ("first_at", Type::TIMESTAMPTZ), ("first_tie", Type::INT4), ("next_due_in_ms", Type::INT8), ("began_at", Type::TIMESTAMPTZ),
          ("absent", Type::UUID_ARRAY), ("not_back", Type::UUID_ARRAY), ("workers", Type::INT8), ("slots", Type::INT8)]),
    shape!(Rehearse, shipped!("rehearse"), [TEXT_ARRAY, UUID_ARRAY, INT8, INT8],
        &[("lease_owner", Type::UUID)]),
    shape!(Reap, shipped!("reap"), [TEXT_ARRAY, UUID_ARRAY, INT8, INT8],
        &[("id", Type::UUID), ("state", Type::TEXT), ("queue", Type::TEXT), ("lease_owner", Type::UUID),
          ("lease", Type::TEXT), ("reason", Type::TEXT), ("expired_s", Type::FLOAT8)]),
    shape!(QueuesOfWorkers, shipped!("queues_of_workers"), [UUID_ARRAY], &[("unnest", Type::TEXT)]),
    shape!(Bury, shipped!("bury"), [UUID_ARRAY, TEXT_ARRAY, INT8], &[("id", Type::UUID)]),
    shape!(QueueNames, shipped!("queue_names"), [], &[("name", Type::TEXT)]),
    shape!(Register, shipped!("register_worker"),
        [UUID, INT4, INT4, INT4, TEXT, TEXT, TEXT_ARRAY, TEXT_ARRAY, TIMESTAMPTZ, BOOL], &[]),
    shape!(Heartbeat, shipped!("heartbeat"), [UUID, INT4], &[("draining", Type::BOOL)]),
    shape!(StopWorker, shipped!("stop_worker"), [UUID], &[]),
    shape!(Notify, shipped!("notify"), [TEXT], &[("pg_notify", Type::VOID)]),
    shape!(Cancel, "select faultline.cancel($1)", [UUID], &[("cancel", Type::TEXT)]),
    shape!(Audit, shipped!("audit"), [TEXT, TEXT, TEXT, TEXT], &[]),
    shape!(Partitions, "select faultline.maintain_partitions()", [], &[("maintain_partitions", Type::BOOL)]),
    shape!(RollupReport, shipped!("rollup_report"),
        [UUID, INT8, INT8, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8, INT8], &[]),
    shape!(RollupPrune, shipped!("rollup_prune"), [INT8], &[("removed", Type::INT8)]),
    shape!(Prune, shipped!("prune"), [INT8], &[("keys", Type::INT8), ("workers", Type::INT8)]),
];
