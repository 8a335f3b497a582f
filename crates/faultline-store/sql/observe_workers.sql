-- Live workers, those heard of within three lease times, and their slots.
select count(*) as alive, coalesce(sum(w.slots), 0)::bigint as slots
  from faultline.workers w
 where w.stopped_at is null
   and w.heartbeat_at > clock_timestamp() - 3 * w.lease_ttl_ms * interval '1 millisecond'
