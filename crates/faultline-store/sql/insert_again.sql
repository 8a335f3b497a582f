-- The second try of an enqueue without a key whose first answer was lost, first half: the same ids,
-- skipping those that are there. Must be followed in the same transaction by enqueued_before.sql, whose
-- snapshot is newer: a job that ran and ended in between is in the history then, and the caller rolls back.
-- A first try that is still committing is waited for by the primary key.
insert into faultline.jobs (
    id, queue, kind, payload, headers, priority, created_at, next_run_at,
    max_attempts, timeout_ms, backoff_base_ms, backoff_cap_ms)
select i.id, i.queue, i.kind, i.payload, i.headers, i.priority, clock_timestamp(),
       greatest(i.run_at, clock_timestamp() + i.delay_ms * interval '1 millisecond'),
       i.max_attempts, i.timeout_ms, i.backoff_base_ms, i.backoff_cap_ms
  from unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[], $5::jsonb[], $6::smallint[], $7::bigint[],
              $8::timestamptz[], $9::int[], $10::int[], $11::int[], $12::int[])
       as i(id, queue, kind, payload, headers, priority, delay_ms,
            run_at, max_attempts, timeout_ms, backoff_base_ms, backoff_cap_ms)
on conflict (id) do nothing
