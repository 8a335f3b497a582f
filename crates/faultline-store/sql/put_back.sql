-- Release or snooze: an attempt that is not charged. Jobs $2 of queue $1, each under its lease in
-- $3, go running -> queued $4 ms from now (null: at their old place in the queue) with the outcome
-- ('released' or 'snoozed') and the reason in $5 and $6; or running -> cancelled when that was asked for.
-- A row that changed under our feet comes back from neither branch, as in fail.sql.
-- Plan: primary key look-ups in the order of $2 (sorted, the lock order), then a hash join with the
-- arguments; nested loops are off in the session that runs this. Naming the ids once more with `any` keeps
-- the planner from walking the whole table when it believes it to be empty, as a queue often is; `is true`
-- keeps the queue, which every hot statement names, from drawing in the claim order's index instead.
with ended_attempt as materialized (
    select *
      from unnest($2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::text[])
           as e(id, lease_id, delay_ms, outcome, reason)
), back as (
    update faultline.jobs j
       set state = 'queued', lease_id = null, lease_owner = null, lease_expires_at = null,
           started_at = null, attempts = j.attempts - 1,
           next_run_at = coalesce(clock_timestamp() + e.delay_ms * interval '1 millisecond', j.next_run_at)
      from ended_attempt e
     where j.id = any ($2::uuid[]) and j.id = e.id and (j.queue = $1) is true and j.lease_id = e.lease_id and j.state = 'running'
       and j.cancel_requested_at is null
    returning j.id, e.lease_id, e.outcome, e.reason, j.next_run_at, j.attempts
), gone as (
    delete from faultline.jobs j
     using ended_attempt e
     where j.id = any ($2::uuid[]) and j.id = e.id and (j.queue = $1) is true and j.lease_id = e.lease_id and j.state = 'running'
       and j.cancel_requested_at is not null
    returning j.*
), ended as (
    insert into faultline.job_history (
        id, finished_at, created_at, next_run_at, started_at, lease_id, lease_owner, retry_of,
        max_attempts, timeout_ms, backoff_base_ms, backoff_cap_ms, attempts, crashes, state,
        priority, queue, kind, key, reason, last_error, headers, payload)
    select g.id, clock_timestamp(), g.created_at, g.next_run_at, g.started_at, g.lease_id,
           g.lease_owner, g.retry_of, g.max_attempts, g.timeout_ms, g.backoff_base_ms,
           g.backoff_cap_ms, g.attempts, g.crashes, 'cancelled',
           g.priority, g.queue, g.kind, g.key, 'cancelled', g.last_error, g.headers, g.payload
      from gone g
    returning id, lease_id, state
), logged as (
    insert into faultline.job_attempts (
        job_id, ended_at, started_at, next_run_at, lease_id, lease_owner, attempt, charged, outcome, error)
    select b.id, clock_timestamp(), o.started_at, b.next_run_at, b.lease_id, o.lease_owner,
           b.attempts + 1, false, b.outcome::faultline.attempt_outcome, b.reason
      from back b
      join faultline.jobs o on o.id = b.id and o.id = any ($2::uuid[]) and (o.queue = $1) is true
)
select id, lease_id, 'queued' as state from back
union all
select id, lease_id, state::text from ended
