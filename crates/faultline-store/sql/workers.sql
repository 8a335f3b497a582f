-- Workers heard of within the last day, newest first. `alive` means heard of within three lease times.
select w.id, w.host, w.pid, w.version, w.queues, w.kinds, w.slots, w.running, w.draining, w.started_at,
       w.heartbeat_at, w.stopped_at,
       w.stopped_at is null
           and w.heartbeat_at > clock_timestamp() - 3 * w.lease_ttl_ms * interval '1 millisecond' as alive
  from faultline.workers w
 where w.heartbeat_at > clock_timestamp() - interval '1 day'
 order by w.started_at desc
 limit 1000
