-- The jobs that job $1 was retried as, and those that it is a retry of: `step` counts from it, below 0 what came before.
-- The successor is known by the key under which a retry is made (retry.sql), and forgotten with it.
-- Plan: one look-up by key and one by id in each partition for each job; at most 20 each way.
with recursive back(id, retry_of, step) as (
    select j.id, j.retry_of, 0 from faultline.all_jobs j where j.id = $1
    union all
    select j.id, j.retry_of, b.step - 1
      from back b
     cross join lateral (select j.id, j.retry_of from faultline.all_jobs j where j.id = b.retry_of limit 1) j
     where b.step > -20
), onward(id, step) as (
    select $1::uuid, 0
    union all
    select k.job_id, o.step + 1
      from onward o
     cross join lateral (
        select k.job_id from faultline.idempotency_keys k where k.queue = '$retry' and k.key = o.id::text limit 1) k
     where o.step < 20
), chain as (
    select b.id, b.step from back b where b.step < 0
    union all
    select o.id, o.step from onward o where o.step > 0
)
select c.id, c.step, j.state::text, j.created_at, j.finished_at
  from chain c
 cross join lateral (
    select j.state, j.created_at, j.finished_at from faultline.all_jobs j where j.id = c.id limit 1) j
 order by c.step
