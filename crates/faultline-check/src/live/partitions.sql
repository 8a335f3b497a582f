-- Today's partitions and those of the next $1 days. Rows that come while one is missing stay in the
-- default partition: nothing is lost, but retention then deletes instead of dropping. Plan: catalogue look-ups.
with seen as materialized (
    select p.parent, format('%s_%s', p.parent, to_char(now() at time zone 'utc' + n * interval '1 day', 'YYYYMMDD')) as child
      from (values ('job_history'), ('job_attempts')) as p(parent) cross join generate_series(0, $1::bigint) n
), bad(job, what) as (
    select null::uuid, 'partition faultline.' || s.child || ' is missing: does any worker or server run maintenance?'
      from seen s where to_regclass('faultline.' || s.child) is null
)
