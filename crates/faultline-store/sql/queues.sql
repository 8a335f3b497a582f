-- What stands in the queues $1. Counts end at $2 rows a queue and priority, so that a backlog of millions costs
-- no more than a short one; `bounded` says that there is more. Running jobs come first in claim order.
-- Plan: index scans of jobs_claim_order, ended by the limit.
select q.name, p.paused_at, p.paused_reason,
       count(*) filter (where c.state = 'queued' and c.next_run_at <= clock_timestamp()) as due,
       count(*) filter (where c.state = 'queued' and c.next_run_at > clock_timestamp()) as scheduled,
       count(*) filter (where c.state = 'running') as running,
       min(c.next_run_at) filter (where c.state = 'queued' and c.next_run_at <= clock_timestamp()) as oldest_due_at,
       coalesce(max(c.number) >= $2, false) as bounded,
       (select count(*) from faultline.workers w
         where q.name = any (w.queues) and w.stopped_at is null
           and w.heartbeat_at > clock_timestamp() - 3 * w.lease_ttl_ms * interval '1 millisecond') as workers
  from unnest($1::text[]) as q(name)
  left join faultline.queues p on p.name = q.name
  left join lateral (
    select j.state, j.next_run_at, row_number() over (partition by j.priority) as number
      from (values (1::smallint), (2::smallint), (3::smallint), (4::smallint)) as v(priority)
     cross join lateral (
        select j.state, j.next_run_at, j.priority
          from faultline.jobs j
         where j.queue = q.name and j.priority = v.priority
         order by j.next_run_at, j.tie
         limit $2
     ) j
  ) c on true
 group by q.name, p.paused_at, p.paused_reason
 order by q.name
