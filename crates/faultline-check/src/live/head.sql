-- The head of every queue: of each priority the first $1 rows in claim order, where everything that runs lies; of
-- all queues ten times as many.
-- Plan: a loose walk over jobs_claim_order for the names of queues (1,000 at most), then its first entries for each.
with recursive queue(name) as (
    (select j.queue from faultline.jobs j order by j.queue limit 1)
    union all
    select (select j.queue from faultline.jobs j where j.queue > q.name order by j.queue limit 1)
      from queue q where q.name is not null
), seen as materialized (
    select h.*
      from (select q.name from queue q where q.name is not null limit 1000) q
     cross join (values (1::smallint), (2::smallint), (3::smallint), (4::smallint)) as p(priority)
     cross join lateral (
        select j.id, j.queue, j.state, j.attempts, j.max_attempts, j.started_at, j.lease_id, j.lease_owner, j.lease_expires_at
          from faultline.jobs j
         where j.queue = q.name and j.priority = p.priority
         order by j.next_run_at, j.tie limit $1) h
     limit 10 * $1
)
