-- The server: version, since when it runs, its size limits in use, and the schema. One row. Plan: catalog functions.
select current_setting('server_version') as version, pg_postmaster_start_time() as started_at,
       current_database()::text as database, pg_database_size(current_database()) as bytes,
       current_setting('max_connections')::bigint as max_connections,
       (select count(*) from pg_catalog.pg_stat_activity a where a.backend_type = 'client backend') as connections,
       (select coalesce(max(m.version), 0) from faultline.migrations m) as schema_version,
       (select max(m.applied_at) from faultline.migrations m) as migrated_at,
       (select s.audit_on_since from faultline.settings s) as audit_on_since,
       (select extract(epoch from s.history_retention)::bigint from faultline.settings s) as history_retention_s,
       pg_catalog.pg_current_wal_lsn()::text as wal_position, clock_timestamp() as now
