-- One job by id, wherever it lives. Plan: look-ups by id, one in each partition of the history.
select id, queue, kind, state::text, priority, payload, headers, key, attempts, max_attempts, crashes,
       next_run_at, created_at, started_at, finished_at, lease_id, lease_owner, lease_expires_at,
       cancel_requested_at, timeout_ms, backoff_base_ms, backoff_cap_ms, retry_of, reason, last_error, result
  from faultline.all_jobs
 where id = $1
