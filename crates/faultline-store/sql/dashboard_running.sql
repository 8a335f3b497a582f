-- What runs in the queues $1, under whose lease: at most $3 jobs, those of each queue and priority in claim order.
-- Plan: what runs lies before what waits, so that the first $2 visible rows of each queue and priority in claim order hold
-- it: index scans of jobs_claim_order, ended by the limit.
select j.id, j.queue, j.kind, j.attempts, j.max_attempts, j.started_at, j.lease_owner, j.lease_expires_at,
       (extract(epoch from j.lease_expires_at - clock_timestamp()) * 1000)::bigint as lease_left_ms,
       j.cancel_requested_at is not null as cancel_requested
  from unnest($1::text[]) as q(name)
 cross join (values (1::smallint), (2::smallint), (3::smallint), (4::smallint)) as p(priority)
 cross join lateral (
    select j.*
      from faultline.jobs j
     where j.queue = q.name and j.priority = p.priority and j.next_run_at <= (select clock_timestamp())
     order by j.next_run_at, j.tie
     limit $2
 ) j
 where j.state = 'running'
 limit $3
