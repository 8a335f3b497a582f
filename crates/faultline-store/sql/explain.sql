-- The facts behind "why is job $1 not running?": one row, or none when the job is not waiting or running.
-- Plan: look-ups by key; the position is a count in claim order, priority by priority as far as what is due, ended by $2.
select j.state::text, j.queue, j.kind, j.attempts, j.max_attempts, j.crashes, j.next_run_at, j.last_error,
       greatest(extract(epoch from j.next_run_at - clock_timestamp()) * 1000, 0)::bigint as starts_in_ms,
       (extract(epoch from j.lease_expires_at - clock_timestamp()) * 1000)::bigint as lease_left_ms,
       j.lease_owner, j.cancel_requested_at is not null as cancel_requested,
       q.paused_at, q.paused_reason,
       coalesce(w.workers, 0) as workers, coalesce(w.know_kind, 0) as know_kind,
       coalesce(w.slots, 0) as slots, coalesce(w.running, 0) as running,
       (select count(*) from (
            select from (values (1::smallint), (2::smallint), (3::smallint), (4::smallint)) as p(priority)
             cross join lateral (
                select from faultline.jobs a
                 where a.queue = j.queue and a.priority = p.priority and a.state = 'queued'
                   and a.next_run_at <= case when p.priority = j.priority then least(j.next_run_at, statement_timestamp())
                                             else statement_timestamp() end
                   and (p.priority < j.priority or (a.next_run_at, a.tie) < (j.next_run_at, j.tie))
                 order by a.next_run_at, a.tie
                 limit $2) a
             where p.priority <= j.priority
             limit $2) as ahead) as ahead
  from faultline.jobs j
  left join faultline.queues q on q.name = j.queue
  left join lateral (
    select count(*) as workers, sum(w.slots) as slots, sum(w.running) as running,
           count(*) filter (where '*' = any (w.kinds) or j.kind = any (w.kinds)) as know_kind
      from faultline.workers w
     where j.queue = any (w.queues) and w.stopped_at is null and not w.draining
       and w.heartbeat_at > clock_timestamp() - 3 * w.lease_ttl_ms * interval '1 millisecond'
  ) w on true
 where j.id = $1
