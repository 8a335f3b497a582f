-- What the dashboard shows over time: counts by queue and time, and errors by what they say. Nothing here is written by
-- a statement that enqueues, claims, renews or finishes; docs/decisions/0004-rollups.md has the reasons and the measurements.

------------------------------------------------------------------------------------------------
-- Endings other than success by their time, and attempts that did not end their job by theirs: what failed is counted
-- from the rows themselves. Successes, the many, don't pay for the first; the second is paid by attempts that failed.
-- On partitions from today on, and on older ones only if they are small: nobody asks for what lies before this migration, and
-- finishes wait while an index is built.
create index job_history_unsuccessful_end on only faultline.job_history (finished_at) where state <> 'succeeded';
create index job_attempts_end on only faultline.job_attempts (ended_at);

do $$
declare
    child record;
    today constant text := to_char(clock_timestamp() at time zone 'utc', 'YYYYMMDD');
begin
    for child in
        select p.relname as parent, c.relname as name
          from pg_catalog.pg_inherits i
          join pg_catalog.pg_class c on c.oid = i.inhrelid
          join pg_catalog.pg_class p on p.oid = i.inhparent
         where p.oid in ('faultline.job_history'::regclass, 'faultline.job_attempts'::regclass)
           and (right(c.relname, 8) >= today or pg_relation_size(c.oid) < 256 * 1024 * 1024)
         order by c.relname
    loop
        if child.parent = 'job_history' then
            execute format('create index %I on faultline.%I (finished_at) where state <> ''succeeded''',
                           child.name || '_unsuccessful_end', child.name);
            execute format('alter index faultline.job_history_unsuccessful_end attach partition faultline.%I',
                           child.name || '_unsuccessful_end');
        else
            execute format('create index %I on faultline.%I (ended_at)', child.name || '_end', child.name);
            execute format('alter index faultline.job_attempts_end attach partition faultline.%I', child.name || '_end');
        end if;
    end loop;
end $$;

------------------------------------------------------------------------------------------------
-- What happened in a queue in a span of time, or in all of them (queue ''). Each event is in three rows of each kind, by 10
-- seconds, by minute and by 10 minutes, of which the finer ones are kept for a shorter time.
create table faultline.rollups (
    at            timestamptz not null,
    width_s       int         not null check (width_s in (10, 60, 600)),
    -- Jobs by the time of their id; an estimate where more than some thousands came in a second.
    enqueued      bigint      not null default 0,
    -- As reported by the workers.
    succeeded     bigint      not null default 0,
    -- From the rows: jobs that ended otherwise, and attempts after which the job waits again.
    failed        bigint      not null default 0,
    cancelled     bigint      not null default 0,
    retried       bigint      not null default 0,
    lost          bigint      not null default 0,
    put_back      bigint      not null default 0,
    queue         text collate "C" not null,
    -- As reported by the workers: how many first attempts started, and handlers ran, within each bound
    -- (crates/faultline-metrics/src/definitions.rs), and beyond the last; empty for none.
    start_latency bigint[]    not null default '{}',
    execution     bigint[]    not null default '{}',
    primary key (width_s, queue, at)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
create index rollups_age on faultline.rollups (width_s, at);

-- How far the rows have been counted. Locked by whoever counts, without waiting.
create table faultline.rollup_state (
    singleton  boolean     not null primary key default true check (singleton),
    -- Nothing is known of the time before.
    began_at   timestamptz not null,
    counted_to timestamptz not null,
    -- Transactions that had written anything when the next span was over have ids below this; null: not looked yet.
    boundary   xid8
) with (fillfactor = 50);
insert into faultline.rollup_state (began_at, counted_to)
select t.begins, t.begins from (select to_timestamp(floor(extract(epoch from clock_timestamp()) / 10) * 10) as begins) t;

-- The last report of each process, so that one which is repeated because its answer was lost counts once.
create table faultline.rollup_reports (
    process     uuid        not null primary key,
    number      bigint      not null,
    reported_at timestamptz not null
) with (fillfactor = 70);

-- Errors that say the same, numbers, ids and quoted parts aside (crates/faultline-core/src/fingerprint.rs).
create table faultline.error_groups (
    fingerprint uuid        not null primary key,
    first_seen  timestamptz not null,
    last_seen   timestamptz not null,
    occurrences bigint      not null,
    -- A job that failed like this, the last that was noticed.
    example_job uuid        not null,
    -- The text without its variable parts, and one as it was.
    pattern     text        not null,
    sample      text        not null,
    kinds       text[]      not null,
    queues      text[]      not null
) with (fillfactor = 70);
create index error_groups_last_seen on faultline.error_groups (last_seen);

create table faultline.error_counts (
    at          timestamptz not null,
    -- Jobs that failed for good, and attempts after which the job waits again.
    failed      bigint      not null default 0,
    retried     bigint      not null default 0,
    fingerprint uuid        not null,
    primary key (fingerprint, at)
) with (fillfactor = 70);
create index error_counts_at on faultline.error_counts (at);

-- The least id of version 7 that a time can have.
create function faultline.uuid_at(at timestamptz) returns uuid
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select (lpad(to_hex(greatest(floor(extract(epoch from at) * 1000), 0)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- The time of an id of version 7.
create function faultline.time_of(id uuid) returns timestamptz
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0)
$$;

-- Sums element by element; the shorter array has zeros where it ends.
create function faultline.add_counts(a bigint[], b bigint[]) returns bigint[]
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select coalesce(array_agg(coalesce(s.a, 0) + coalesce(s.b, 0) order by s.n), '{}')
      from unnest(a, b) with ordinality as s(a, b, n)
$$;

revoke all on function
    faultline.uuid_at(timestamptz), faultline.time_of(uuid), faultline.add_counts(bigint[], bigint[]) from public;
