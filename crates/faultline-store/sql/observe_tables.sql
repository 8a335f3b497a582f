-- Dead rows of the tables whose rows change, by the statistics; and for the tables with a partition a day, for how many days
-- from today on there is one without a gap (0: today's rows go to the default partition), at most 31.
select t.relname::text as name, t.n_dead_tup as dead_rows, null::bigint as partitions_ahead
  from pg_catalog.pg_stat_all_tables t
 where t.schemaname = 'faultline' and t.relname in ('jobs', 'idempotency_keys', 'workers')
union all
select p.name, null,
       coalesce((select min(n) from generate_series(0, 30) n
                  where to_regclass(format('faultline.%I', p.name || '_' || to_char(d.today + n, 'YYYYMMDD'))) is null), 31)
  from (values ('job_history'), ('job_attempts')) as p(name)
 cross join (select (clock_timestamp() at time zone 'utc')::date as today) d
