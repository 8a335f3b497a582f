-- Jobs that failed from $1 to $2, by queue, kind and error, of which $4 characters are told. Of more than $3 only the first $3 are
-- read; `times` is how many each of them stands for. Plan: ranges of job_history_unsuccessful_end.
with told as materialized (
    select h.id, h.finished_at, h.queue, h.kind, h.last_error
      from faultline.job_history h
     where h.state <> 'succeeded' and h.state = 'failed' and h.finished_at >= $1 and h.finished_at < $2
     order by h.finished_at
     limit $3
), total as materialized (
    select count(*) as jobs from faultline.job_history h
     where h.state <> 'succeeded' and h.state = 'failed' and h.finished_at >= $1 and h.finished_at < $2
)
select t.queue, t.kind, 'failed for good' as outcome, left(t.last_error, $4) as error, count(*) as attempts,
       min(t.finished_at) as first_at, max(t.finished_at) as last_at, (array_agg(t.id))[1] as example,
       greatest((select o.jobs from total o)::float8 / $3, 1) as times
  from told t
 group by 1, 2, 4
