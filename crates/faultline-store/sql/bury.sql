-- Say goodbye for the workers $1, unless their session is back, or one of them still runs a job among the first $3 visible rows
-- of one of the queues $2 and a priority: somebody had locked it while the others were reaped, and without its worker's row only
-- the end of its lease would tell. One that lives after all hears of it with its next sign of life and registers again.
update faultline.workers w
   set stopped_at = clock_timestamp(), running = 0, presence_pid = null
 where w.id = any ($1::uuid[])
   and w.stopped_at is null
   and w.presence_pid is not null
   and not exists (
        select from pg_catalog.pg_stat_activity a
         where w.presence_server = pg_postmaster_start_time()
           and a.pid = w.presence_pid
           and (a.backend_start is null or a.backend_start = w.presence_started_at))
   and w.id not in (
        select c.lease_owner
          from unnest($2::text[]) as q(name)
         cross join (values (1::smallint), (2::smallint), (3::smallint), (4::smallint)) as p(priority)
         cross join lateral (
            select j.state, j.lease_owner
              from faultline.jobs j
             where j.queue = q.name
               and j.priority = p.priority
             order by j.next_run_at, j.tie
             limit $3
         ) c
         where c.state = 'running')
returning w.id
