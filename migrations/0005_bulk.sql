-- The short way in for batches of one kind, which most are: docs/decisions/0005-where-the-time-goes.md has what it saves.

-- Enqueues a batch without keys whose jobs differ in id, payload and headers only, and whose values have been checked already.
-- The arrays run in parallel, one element a job; p_headers may be null as a whole, and hold nulls.
--   p_delay_ms  start no sooner than this many ms from now; p_run_at, if given, wins
-- Every job is created, or none: a repeat raises unique_violation while one of the jobs waits or runs.
create function faultline.enqueue_alike(
    p_ids uuid[], p_payloads jsonb[], p_headers jsonb[], p_queue text, p_kind text, p_priority smallint,
    p_delay_ms bigint, p_run_at timestamptz, p_max_attempts int, p_timeout_ms int,
    p_backoff_base_ms int, p_backoff_cap_ms int
) returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
begin
    insert into faultline.jobs (
        id, queue, kind, payload, headers, priority, created_at, next_run_at,
        max_attempts, timeout_ms, backoff_base_ms, backoff_cap_ms)
    select i.id, p_queue, p_kind, i.payload, i.headers, p_priority, i.now,
           greatest(p_run_at, i.now + p_delay_ms * interval '1 millisecond'),
           p_max_attempts, p_timeout_ms, p_backoff_base_ms, p_backoff_cap_ms
      from (select u.id, u.payload, u.headers, clock_timestamp() as now
              from unnest(p_ids, p_payloads, p_headers) as u(id, payload, headers)) as i;
end $$;

revoke all on function faultline.enqueue_alike(
    uuid[], jsonb[], jsonb[], text, text, smallint, bigint, timestamptz, int, int, int, int) from public;
