"""Who is compared: how each adapter is called, and how the database tells that nothing is left to do."""

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
RUST = HERE / "rust"
NODE = HERE / "node"
PYTHON = HERE / "python"


@dataclass(frozen=True)
class Peer:
    name: str
    # Of its package, as pinned in the lock file or the manifest of its ecosystem.
    version: str
    # Where it comes from: rust, npm, pypi.
    ecosystem: str
    # The file that is the adapter: a crate, a module, a script.
    adapter: str
    # A query that is true when every job has ended, as the database sees it; {jobs} in it is their number.
    drained: str
    # Whether there are documented settings that recover from a crash sooner than the default ones.
    recovery: bool = False
    # Whether it works jobs; else it only enqueues single ones.
    works: bool = True


FAULTLINE = "Faultline"
FAULTLINE_HTTP = "Faultline, HTTP"

PEERS = [
    Peer(
        FAULTLINE,
        "this checkout",
        "rust",
        "faultline",
        "select not exists (select from faultline.jobs)",
    ),
    Peer(
        FAULTLINE_HTTP,
        "this checkout",
        "rust",
        "faultline-http",
        "select true",
        works=False,
    ),
    Peer(
        "River (Rust)",
        "riverqueue 0.5.0",
        "rust",
        "riverqueue",
        "select not exists (select from river_job where state in ('available', 'running', 'retryable', 'scheduled'))",
        recovery=True,
    ),
    Peer(
        "Awa",
        "awa 0.6.9",
        "rust",
        "awa",
        # Its view of all jobs does not answer within two minutes after some hundred thousand; this is the sum by which its own
        # `queue_counts` tells how many have ended (awa-model, `src/queue_storage.rs`, `queue_counts_exact`).
        """select coalesce((select sum(live_terminal_count) from awa.queue_terminal_live_counts), 0)
                + coalesce((select sum(terminal_delta) from awa.queue_terminal_count_deltas), 0)
                + coalesce((select sum(completed_count) from awa.receipt_completion_batches), 0)
                - (select count(*) from awa.receipt_completion_tombstones)
                + coalesce((select sum(pruned_completed_count) from awa.queue_terminal_rollups), 0) >= {jobs}""",
        recovery=True,
    ),
    Peer(
        "Graphile Worker RS",
        "graphile_worker 0.14.1",
        "rust",
        "graphile_worker",
        "select not exists (select from graphile_worker._private_jobs)",
        recovery=True,
    ),
    Peer(
        "apalis",
        "apalis-postgres 1.0.0",
        "rust",
        "apalis-postgres",
        "select not exists (select from apalis.jobs where status <> 'Done')",
        recovery=True,
    ),
    Peer(
        "Underway",
        "underway 0.2.0",
        "rust",
        "underway",
        "select not exists (select from underway.task where state in ('pending', 'in_progress'))",
    ),
    Peer(
        "Graphile Worker",
        "graphile-worker 0.18.0",
        "npm",
        "graphile-worker",
        "select not exists (select from graphile_worker._private_jobs)",
    ),
    Peer(
        "pg-boss",
        "pg-boss 12.35.0",
        "npm",
        "pg-boss",
        "select not exists (select from pgboss.job where name = 'bench' and state < 'completed')",
        recovery=True,
    ),
    Peer(
        "Procrastinate",
        "procrastinate 3.10.0",
        "pypi",
        "procrastinate_adapter",
        "select not exists (select from procrastinate_jobs where status in ('todo', 'doing') and task_name = 'bench')",
        recovery=True,
    ),
    Peer(
        "PgQueuer",
        "pgqueuer 1.6.0",
        "pypi",
        "pgqueuer_adapter",
        "select not exists (select from pgqueuer)",
        recovery=True,
    ),
]
