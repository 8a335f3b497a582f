-- A worker's sign of life: $1 worker, $2 running jobs. Answers whether an operator asked it to
-- drain, how many workers live (heard of within three of their lease times), and the backend that
-- served this statement. No row: the worker's row was pruned, register again.
update faultline.workers w
   set heartbeat_at = clock_timestamp(), running = $2
 where w.id = $1 and w.stopped_at is null
returning w.draining, pg_backend_pid() as backend,
    (select count(*) from faultline.workers o
      where o.stopped_at is null
        and o.heartbeat_at > clock_timestamp() - 3 * o.lease_ttl_ms * interval '1 millisecond') as live,
    (select coalesce(sum(o.slots), 0) from faultline.workers o
      where o.stopped_at is null
        and o.heartbeat_at > clock_timestamp() - 3 * o.lease_ttl_ms * interval '1 millisecond') as live_slots
