-- Attempts that ended from $1 to $2 without ending their jobs, by queue, kind, outcome and error, of which $4 characters are told.
-- Of more than $3 only the first $3 are read; `times` is how many each of them stands for.
-- Plan: ranges of job_attempts_end; then look-ups by id in jobs, and for jobs that have ended since in the partitions from $1 on.
with told as materialized (
    select a.job_id, a.ended_at, a.outcome, a.error
      from faultline.job_attempts a
     where a.ended_at >= $1 and a.ended_at < $2
     order by a.ended_at
     limit $3
), total as materialized (
    select count(*) as attempts from faultline.job_attempts a where a.ended_at >= $1 and a.ended_at < $2
)
select coalesce(j.queue, '') as queue, coalesce(j.kind, '') as kind, t.outcome::text,
       case t.outcome when 'expired' then 'the lease expired' when 'lost' then 'the worker was lost' else left(t.error, $4) end as error,
       count(*) as attempts, min(t.ended_at) as first_at, max(t.ended_at) as last_at, (array_agg(t.job_id))[1] as example,
       greatest((select o.attempts from total o)::float8 / $3, 1) as times
  from told t
  left join lateral (
    (select j.queue, j.kind from faultline.jobs j where j.id = t.job_id)
    union all
    (select h.queue, h.kind from faultline.job_history h where h.id = t.job_id and h.finished_at >= $1 limit 1)
    limit 1
  ) j on true
 group by 1, 2, 3, 4
