-- The jobs that hold key $2 in the queues $1. Plan: one look-up by primary key a queue.
select k.job_id as id
  from unnest($1::text[]) as q(name)
 cross join lateral (
    select k.job_id from faultline.idempotency_keys k where k.queue = q.name and k.key = $2 limit 1) k
