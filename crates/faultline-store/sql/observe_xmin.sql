-- Who keeps dead rows of this database from being removed: whose snapshot or transaction is the oldest in seconds, and whose
-- is the oldest in transactions, which is the only age that a replication slot has. At most two rows.
-- A role without pg_read_all_stats (in pg_monitor) does not see the transactions of others.
with holder as (
    select case when a.backend_type = 'walsender' then 'standby' else 'session' end as holder,
           coalesce(a.application_name, '') as application,
           extract(epoch from clock_timestamp() - a.xact_start)::float8 as age_s,
           greatest(age(a.backend_xmin), age(a.backend_xid))::bigint as age_xids
      from pg_catalog.pg_stat_activity a
     where (a.backend_xmin is not null or a.backend_xid is not null)
       and a.pid <> pg_backend_pid()
       and coalesce(a.datname = current_database(), true)
       and a.backend_type <> 'autovacuum worker'
    union all
    select 'prepared_transaction', '', extract(epoch from clock_timestamp() - p.prepared)::float8, age(p.transaction)::bigint
      from pg_catalog.pg_prepared_xacts p
     where p.database = current_database()
    union all
    select 'replication_slot', s.slot_name::text, null, age(s.xmin)::bigint
      from pg_catalog.pg_replication_slots s
     where s.xmin is not null
)
(select h.holder, h.application, h.age_s, null::bigint as age_xids
   from holder h where h.age_s is not null order by h.age_s desc limit 1)
union all
(select h.holder, h.application, null, h.age_xids from holder h order by h.age_xids desc limit 1)
