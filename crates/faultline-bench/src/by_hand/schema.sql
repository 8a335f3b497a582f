-- What somebody would write by hand who wants leases, a fence and a history, and nothing else: the tables of the storage
-- decision (docs/decisions/0001-storage.md, design e) with the engine's columns. Left out, and so the engine's price: the checks of
-- a row's shape, the trigger that refuses illegal transitions, the second index of the history, idempotency keys.
create schema by_hand;

create table by_hand.jobs (
    id uuid primary key, created_at timestamptz not null default clock_timestamp(), next_run_at timestamptz not null default clock_timestamp(),
    max_attempts int not null default 20, timeout_ms int not null default 3600000, backoff_base_ms int not null default 1000,
    backoff_cap_ms int not null default 3600000, crashes int not null default 0, attempts int not null default 0,
    started_at timestamptz, lease_expires_at timestamptz, lease_id uuid, lease_owner uuid, cancel_requested_at timestamptz,
    retry_of uuid, tie int not null default (random() * 2147483647)::int, state faultline.job_state not null default 'queued',
    priority smallint not null default 2, queue text collate "C" not null, kind text collate "C" not null,
    key text collate "C", last_error text, headers jsonb, payload jsonb not null
) with (
    fillfactor = 45, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0
);
create index jobs_claim_order on by_hand.jobs (queue, priority, next_run_at, tie);

create table by_hand.job_history (
    id uuid not null, finished_at timestamptz not null, created_at timestamptz not null, next_run_at timestamptz not null,
    started_at timestamptz, lease_id uuid, lease_owner uuid, retry_of uuid, max_attempts int not null, timeout_ms int not null,
    backoff_base_ms int not null, backoff_cap_ms int not null, attempts int not null, crashes int not null,
    state faultline.job_state not null, priority smallint not null, queue text collate "C" not null, kind text collate "C" not null,
    key text collate "C", reason text, last_error text, headers jsonb, payload jsonb not null, result jsonb
) partition by range (finished_at);
create table by_hand.job_history_now partition of by_hand.job_history for values from ('2020-01-01') to ('2100-01-01');
create index on by_hand.job_history (id);
