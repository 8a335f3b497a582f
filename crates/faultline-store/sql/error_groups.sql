-- Groups of errors, the last seen first, at most $6, behind the group ($4, $5) where that is given; of queue $1 and kind $2, and whose
-- pattern contains $3, where these are given. With each its counts since $7 by 10 minutes, at most 1,500 of them.
-- Plan: error_groups_last_seen from its end; there are 10,000 groups at most. Then ranges of the primary key of the counts.
select e.fingerprint, e.first_seen, e.last_seen, e.occurrences, e.example_job, e.pattern, e.sample, e.kinds, e.queues,
       c.ats, c.failed, c.retried
  from (
    select g.*
      from faultline.error_groups g
     where ($1::text is null or $1 = any (g.queues))
       and ($2::text is null or $2 = any (g.kinds))
       and ($3::text is null or strpos(lower(g.pattern), lower($3)) > 0 or strpos(lower(g.sample), lower($3)) > 0)
       and ($4::timestamptz is null or (g.last_seen, g.fingerprint) < ($4, $5::uuid))
     order by g.last_seen desc, g.fingerprint desc
     limit $6
  ) e
 cross join lateral (
    select coalesce(array_agg(c.at order by c.at), '{}') as ats, coalesce(array_agg(c.failed order by c.at), '{}') as failed,
           coalesce(array_agg(c.retried order by c.at), '{}') as retried
      from (select c.at, c.failed, c.retried from faultline.error_counts c
             where c.fingerprint = e.fingerprint and c.at >= $7 order by c.at desc limit 1500) c
 ) c
 order by e.last_seen desc, e.fingerprint desc
