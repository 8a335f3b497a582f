-- Today's partitions and those of the next $1 days. Plan: catalogue look-ups; the default partitions' first row.
with seen as materialized (
    select p.parent, format('%s_%s', p.parent, to_char(now() at time zone 'utc' + n * interval '1 day', 'YYYYMMDD')) as child
      from (values ('job_history'), ('job_attempts')) as p(parent) cross join generate_series(0, $1::bigint) n
), bad(job, what) as (
    select null::uuid, 'partition faultline.' || s.child || ' is missing: does any worker or server run maintenance?'
      from seen s where to_regclass('faultline.' || s.child) is null
    union all
    select null, 'faultline.job_history_default holds rows' where exists (select from faultline.job_history_default)
    union all
    select null, 'faultline.job_attempts_default holds rows' where exists (select from faultline.job_attempts_default)
)
