-- The group of errors $1 with its counts since $2 by 10 minutes. Plan: look-ups by primary key.
select e.fingerprint, e.first_seen, e.last_seen, e.occurrences, e.example_job, e.pattern, e.sample, e.kinds, e.queues,
       c.ats, c.failed, c.retried
  from faultline.error_groups e
 cross join lateral (
    select coalesce(array_agg(c.at order by c.at), '{}') as ats, coalesce(array_agg(c.failed order by c.at), '{}') as failed,
           coalesce(array_agg(c.retried order by c.at), '{}') as retried
      from (select c.at, c.failed, c.retried from faultline.error_counts c
             where c.fingerprint = e.fingerprint and c.at >= $2 order by c.at desc limit 1500) c
 ) c
 where e.fingerprint = $1
