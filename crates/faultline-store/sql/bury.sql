-- Say goodbye for the workers $1, whose jobs were reaped, unless their session is back. One that lives
-- after all hears of it with its next sign of life and registers again.
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
returning w.id
