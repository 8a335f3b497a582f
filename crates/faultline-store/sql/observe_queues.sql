-- What stands in the queues $1, for gauges. Counts end at $2 rows for each queue, priority and side of now, so that a
-- backlog of millions costs no more than a short one; `bounded` says that there is more. What runs lies before what is due:
-- $3, the slots of all workers, is added to the rows that are looked at there, so that the oldest due job is seen.
-- Plan: index scans of jobs_claim_order from its head and from now on, ended by their limits.
select q.name, p.paused_at is not null as paused, now.due, now.running, later.scheduled, later.retrying,
       now.oldest_due_s, now.rows >= $2::bigint + $3::bigint or later.rows >= $2::bigint as bounded,
       (select count(*) from faultline.workers w
         where q.name = any (w.queues) and w.stopped_at is null
           and w.heartbeat_at > clock_timestamp() - 3 * w.lease_ttl_ms * interval '1 millisecond') as workers
  from unnest($1::text[]) as q(name)
  left join faultline.queues p on p.name = q.name
 cross join lateral (
    select coalesce(sum(c.due), 0)::bigint as due, coalesce(sum(c.running), 0)::bigint as running,
           max(c.oldest_due_s)::float8 as oldest_due_s, max(c.rows) as rows
      from (values (1::smallint), (2::smallint), (3::smallint), (4::smallint)) as v(priority)
     cross join lateral (
        select count(*) as rows, count(*) filter (where j.state = 'queued') as due,
               count(*) filter (where j.state = 'running') as running,
               extract(epoch from clock_timestamp() - min(j.next_run_at) filter (where j.state = 'queued')) as oldest_due_s
          from (select j.state, j.next_run_at
                  from faultline.jobs j
                 where j.queue = q.name and j.priority = v.priority and j.next_run_at <= (select clock_timestamp())
                 order by j.next_run_at, j.tie
                 limit $2::bigint + $3::bigint) j
     ) c
 ) now
 cross join lateral (
    select coalesce(sum(c.scheduled), 0)::bigint as scheduled, coalesce(sum(c.retrying), 0)::bigint as retrying,
           max(c.rows) as rows
      from (values (1::smallint), (2::smallint), (3::smallint), (4::smallint)) as v(priority)
     cross join lateral (
        select count(*) as rows, count(*) filter (where j.attempts = 0) as scheduled,
               count(*) filter (where j.attempts > 0) as retrying
          from (select j.attempts
                  from faultline.jobs j
                 where j.queue = q.name and j.priority = v.priority and j.next_run_at > (select clock_timestamp())
                   and j.state = 'queued'
                 order by j.next_run_at, j.tie
                 limit $2::bigint) j
     ) c
 ) later
 order by q.name
