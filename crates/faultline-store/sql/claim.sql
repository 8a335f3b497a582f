-- Claim up to $5 due jobs of queue $1 for worker $3 under the new lease $2, which lasts $4 ms.
-- $6..$8 are the floors, one (priority, next_run_at, tie) for each priority in the order in which
-- they are served: the scan of a priority starts right behind its floor.
--
-- Plan: for each priority an index scan of jobs_claim_order that starts at the floor, ends at now
-- and stops when enough rows are locked; then a TID scan of just those rows, so that no statistics
-- can turn the update into a scan of the table (`is true` keeps the queue, which every hot statement
-- names, from drawing in the claim order's index instead). The update is heap-only: it changes no indexed column.
-- Locks: the claimed rows, never waiting for one. A paused queue is enforced here.
with due as materialized (
    select c.tid
      from unnest($6::smallint[], $7::timestamptz[], $8::int[]) as f(priority, next_run_at, tie)
     cross join lateral (
        select j.ctid as tid
          from faultline.jobs j
         where j.queue = $1
           and j.priority = f.priority
           and (j.next_run_at, j.tie) > (f.next_run_at, f.tie)
           and j.next_run_at <= (select clock_timestamp())
           and j.state = 'queued'
         order by j.next_run_at, j.tie
         limit $5
           for update skip locked
     ) c
     where not exists (select from faultline.queues q where q.name = $1 and q.paused_at is not null)
     limit $5
)
update faultline.jobs j
   set state            = 'running',
       attempts         = j.attempts + 1,
       lease_id         = $2,
       lease_owner      = $3,
       started_at       = clock_timestamp(),
       lease_expires_at = clock_timestamp() + $4::bigint * interval '1 millisecond'
 where j.ctid = any (array(select d.tid from due d))
   and (j.queue = $1) is true
   and j.state = 'queued'
returning j.id, j.kind, j.priority, j.next_run_at, j.tie, j.created_at, j.started_at, j.attempts,
          j.max_attempts, j.crashes, j.timeout_ms, j.backoff_base_ms, j.backoff_cap_ms, j.key, j.headers, j.payload
