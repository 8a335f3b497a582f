-- Who paused the queues that are paused, as the audit log says: the entry is written right after the pause.
-- Plan: the queues that operators named; for each paused one, the BRIN index of the audit log over one minute.
select q.name, a.actor
  from faultline.queues q
 cross join lateral (
    select l.actor
      from faultline.audit_log l
     where l.action = 'queue.pause' and l.subject = q.name
       and l.at >= q.paused_at and l.at < q.paused_at + interval '1 minute'
     order by l.at
     limit 1
 ) a
 where q.paused_at is not null
 limit 1000
