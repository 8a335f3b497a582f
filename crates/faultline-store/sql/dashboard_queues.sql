-- The queues $1 for a page. Counts end at $2 rows for each queue, priority and side of now; `now_bounded` and `later_bounded`
-- say that there is more on that side, and `estimate` is what the statistics say of the queue as a whole: the table's
-- rows, as the planner takes them from its last sample and the present size, times the queue's share in that sample. What runs lies before what is due: $3, the
-- slots of all workers, is added to the rows that are looked at there, so that the oldest due job is seen.
-- Plan: index scans of jobs_claim_order from its head and from now on, ended by their limits.
with share as materialized (
    select f.name, f.share
      from pg_catalog.pg_stats s
     cross join lateral unnest(s.most_common_vals::text::text[], s.most_common_freqs) as f(name, share)
     where s.schemaname = 'faultline' and s.tablename = 'jobs' and s.attname = 'queue'
), live as materialized (
    select c.reltuples / c.relpages * (pg_relation_size(c.oid) / current_setting('block_size')::bigint) as rows
      from pg_catalog.pg_class c
     where c.oid = 'faultline.jobs'::regclass and c.reltuples >= 0 and c.relpages > 0
)
select q.name, p.paused_at, p.paused_reason, now.due, now.running, later.scheduled, later.retrying, now.oldest_due_at,
       extract(epoch from clock_timestamp() - now.oldest_due_at)::float8 as oldest_due_s,
       now.rows >= $2::bigint + $3::bigint as now_bounded, later.rows >= $2::bigint as later_bounded,
       ((select l.rows from live l) * (select s.share from share s where s.name = q.name))::bigint as estimate,
       w.workers, w.slots
  from unnest($1::text[]) as q(name)
  left join faultline.queues p on p.name = q.name
 cross join lateral (
    select count(*) as workers, coalesce(sum(w.slots), 0)::bigint as slots
      from faultline.workers w
     where q.name = any (w.queues) and w.stopped_at is null
       and w.heartbeat_at > clock_timestamp() - 3 * w.lease_ttl_ms * interval '1 millisecond'
 ) w
 cross join lateral (
    select coalesce(sum(c.due), 0)::bigint as due, coalesce(sum(c.running), 0)::bigint as running,
           min(c.oldest_due_at) as oldest_due_at, max(c.rows) as rows
      from (values (1::smallint), (2::smallint), (3::smallint), (4::smallint)) as v(priority)
     cross join lateral (
        select count(*) as rows, count(*) filter (where j.state = 'queued') as due,
               count(*) filter (where j.state = 'running') as running,
               min(j.next_run_at) filter (where j.state = 'queued') as oldest_due_at
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
