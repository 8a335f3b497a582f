-- Standbys, and how far they are behind in bytes and seconds; and replication slots that nobody uses, with what they hold back.
-- A role without pg_read_all_stats sees the names only. At most $1. Plan: pg_stat_replication, pg_replication_slots.
select 'standby' as what, coalesce(r.application_name, '') as name, coalesce(r.state, '') as state, coalesce(r.sync_state, '') as sync,
       pg_wal_lsn_diff(pg_current_wal_lsn(), r.replay_lsn)::bigint as behind_bytes, extract(epoch from r.replay_lag)::float8 as behind_s
  from pg_catalog.pg_stat_replication r
union all
select 'slot', s.slot_name::text, case when s.active then 'active' else 'inactive' end, '',
       pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint, null
  from pg_catalog.pg_replication_slots s
 order by 1, 2
 limit $1
