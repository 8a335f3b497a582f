-- Find what a claim whose answer was lost may have claimed: the running jobs of queue $1 that lease
-- $2 holds, searched from the floors of that claim ($3..$5) over at most $6 visible rows a priority.
-- Plan: index scan of jobs_claim_order from the floor; nothing indexes the lease itself.
select c.id, c.kind, c.priority, c.next_run_at, c.tie, c.created_at, c.started_at, c.attempts, c.max_attempts, c.crashes,
       c.timeout_ms, c.backoff_base_ms, c.backoff_cap_ms, c.key, c.headers, c.payload
  from unnest($3::smallint[], $4::timestamptz[], $5::int[]) as f(priority, next_run_at, tie)
 cross join lateral (
    select j.*
      from faultline.jobs j
     where j.queue = $1
       and j.priority = f.priority
       and (j.next_run_at, j.tie) > (f.next_run_at, f.tie)
       and j.next_run_at <= (select clock_timestamp())
     order by j.next_run_at, j.tie
     limit $6
 ) c
 where c.state = 'running' and c.lease_id = $2
