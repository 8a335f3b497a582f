-- Adds errors to their groups, one element of $1.. for each. A new group is made only while there are fewer than $11; the
-- others are left out, so that errors which never say the same twice do not fill the disk. $12 names at most are kept in a list.
-- Locks: the groups, in the order of their fingerprints, then their counts.
with given as materialized (
    select *
      from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::bigint[], $8::bigint[],
                  $9::timestamptz[], $10::timestamptz[])
           as g(fingerprint, pattern, sample, queue, kind, example, failed, retried, first_at, last_at)
), grouped as materialized (
    select g.fingerprint, min(g.pattern) as pattern, min(g.sample) as sample, (array_agg(g.example))[1] as example,
           sum(g.failed)::bigint as failed, sum(g.retried)::bigint as retried, min(g.first_at) as first_at,
           max(g.last_at) as last_at, (array_agg(distinct g.kind) filter (where g.kind <> ''))[1:$12] as kinds,
           (array_agg(distinct g.queue) filter (where g.queue <> ''))[1:$12] as queues
      from given g
     group by g.fingerprint
), groups as (
    insert into faultline.error_groups as e (
        fingerprint, first_seen, last_seen, occurrences, example_job, pattern, sample, kinds, queues)
    select g.fingerprint, g.first_at, g.last_at, g.failed + g.retried, g.example, g.pattern, g.sample,
           coalesce(g.kinds, '{}'), coalesce(g.queues, '{}')
      from grouped g
     where exists (select from faultline.error_groups k where k.fingerprint = g.fingerprint)
        or (select count(*) from (select from faultline.error_groups k limit $11) k) < $11
     order by g.fingerprint
    on conflict (fingerprint) do update
       set first_seen = least(e.first_seen, excluded.first_seen), last_seen = greatest(e.last_seen, excluded.last_seen),
           occurrences = e.occurrences + excluded.occurrences, example_job = excluded.example_job, sample = excluded.sample,
           kinds = (select coalesce(array_agg(distinct k), '{}') from unnest(e.kinds || excluded.kinds) k)[1:$12],
           queues = (select coalesce(array_agg(distinct q), '{}') from unnest(e.queues || excluded.queues) q)[1:$12]
    returning e.fingerprint
)
insert into faultline.error_counts as c (fingerprint, at, failed, retried)
select g.fingerprint, date_bin('10 minutes', g.first_at, 'epoch'), g.failed, g.retried
  from grouped g
 where g.fingerprint in (select s.fingerprint from groups s)
 order by g.fingerprint
on conflict (fingerprint, at) do update set failed = c.failed + excluded.failed, retried = c.retried + excluded.retried
