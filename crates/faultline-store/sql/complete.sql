-- running -> succeeded for jobs $2 of queue $1, each under its lease in $3 with its result in $4.
-- There is no time check: the row lock and the lease id are exact. A job that does not come back
-- was not finished by this statement; finish_outcome.sql tells why.
-- Plan: primary key look-ups in the order of $2 (sorted, the lock order), then a hash join with the
-- arguments; nested loops are off in the session that runs this. Naming the ids once more with `any` keeps
-- the planner from walking the whole table when it believes it to be empty, as a queue often is; `is true`
-- keeps the queue, which every hot statement names, from drawing in the claim order's index instead.
with gone as (
    delete from faultline.jobs j
     using unnest($2::uuid[], $3::uuid[], $4::jsonb[]) as done(id, lease_id, result)
     where j.id = any ($2::uuid[])
       and j.id = done.id
       and (j.queue = $1) is true
       and j.lease_id = done.lease_id
       and j.state = 'running'
    returning j.*, done.result
)
insert into faultline.job_history (
    id, finished_at, created_at, next_run_at, started_at, lease_id, lease_owner, retry_of,
    max_attempts, timeout_ms, backoff_base_ms, backoff_cap_ms, attempts, crashes, state,
    priority, queue, kind, key, last_error, headers, payload, result)
select g.id, clock_timestamp(), g.created_at, g.next_run_at, g.started_at, g.lease_id,
       g.lease_owner, g.retry_of, g.max_attempts, g.timeout_ms, g.backoff_base_ms,
       g.backoff_cap_ms, g.attempts, g.crashes, 'succeeded', g.priority, g.queue, g.kind, g.key,
       g.last_error, g.headers, g.payload, g.result
  from gone g
returning id, lease_id
