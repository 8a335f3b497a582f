-- The engine: jobs, their history, keys, workers and queues.
-- ARCHITECTURE.md tells how the pieces work together; docs/decisions/ why they have this shape.
-- The schema itself is made by the migration runner, which also creates faultline.migrations.

revoke all on schema faultline from public;

-- 'queued' and 'running' live in jobs; the other three are terminal and live in job_history.
create type faultline.job_state as enum ('queued', 'running', 'succeeded', 'failed', 'cancelled');

-- How an attempt ended that did not end its job.
create type faultline.attempt_outcome as enum (
    'failed',     -- the handler returned an error, panicked or timed out
    'expired',    -- the lease ran out and the job was reaped
    'lost',       -- the worker's session was gone and the job was reaped early
    'released',   -- a worker gave the job back (drain, unknown kind, isolation)
    'snoozed'     -- the handler asked to be called again later
);

------------------------------------------------------------------------------------------------
-- Settings: one row, read by maintenance.
create table faultline.settings (
    singleton         boolean  not null primary key default true check (singleton),
    history_retention interval not null default '14 days' check (history_retention >= '1 day')
);
insert into faultline.settings default values;

------------------------------------------------------------------------------------------------
-- The hot table. Columns that a claim or a renewal changes are in no index, and the fill factor
-- leaves room for one new version of each row, so that both are heap-only updates.
-- Lease columns stand together between columns that rarely change: the WAL of an update then
-- holds little more than the lease.
create table faultline.jobs (
    id                  uuid        not null primary key,
    created_at          timestamptz not null,
    next_run_at         timestamptz not null,
    max_attempts        int         not null,
    timeout_ms          int         not null,
    backoff_base_ms     int         not null,
    backoff_cap_ms      int         not null,
    crashes             int         not null default 0,
    attempts            int         not null default 0,
    started_at          timestamptz,
    lease_expires_at    timestamptz,
    lease_id            uuid,
    lease_owner         uuid,
    cancel_requested_at timestamptz,
    retry_of            uuid,
    -- Breaks ties of next_run_at in the claim order. Not the id: with it in a second index, the planner
    -- may look up an id by walking that one from end to end.
    tie                 int         not null default (random() * 2147483647)::int,
    state               faultline.job_state not null default 'queued',
    priority            smallint    not null,
    queue               text collate "C" not null,
    kind                text collate "C" not null,
    key                 text collate "C",
    last_error          text,
    headers             jsonb,
    payload             jsonb       not null,

    constraint jobs_state_is_not_terminal check (state in ('queued', 'running')),
    constraint jobs_lease_is_whole check (
        case when state = 'running'
             then lease_id is not null and lease_owner is not null
                  and lease_expires_at is not null and started_at is not null
             else lease_id is null and lease_owner is null
                  and lease_expires_at is null and started_at is null
                  and cancel_requested_at is null
        end),
    -- A queued job always has an attempt left, so that no row can make a claim fail.
    constraint jobs_attempts_are_bounded check (
        attempts >= 0 and crashes >= 0
        and case when state = 'running' then attempts <= max_attempts else attempts < max_attempts end),
    constraint jobs_names_are_bounded check (
        octet_length(queue) between 1 and 128 and octet_length(kind) between 1 and 128
        and octet_length(key) <= 512),
    constraint jobs_numbers_are_bounded check (
        priority between 1 and 4 and timeout_ms > 0 and backoff_base_ms >= 0
        and backoff_cap_ms >= 0)
) with (
    fillfactor = 45,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0
);

-- The order in which jobs are claimed; not partial, see above.
create index jobs_claim_order on faultline.jobs (queue, priority, next_run_at, tie);

create function faultline.refuse_illegal_transition() returns trigger
language plpgsql as $$
begin
    raise exception 'illegal transition of job %: % (attempt %, lease %) to % (attempt %, lease %)',
        old.id, old.state, old.attempts, old.lease_id, new.state, new.attempts, new.lease_id
        using errcode = 'FLT03';
end $$;

-- The function body runs only for an illegal change; what is legal costs one expression.
create trigger jobs_refuse_illegal_transition before update on faultline.jobs
for each row when (not (
    old.id = new.id and old.queue = new.queue and old.kind = new.kind
    and old.created_at = new.created_at
    and case
        when old.state = 'queued' and new.state = 'queued'       -- moved by an operator
            then new.attempts = old.attempts
        when old.state = 'queued'                                -- claim
            then new.attempts = old.attempts + 1
        when new.state = 'running'                               -- renew, request to cancel
            then new.lease_id = old.lease_id and new.lease_owner = old.lease_owner
                 and new.attempts = old.attempts and new.started_at = old.started_at
                 and new.lease_expires_at >= old.lease_expires_at
        else new.attempts in (old.attempts, old.attempts - 1)    -- fail, release, snooze, reap
    end
)) execute function faultline.refuse_illegal_transition();

------------------------------------------------------------------------------------------------
-- Terminal jobs, append-only. Retention drops partitions, so nothing here is ever vacuumed away.
create table faultline.job_history (
    id              uuid        not null,
    finished_at     timestamptz not null,
    created_at      timestamptz not null,
    next_run_at     timestamptz not null,
    started_at      timestamptz,
    lease_id        uuid,
    lease_owner     uuid,
    retry_of        uuid,
    max_attempts    int         not null,
    timeout_ms      int         not null,
    backoff_base_ms int         not null,
    backoff_cap_ms  int         not null,
    attempts        int         not null,
    crashes         int         not null,
    state           faultline.job_state not null check (state in ('succeeded', 'failed', 'cancelled')),
    priority        smallint    not null,
    queue           text collate "C" not null,
    kind            text collate "C" not null,
    key             text collate "C",
    reason          text,
    last_error      text,
    headers         jsonb,
    payload         jsonb       not null,
    result          jsonb
) partition by range (finished_at);

create index job_history_id on faultline.job_history (id);
-- Successes, the many, do not pay for the index that finds the few others.
create index job_history_unsuccessful on faultline.job_history (id) where state <> 'succeeded';

-- Attempts that did not end their job; with the job's own row the whole timeline.
create table faultline.job_attempts (
    job_id      uuid        not null,
    ended_at    timestamptz not null,
    started_at  timestamptz not null,
    next_run_at timestamptz not null,
    lease_id    uuid        not null,
    lease_owner uuid        not null,
    attempt     int         not null,
    charged     boolean     not null,
    outcome     faultline.attempt_outcome not null,
    error       text
) partition by range (ended_at);

create index job_attempts_job_id on faultline.job_attempts (job_id);

-- Nothing is lost when a partition is missing: rows go to the default one until it is there.
create table faultline.job_history_default partition of faultline.job_history default;
create table faultline.job_attempts_default partition of faultline.job_attempts default;

create function faultline.refuse_change_of_history() returns trigger
language plpgsql as $$
begin
    raise exception 'rows of % never change', tg_table_name using errcode = 'FLT03';
end $$;

create trigger job_history_refuse_update before update on faultline.job_history
for each row execute function faultline.refuse_change_of_history();
create trigger job_attempts_refuse_update before update on faultline.job_attempts
for each row execute function faultline.refuse_change_of_history();

-- Makes the daily partitions of today and the next `ahead` days, and drops those whose whole day
-- is older than the retention. Safe to run from anywhere at any time: it takes a transaction-level
-- lock without waiting. False when another process is at it, or when somebody holds a table for long:
-- what is left to do is done in the next round.
create function faultline.maintain_partitions(ahead int default 7) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
declare
    parent text;
    of_time text;
    d date;
    today date := (clock_timestamp() at time zone 'utc')::date;
    oldest date;
    child text;
    is_astray boolean;
begin
    if not pg_try_advisory_xact_lock(1179407436, 1) then
        return false;
    end if;
    select (clock_timestamp() at time zone 'utc' - s.history_retention)::date into oldest
      from faultline.settings s;
    foreach parent in array array['job_history', 'job_attempts'] loop
        of_time := case parent when 'job_history' then 'finished_at' else 'ended_at' end;
        for d in select today + n from generate_series(0, ahead) n loop
            child := format('%s_%s', parent, to_char(d, 'YYYYMMDD'));
            continue when to_regclass('faultline.' || child) is not null;
            -- Rows that came while no partition was there keep their day in the default one.
            execute format('select exists (select from faultline.%I where %I >= %L and %I < %L)',
                           parent || '_default', of_time, d::text || ' 00:00:00+00',
                           of_time, (d + 1)::text || ' 00:00:00+00')
               into is_astray;
            continue when is_astray;
            begin
                execute format(
                    'create table faultline.%I partition of faultline.%I for values from (%L) to (%L)',
                    child, parent, d::text || ' 00:00:00+00', (d + 1)::text || ' 00:00:00+00');
            exception
                when lock_not_available then return false;
                when check_violation then null; -- one more came astray at this very moment
            end;
        end loop;
        for child in
            select c.relname from pg_inherits i
              join pg_class c on c.oid = i.inhrelid
             where i.inhparent = ('faultline.' || parent)::regclass
               and c.relname ~ ('^' || parent || '_[0-9]{8}$')
               and to_date(right(c.relname, 8), 'YYYYMMDD') < oldest
        loop
            begin
                execute format('drop table faultline.%I', child);
            exception when lock_not_available then
                return false;
            end;
        end loop;
        execute format('delete from faultline.%I where %I < %L',
                       parent || '_default', of_time, oldest::text || ' 00:00:00+00');
    end loop;
    return true;
end $$;

select faultline.maintain_partitions();

------------------------------------------------------------------------------------------------
-- Keys live apart from jobs, so that the retention of jobs never reopens a key.
-- `hits` counts duplicates: a duplicate writes, so that its answer waits for the same durability
-- as the first one's commit.
create table faultline.idempotency_keys (
    job_id      uuid        not null,
    expires_at  timestamptz not null,
    hits        int         not null default 0,
    queue       text collate "C" not null,
    key         text collate "C" not null,
    fingerprint bytea       not null,
    primary key (queue, key)
) with (fillfactor = 80);
create index idempotency_keys_expiry on faultline.idempotency_keys (expires_at);

------------------------------------------------------------------------------------------------
-- A row here is only needed for what an operator says of a queue: a queue exists as soon as a
-- job names it.
create table faultline.queues (
    name          text collate "C" not null primary key check (octet_length(name) between 1 and 128),
    paused_at     timestamptz,
    paused_reason text
);

-- One row for each incarnation of a worker process.
create table faultline.workers (
    id                  uuid        not null primary key,
    started_at          timestamptz not null default clock_timestamp(),
    heartbeat_at        timestamptz not null default clock_timestamp(),
    stopped_at          timestamptz,
    draining            boolean     not null default false,
    -- The backend whose end says that the process is gone; null behind a transaction pooler.
    presence_pid        int,
    presence_started_at timestamptz,
    -- The start of the server that it belongs to: after a restart or a failover no session is left, and says nothing.
    presence_server     timestamptz,
    pid                 int         not null,
    slots               int         not null,
    running             int         not null default 0,
    lease_ttl_ms        int         not null,
    host                text        not null,
    version             text        not null,
    queues              text[]      not null,
    kinds               text[]      not null
);

create table faultline.api_tokens (
    id         uuid        not null primary key default gen_random_uuid(),
    created_at timestamptz not null default clock_timestamp(),
    revoked_at timestamptz,
    name       text        not null unique check (octet_length(name) between 1 and 128),
    role       text        not null check (role in ('read', 'enqueue', 'work', 'operate')),
    -- SHA-256 of the token; the token itself is shown once and never stored.
    hash       bytea       not null unique
);

-- What operators did: pause, resume, cancel, retry, token changes.
create table faultline.audit_log (
    at      timestamptz not null default clock_timestamp(),
    actor   text        not null,
    action  text        not null,
    subject text        not null,
    detail  text
);
create index audit_log_at on faultline.audit_log using brin (at);

------------------------------------------------------------------------------------------------
-- Both worlds in one shape; the columns that a list, a page or a query needs.
create view faultline.all_jobs as
select id, queue, kind, state, priority, payload, headers, key, attempts, max_attempts, crashes,
       next_run_at, created_at, started_at, null::timestamptz as finished_at,
       lease_id, lease_owner, lease_expires_at, cancel_requested_at, timeout_ms,
       backoff_base_ms, backoff_cap_ms, retry_of, null::text as reason, last_error,
       null::jsonb as result
  from faultline.jobs
union all
select id, queue, kind, state, priority, payload, headers, key, attempts, max_attempts, crashes,
       next_run_at, created_at, started_at, finished_at,
       lease_id, lease_owner, null, null, timeout_ms,
       backoff_base_ms, backoff_cap_ms, retry_of, reason, last_error,
       result
  from faultline.job_history;
