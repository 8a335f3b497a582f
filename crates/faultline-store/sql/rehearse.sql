-- Write what signs of life of the workers $2 would write, and change nothing: up to $4 rows that they run, among the first
-- $3 visible ones of each of the queues $1 and priority, as a renewal would, and their own rows. The caller takes it back.
-- It fails where they would fail: without space for another page, say, which a mark in the WAL does not need.
-- Rows that somebody has locked are passed over, as they are by renewals. Answers which of the workers hold leases that have
-- expired, and could have renewed none of those that were tried. Of each worker, those that expire first are tried first.
-- Locks: the rest, in id order, never waiting.
with candidate as materialized (
    select c.id, c.lease_owner, c.lease_expires_at < clock_timestamp() as has_expired
      from unnest($1::text[]) as q(name)
     cross join (values (1::smallint), (2::smallint), (3::smallint), (4::smallint)) as p(priority)
     cross join lateral (
        select j.id, j.state, j.lease_owner, j.lease_expires_at
          from faultline.jobs j
         where j.queue = q.name
           and j.priority = p.priority
         order by j.next_run_at, j.tie
         limit $3
     ) c
     where c.state = 'running' and c.lease_owner = any ($2::uuid[])
     order by row_number() over (partition by c.lease_owner order by c.lease_expires_at)
     limit $4
), held as materialized (
    select j.id, j.ctid as tid
      from faultline.jobs j
     where j.id = any (array(select c.id from candidate c))
       and (j.queue = any ($1::text[])) is true
       and j.state = 'running'
     order by j.id
       for no key update skip locked
), renewed as (
    update faultline.jobs j
       set lease_expires_at = j.lease_expires_at
      from held h
     where j.ctid = h.tid and j.id = h.id and j.state = 'running'
    returning 1
), holder as materialized (
    select w.id from faultline.workers w where w.id = any ($2::uuid[]) order by w.id for no key update skip locked
), signed as (
    update faultline.workers w set heartbeat_at = w.heartbeat_at from holder h where w.id = h.id returning 1
)
select c.lease_owner
  from candidate c
  left join held h on h.id = c.id
 where c.has_expired
 group by c.lease_owner
having count(h.id) = 0
