-- The server's settings that decide about durability, room and upkeep, and where each comes from. Plan: pg_settings.
select s.name, s.setting, coalesce(s.unit, '') as unit, s.source
  from pg_catalog.pg_settings s
 where s.name in ('synchronous_commit', 'fsync', 'full_page_writes', 'synchronous_standby_names', 'max_connections', 'shared_buffers',
                  'autovacuum', 'autovacuum_max_workers', 'autovacuum_naptime', 'max_wal_size', 'wal_level', 'max_prepared_transactions',
                  'idle_in_transaction_session_timeout', 'data_checksums', 'track_counts')
 order by s.name
