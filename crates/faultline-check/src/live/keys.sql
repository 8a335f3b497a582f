-- The first $1 keys that are taken. A job is missing when it is nowhere and, by the time in its id (a UUID of version 7), too
-- young for retention to have dropped it. Plan: look-ups by id.
with seen as materialized (
    select k.queue, k.job_id from faultline.idempotency_keys k where k.expires_at > clock_timestamp() limit $1
), bad(job, what) as (
    select s.job_id, 'is what a key of queue ' || s.queue || ' stands for, but it does not exist'
      from seen s
     where substr(s.job_id::text, 15, 1) = '7'
       and to_timestamp(('x' || lpad(replace(left(s.job_id::text, 13), '-', ''), 16, '0'))::bit(64)::bigint / 1000.0)
           > statement_timestamp() - (select history_retention from faultline.settings) + interval '1 day'
       and not exists (select from faultline.jobs j where j.id = s.job_id)
       and not exists (select from faultline.job_history h where h.id = s.job_id)
)
