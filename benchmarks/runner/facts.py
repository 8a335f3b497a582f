"""What each does beside being fast: an answer and the place in the peer's own documentation or source that says so.

Read in the pinned versions. Whoever raises a version reads these places again.
"""

QUESTIONS = {
    "fence": "a late finish of a job that somebody else has by now",
    "history": "jobs that ended",
    "crash": "jobs of a killed worker, by default",
    "together": "handler's writes and the job's end in one transaction",
}

FACTS = {
    "Faultline": {
        "fence": ("refused: a random lease id for each claim", "migrations, `crates/faultline-store/sql/complete.sql`"),
        "history": ("kept with result and attempts, partitions dropped by retention", "`ARCHITECTURE.md`, The tables"),
        "crash": ("run elsewhere when the worker's session ends, 2 to 3.5 s; else after the lease of 15 s",
                  "`ARCHITECTURE.md`, A worker dies"),
        "together": ("yes, `run.complete_in(&mut tx)`", "`ARCHITECTURE.md`, Three ideas that carry the rest"),
    },
    "River (Rust)": {
        "fence": ("accepted if the row says `running`, whoever runs it", "riverqueue 0.5.0, `src/client/completer.rs`"),
        "history": ("the row stays, completed ones for 24 hours",
                    "riverqueue 0.5.0, `src/client/builder.rs`, `MaintenanceConfig::default`"),
        "crash": ("rescued after one hour", "riverqueue 0.5.0, `README.md`, Leadership and maintenance"),
        "together": ("yes, `WorkContext::job_complete_tx`", "riverqueue 0.5.0, `src/worker.rs`"),
    },
    "Awa": {
        "fence": ("refused: `run_lease` counts the claims of a job", "awa, `docs/architecture.md`"),
        "history": ("kept until their segment of a ring is reused, failed ones for 72 hours",
                    "awa, `docs/configuration.md`, Retention and cleanup"),
        "crash": ("rescued after 90 s without a heartbeat, looked for each 30 s",
                  "awa, `docs/configuration.md`, Reliability timings"),
        "together": ("not in this version: planned", "awa, `docs/0.7-roadmap.md`, Caller-owned finalization"),
    },
    "Graphile Worker RS": {
        "fence": ("accepted: the row is deleted by its id", "graphile_worker_queries 0.2.1, `src/complete_job.rs`"),
        "history": ("none: a job that succeeded is deleted", "graphile_worker_queries 0.2.1, `src/complete_job.rs`"),
        "crash": ("recovery is off; then locked for four hours",
                  "graphile_worker 0.14.1, `docs/src/guides/recovery.md`; graphile_worker_migrations 0.4.24, "
                  "`src/sql/m000022.sql`"),
        "together": ("not documented", "graphile_worker 0.14.1, `docs/src/guides/job-management.md`"),
    },
    "apalis": {
        "fence": ("refused unless the row names this worker, whichever attempt it is",
                  "apalis-postgres 1.0.0, `queries/task/handle_result.sql`"),
        "history": ("the row stays with its result until somebody calls for a vacuum",
                    "apalis-postgres 1.0.0, `queries/backend/vacuum.sql`"),
        "crash": ("given back after ten missed heartbeats of 30 s", "apalis-postgres 1.0.0, `src/config.rs`"),
        "together": ("not documented", "apalis-postgres 1.0.0, `README.md`"),
    },
    "Underway": {
        "fence": ("a lock in the handler's transaction keeps others out while its session lives",
                  "underway 0.2.0, `src/worker.rs`, `process_next_task`"),
        "history": ("rows stay with their attempts; a time to live of 14 days if `run_deletion` is called",
                    "underway 0.2.0, `src/lib.rs` and `src/task.rs`"),
        "crash": ("taken after 30 s without a heartbeat, looked for each minute",
                  "underway 0.2.0, `src/task.rs` and `src/worker.rs`, `run`"),
        "together": ("yes: the handler is given the transaction", "underway 0.2.0, `src/worker.rs`, `process_next_task`"),
    },
    "Graphile Worker": {
        "fence": ("accepted: the row is deleted by its id", "graphile-worker 0.18.0, `dist/sql/completeJobs.js`"),
        "history": ("none: a job that succeeded is deleted", "graphile-worker, documentation, Scaling tips"),
        "crash": ("locked for at least four hours; sooner in its paid edition",
                  "graphile-worker, documentation, Error handling, and Crashed worker recovery"),
        "together": ("not documented", "graphile-worker, documentation, Tasks"),
    },
    "pg-boss": {
        "fence": ("refused: the row must be active at the same retry count",
                  "pg-boss 12.35.0, `dist/plans.js`, `attemptFence`"),
        "history": ("the row stays for seven days", "pg-boss, documentation, Queues, `deleteAfterSeconds`"),
        "crash": ("retried after 15 minutes, looked for each minute", "pg-boss, documentation, Queues, Expiration options"),
        "together": ("yes, `work(…, { transactional: true })`", "pg-boss 12.35.0, `dist/types.d.ts`"),
    },
    "Procrastinate": {
        "fence": ("accepted if the row is to do or being done, whoever does it",
                  "procrastinate 3.10.0, `sql/schema.sql`, `procrastinate_finish_job_v1`"),
        "history": ("the row stays with its events until it is deleted",
                    "procrastinate, documentation, Delete finished jobs"),
        "crash": ("never, unless one adds a task that does it", "procrastinate, documentation, Retry stalled jobs"),
        "together": ("not documented", "procrastinate, documentation, Enqueue with an external connection"),
    },
    "PgQueuer": {
        "fence": ("accepted: the row is deleted by its id",
                  "pgqueuer 1.6.0, `adapters/persistence/qb.py`, `build_log_job_query`"),
        "history": ("lines in a log, without the payload", "pgqueuer 1.6.0, `adapters/persistence/qb.py`"),
        "crash": ("taken after 30 s without a heartbeat", "pgqueuer, documentation, Heartbeat Monitoring"),
        "together": ("not documented", "pgqueuer, documentation, Reliability Model"),
    },
}
