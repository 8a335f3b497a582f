-- Sessions of this database by the name that they gave themselves and by what they do, and since when the oldest transaction among
-- them has been open; at most $1. A role without pg_read_all_stats sees that of its own sessions only. Plan: pg_stat_activity.
select coalesce(a.application_name, '') as application, coalesce(a.state, '') as state, count(*) as sessions,
       count(*) filter (where a.wait_event_type = 'Lock') as waiting,
       extract(epoch from clock_timestamp() - min(a.xact_start))::float8 as oldest_transaction_s
  from pg_catalog.pg_stat_activity a
 where a.datname = current_database() and a.pid <> pg_backend_pid() and a.backend_type = 'client backend'
 group by 1, 2
 order by 3 desc, 1, 2
 limit $1
