-- The rows of the job tables as JSON lines: $1 the number of the sample, $2 whether with those that ended.
-- Each row of jobs comes with its last event in the same snapshot.
select json_build_object(
    'sample', $1, 'at_us', (extract(epoch from clock_timestamp()) * 1000000)::bigint,
    'job', r.id, 'state', r.state, 'attempts', r.attempts, 'max_attempts', r.max_attempts,
    'lease', r.lease_id, 'owner', r.lease_owner,
    'lease_expires_us', (extract(epoch from r.lease_expires_at) * 1000000)::bigint,
    'started_us', (extract(epoch from r.started_at) * 1000000)::bigint,
    'next_run_us', (extract(epoch from r.next_run_at) * 1000000)::bigint,
    'created_us', (extract(epoch from r.created_at) * 1000000)::bigint,
    'queue', r.queue, 'key', r.key, 'reason', r.reason, 'has_error', r.last_error is not null,
    'event_seq', (select max(e.seq) from faultline.job_events e where e.job_id = r.id))::text
  from (select id, queue, state, key, attempts, max_attempts, next_run_at, created_at, started_at, lease_id, lease_owner,
               lease_expires_at, null::text as reason, last_error
          from faultline.jobs
        union all
        select id, queue, state, key, attempts, max_attempts, next_run_at, created_at, started_at, lease_id, lease_owner,
               null, reason, last_error
          from faultline.job_history where $2) r
