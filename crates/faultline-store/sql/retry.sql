-- Retry by an operator of job $1. A finished job never changes: it gets a successor ($2) with
-- retry_of, the same one however often this is asked; a waiting one is moved to now.
-- One row: the state of the job as seen ('running' can't be retried; null: no such job), the id of
-- the job that will run, whether this call made or moved it, and whether the job changed under our feet
-- (claimed or cancelled while this waited for its row): then the answer is out of date, ask again.
-- Plan: look-ups by id.
with waiting as (
    update faultline.jobs j
       set next_run_at = clock_timestamp()
     where j.id = $1 and j.state = 'queued' and j.next_run_at > statement_timestamp()
    returning j.id
), finished as materialized (
    select h.* from faultline.job_history h where h.id = $1
), successor as (
    insert into faultline.idempotency_keys as k (queue, key, job_id, fingerprint, expires_at)
    select '$retry', f.id::text, $2, ''::bytea, statement_timestamp() + interval '1 year'
      from finished f
    on conflict (queue, key) do update set hits = least(k.hits, 2147483646) + 1
    returning k.job_id, k.hits
), inserted as (
    insert into faultline.jobs (
        id, queue, kind, payload, headers, priority, created_at, next_run_at, max_attempts,
        timeout_ms, backoff_base_ms, backoff_cap_ms, retry_of)
    select s.job_id, f.queue, f.kind, f.payload, f.headers, f.priority, clock_timestamp(),
           clock_timestamp(), f.max_attempts, f.timeout_ms, f.backoff_base_ms, f.backoff_cap_ms, f.id
      from finished f cross join successor s
     where s.hits = 0
)
select coalesce((select f.state from finished f), (select j.state from faultline.jobs j where j.id = $1))::text as state,
       coalesce((select s.job_id from successor s), $1) as id,
       exists (select from waiting) or exists (select from successor s where s.hits = 0) as changed,
       not exists (select from waiting)
           and exists (select from faultline.jobs j
                        where j.id = $1 and j.state = 'queued' and j.next_run_at > statement_timestamp()) as raced
