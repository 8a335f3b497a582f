-- Reap: running -> queued for the jobs of the queues $1 that the workers $2 hold: those whose lease has expired, and all
-- of a worker whose session is gone. This process has missed each of them for its grace time; it is re-checked here.
-- Looks at the first $3 visible rows of each queue and priority in claim order: what runs lies before what
-- still waits, and since the clock may have been set back meanwhile, what waits is told by the state alone. Ends about $4 leases at a time: all of a worker or none, since they are judged together.
-- A crash is charged: a job without an attempt left ends as failed (crash_loop), one that was asked
-- to stop as cancelled (worker_lost: not by the word of its attempt, which finish_outcome.sql must tell apart).
-- Where several jobs fell with one worker, only those that fell most often
-- before are charged, and of those only one that stands alone or falls for the first time: a
-- neighbour of a job that kills its process loses one attempt at most, whatever queue it is in.
-- The job keeps its place in the queue, and is due. Locks: the reaped rows, in id order, never waiting.
with absent as materialized (
    select w.id
      from faultline.workers w
     where w.id = any ($2::uuid[])
       and w.stopped_at is null
       and w.presence_pid is not null
       and not exists (
            select from pg_catalog.pg_stat_activity a
             where w.presence_server = pg_postmaster_start_time()
               and a.pid = w.presence_pid
               and (a.backend_start is null or a.backend_start = w.presence_started_at))
), candidate as materialized (
    select c.id, rank() over (order by c.lease_owner) as first_of_worker
      from unnest($1::text[]) as q(name)
     cross join (values (1::smallint), (2::smallint), (3::smallint), (4::smallint)) as p(priority)
     cross join lateral (
        select j.id, j.state, j.lease_expires_at, j.lease_owner
          from faultline.jobs j
         where j.queue = q.name
           and j.priority = p.priority
         order by j.next_run_at, j.tie
         limit $3
     ) c
     where c.state = 'running'
       and c.lease_owner = any ($2::uuid[])
       and (c.lease_expires_at < clock_timestamp() or c.lease_owner in (select a.id from absent a))
), fallen as materialized (
    select j.id, j.ctid as tid, j.lease_id, j.lease_owner, j.started_at, j.attempts, j.max_attempts,
           j.crashes, j.cancel_requested_at,
           extract(epoch from clock_timestamp() - j.lease_expires_at)::float8 as expired_s,
           case when j.lease_expires_at < clock_timestamp() then 'expired' else 'lost'
           end::faultline.attempt_outcome as outcome
      from faultline.jobs j
     where j.id = any (array(select c.id from candidate c where c.first_of_worker <= $4))
       and (j.queue = any ($1::text[])) is true
       and j.state = 'running'
       and j.lease_owner = any ($2::uuid[])
       and (j.lease_expires_at < clock_timestamp() or j.lease_owner in (select a.id from absent a))
     order by j.id
       for update skip locked
), compared as materialized (
    select f.*, max(f.crashes) over (partition by f.lease_owner) as most,
           count(*) over (partition by f.lease_owner, f.crashes) as with_as_many
      from fallen f
), judged as materialized (
    select c.*,
           c.crashes = c.most and (c.crashes <> 1 or c.with_as_many = 1) as charged,
           c.crashes = c.most as suspect
      from compared c
), back as (
    update faultline.jobs j
       set state = 'queued', lease_id = null, lease_owner = null, lease_expires_at = null,
           started_at = null, next_run_at = least(j.next_run_at, clock_timestamp()),
           attempts = j.attempts - case when g.charged then 0 else 1 end,
           crashes = j.crashes + case when g.suspect then 1 else 0 end,
           last_error = case when g.outcome = 'expired' then 'the lease expired' else 'the worker was lost' end
      from judged g
     where j.ctid = g.tid and j.id = g.id and j.lease_id = g.lease_id and j.state = 'running'
       and g.cancel_requested_at is null
       and (not g.charged or g.attempts < g.max_attempts)
    returning j.id, j.queue, j.next_run_at, g.started_at, g.lease_id, g.lease_owner, g.attempts, g.charged, g.outcome,
              g.expired_s
), gone as (
    delete from faultline.jobs j
     using judged g
     where j.ctid = g.tid and j.id = g.id and j.lease_id = g.lease_id and j.state = 'running'
       and (g.cancel_requested_at is not null or g.charged and g.attempts >= g.max_attempts)
    returning j.*, g.suspect, g.outcome
), ended as (
    insert into faultline.job_history (
        id, finished_at, created_at, next_run_at, started_at, lease_id, lease_owner, retry_of,
        max_attempts, timeout_ms, backoff_base_ms, backoff_cap_ms, attempts, crashes, state,
        priority, queue, kind, key, reason, last_error, headers, payload)
    select g.id, clock_timestamp(), g.created_at, g.next_run_at, g.started_at, g.lease_id,
           g.lease_owner, g.retry_of, g.max_attempts, g.timeout_ms, g.backoff_base_ms,
           g.backoff_cap_ms, g.attempts, g.crashes + case when g.suspect then 1 else 0 end,
           case when g.cancel_requested_at is not null then 'cancelled' else 'failed' end::faultline.job_state,
           g.priority, g.queue, g.kind, g.key,
           case when g.cancel_requested_at is not null then 'worker_lost' else 'crash_loop' end,
           case when g.outcome = 'expired' then 'the lease expired' else 'the worker was lost' end,
           g.headers, g.payload
      from gone g
    returning id, state, queue, lease_owner, last_error, reason
), logged as (
    insert into faultline.job_attempts (
        job_id, ended_at, started_at, next_run_at, lease_id, lease_owner, attempt, charged, outcome, error)
    select b.id, clock_timestamp(), b.started_at, b.next_run_at, b.lease_id, b.lease_owner, b.attempts,
           b.charged, b.outcome, null
      from back b
)
select b.id, 'queued' as state, b.queue, b.lease_owner, b.outcome::text as lease, b.outcome::text as reason, b.expired_s
  from back b
union all
select e.id, e.state::text, e.queue, e.lease_owner,
       case when e.last_error = 'the lease expired' then 'expired' else 'lost' end, e.reason, null
  from ended e
