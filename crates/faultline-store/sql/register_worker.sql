-- Register a worker's incarnation, or its new presence session after a reconnect. The presence is
-- this very session's backend when $10 says that the session is really ours (no pooler between).
-- One that arrives late, out of a session that the worker has given up, does not replace a newer one that is there:
-- with its end the worker would seem to be gone.
insert into faultline.workers as w (id, pid, slots, lease_ttl_ms, host, version, queues, kinds, started_at,
    presence_pid, presence_started_at, presence_server)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9,
    case when $10 then pg_backend_pid() end,
    case when $10 then (select a.backend_start from pg_catalog.pg_stat_activity a where a.pid = pg_backend_pid()) end,
    case when $10 then pg_postmaster_start_time() end)
on conflict (id) do update set
    heartbeat_at = clock_timestamp(), stopped_at = null, presence_pid = excluded.presence_pid,
    presence_started_at = excluded.presence_started_at,
    presence_server = excluded.presence_server
 where not exists (
        select from pg_catalog.pg_stat_activity a
         where w.stopped_at is null
           and w.presence_server = excluded.presence_server
           and w.presence_started_at > excluded.presence_started_at
           and a.pid = w.presence_pid
           and (a.backend_start is null or a.backend_start = w.presence_started_at))
