-- The transition log: one row for every transition that the tables of jobs went through, written by
-- the database itself and not by the programs, so that it is a witness of what they did. Drills
-- switch it on and judge a run by it; so can whoever wants to know what became of a job.
--
--   select faultline.audit_on();    -- from now on every transition leaves an event
--   select faultline.audit_off();   -- the default: no trigger is there, nothing is paid
--   truncate faultline.job_events;  -- forget; nothing else ever deletes from the log
--
-- Limits. What was done while the log was off is not in it, and neither is a TRUNCATE of jobs. The
-- log grows by some 180 bytes an event until it is truncated: it is meant for drills, staging and
-- hours of an investigation. What it costs: docs/decisions/0003-transition-log.md.

create table faultline.job_events (
    job_id           uuid        not null,
    -- One sequence for the table. Events of one job have the order of their numbers, since each is
    -- numbered under the lock of the job's row; those of different jobs need not.
    seq              bigint      not null generated always as identity,
    -- The database's clock when the statement had made its changes.
    at               timestamptz not null,
    -- From the row as it was; null: the job was enqueued.
    from_state       faultline.job_state,
    -- As it is now, in jobs or in job_history; null: the row was deleted and is in neither.
    to_state         faultline.job_state,
    -- jobs.attempts or job_history.attempts after the transition; one less than before is a refund.
    attempt          int         not null,
    max_attempts     int         not null,
    -- The holder after a claim or a renewal, otherwise the one whom the transition left.
    owner            uuid,
    lease_id         uuid,
    -- When that lease ends or would have ended.
    lease_expires_at timestamptz,
    -- When the job is due after the transition.
    next_run_at      timestamptz not null,
    -- Why, in one word:
    --   null -> queued      enqueued
    --   queued -> queued    moved
    --   queued -> running   claimed
    --   running -> running  renewed, cancel_requested
    --   running -> queued   the outcome in job_attempts: failed, expired, lost, released, snoozed;
    --                       unexplained, when no attempt was noted under that lease
    --   -> terminal         the reason in job_history; `completed` for a success
    --   -> null             deleted
    reason           text        not null,
    primary key (job_id, seq)
);
create index job_events_at on faultline.job_events using brin (at) with (pages_per_range = 32);

-- Since when the log has no gap; null while it is off.
alter table faultline.settings add column audit_on_since timestamptz;

-- The triggers run after the whole statement, so that a transition which deletes from jobs and inserts
-- into job_history is seen complete and is one event. Plans are pinned, because a trigger's plan is
-- made once for one row and kept for thousands: old and new rows meet in a hash join, and what
-- the statement wrote elsewhere is looked up by its index. `recent` bounds the partitions to look
-- into, with room for a clock that was moved.
create function faultline.audit_insert() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into faultline.job_events (
        job_id, at, from_state, to_state, attempt, max_attempts, owner, lease_id, lease_expires_at,
        next_run_at, reason)
    select n.id, clock_timestamp(), null, n.state, n.attempts, n.max_attempts, n.lease_owner,
           n.lease_id, n.lease_expires_at, n.next_run_at, 'enqueued'
      from new_rows n;
    return null;
end $$;

create function faultline.audit_update() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
    set enable_nestloop = off set enable_mergejoin = off set enable_seqscan = off set jit = off as $$
declare
    recent constant timestamptz := statement_timestamp() - interval '1 day';
begin
    insert into faultline.job_events (
        job_id, at, from_state, to_state, attempt, max_attempts, owner, lease_id, lease_expires_at,
        next_run_at, reason)
    select n.id, clock_timestamp(), o.state, n.state, n.attempts, n.max_attempts,
           coalesce(n.lease_owner, o.lease_owner), coalesce(n.lease_id, o.lease_id),
           coalesce(n.lease_expires_at, o.lease_expires_at), n.next_run_at,
           case when o.state = 'queued' and n.state = 'queued' then 'moved'
                when o.state = 'queued' then 'claimed'
                when n.state = 'queued' then coalesce((
                    select a.outcome::text from faultline.job_attempts a
                     where a.job_id = n.id and a.lease_id = o.lease_id and a.ended_at >= recent
                     limit 1), 'unexplained')
                when o.cancel_requested_at is null and n.cancel_requested_at is not null
                    then 'cancel_requested'
                else 'renewed'
           end
      from new_rows n
      join old_rows o on o.id = n.id;
    return null;
end $$;

create function faultline.audit_delete() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
    set enable_seqscan = off set jit = off as $$
declare
    recent constant timestamptz := statement_timestamp() - interval '1 day';
begin
    insert into faultline.job_events (
        job_id, at, from_state, to_state, attempt, max_attempts, owner, lease_id, lease_expires_at,
        next_run_at, reason)
    select o.id, clock_timestamp(), o.state, h.state, coalesce(h.attempts, o.attempts),
           o.max_attempts, o.lease_owner, o.lease_id, o.lease_expires_at, o.next_run_at,
           case when h.state is null then 'deleted'
                when h.state = 'succeeded' then coalesce(h.reason, 'completed')
                else coalesce(h.reason, 'unexplained') end
      from old_rows o
      left join lateral (
        select h.state, h.attempts, h.reason from faultline.job_history h
         where h.id = o.id and h.finished_at >= recent limit 1) h on true;
    return null;
end $$;

-- Switches the log on; doing it twice is doing it once. Waits two seconds at most for statements that
-- are writing to jobs, and then fails with lock_not_available (55P03): try again.
create function faultline.audit_on() returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
begin
    create or replace trigger jobs_audit_insert after insert on faultline.jobs
        referencing new table as new_rows
        for each statement execute function faultline.audit_insert();
    create or replace trigger jobs_audit_update after update on faultline.jobs
        referencing old table as old_rows new table as new_rows
        for each statement execute function faultline.audit_update();
    create or replace trigger jobs_audit_delete after delete on faultline.jobs
        referencing old table as old_rows
        for each statement execute function faultline.audit_delete();
    -- Whoever wrote to jobs before has ended, whoever will is waiting for us.
    update faultline.settings set audit_on_since = clock_timestamp() where audit_on_since is null;
end $$;

-- Switches the log off and keeps what it holds. Waits like audit_on.
create function faultline.audit_off() returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
    set client_min_messages = warning as $$
begin
    drop trigger if exists jobs_audit_insert on faultline.jobs;
    drop trigger if exists jobs_audit_update on faultline.jobs;
    drop trigger if exists jobs_audit_delete on faultline.jobs;
    update faultline.settings set audit_on_since = null where audit_on_since is not null;
end $$;

-- Whether every transition leaves an event now.
create function faultline.audit_is_on() returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
    select count(*) = 3 from pg_trigger t
     where t.tgrelid = 'faultline.jobs'::regclass and t.tgname like 'jobs\_audit\_%' and t.tgenabled <> 'D'
$$;

revoke all on function
    faultline.audit_insert(), faultline.audit_update(), faultline.audit_delete(),
    faultline.audit_on(), faultline.audit_off(), faultline.audit_is_on() from public;
