-- Sessions of this database that have been idle in a transaction for more than $1 ms. Sessions of other roles show only to
-- members of pg_read_all_stats.
with seen as materialized (
    select a.pid, a.application_name, a.state, a.state_change
      from pg_catalog.pg_stat_activity a where a.datname = current_database() and a.state is not null
), bad(job, what) as (
    select null::uuid, 'session ' || s.pid || ' of ' || coalesce(nullif(s.application_name, ''), 'an unnamed application')
                       || ' has been idle in a transaction since ' || s.state_change || ', and holds its locks'
      from seen s
     where s.state like 'idle in transaction%' and clock_timestamp() - s.state_change > $1::bigint * interval '1 ms'
)
