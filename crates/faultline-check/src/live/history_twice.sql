-- The first $1 rows that ended in the last $2 ms. Plan: the partitions of that time, ended by the limit; look-ups by id.
with seen as materialized (
    select h.id from faultline.job_history h
     where h.finished_at > statement_timestamp() - $2::bigint * interval '1 ms' limit $1
), bad(job, what) as (
    select distinct s.id, 'ended more than once'
      from seen s
     where (select count(*) from (select from faultline.job_history h where h.id = s.id limit 2) twice) > 1
)
