-- running -> succeeded for jobs $1, each under its lease in $2.
with gone as (
    delete from by_hand.jobs j using unnest($1::uuid[], $2::uuid[]) as f(id, lease_id)
     where j.id = any ($1) and j.id = f.id and j.lease_id = f.lease_id
    returning j.*
)
insert into by_hand.job_history (
    id, finished_at, created_at, next_run_at, started_at, lease_id, lease_owner, retry_of, max_attempts, timeout_ms,
    backoff_base_ms, backoff_cap_ms, attempts, crashes, state, priority, queue, kind, key, last_error, headers, payload)
select g.id, clock_timestamp(), g.created_at, g.next_run_at, g.started_at, g.lease_id, g.lease_owner, g.retry_of,
       g.max_attempts, g.timeout_ms, g.backoff_base_ms, g.backoff_cap_ms, g.attempts, g.crashes, 'succeeded', g.priority,
       g.queue, g.kind, g.key, g.last_error, g.headers, g.payload
  from gone g
