-- The transition log as JSON lines, in order.
select json_build_object(
    'job', e.job_id, 'seq', e.seq, 'at_us', (extract(epoch from e.at) * 1000000)::bigint,
    'from', e.from_state, 'to', e.to_state, 'attempt', e.attempt, 'max_attempts', e.max_attempts,
    'owner', e.owner, 'lease', e.lease_id,
    'lease_expires_us', (extract(epoch from e.lease_expires_at) * 1000000)::bigint,
    'next_run_us', (extract(epoch from e.next_run_at) * 1000000)::bigint, 'reason', e.reason)::text
  from faultline.job_events e
 order by e.seq
