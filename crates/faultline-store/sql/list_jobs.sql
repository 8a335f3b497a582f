-- A page of jobs, newest first: ids are of version 7, so that their order is that of creation.
-- $1 queue, $2 kind, $3 states, $4 key: null means any. $5 continues behind an id. $6 jobs at most.
-- Two filters count as states here: 'scheduled' is queued for later, 'retrying' is queued with attempts made.
-- Plan: the id indexes merged in descending order, filtered as they are read. The session's
-- statement time-out bounds a filter that matches next to nothing in a long history.
select id, queue, kind, state::text, priority, payload, headers, key, attempts, max_attempts, crashes,
       next_run_at, created_at, started_at, finished_at, lease_id, lease_owner, lease_expires_at,
       cancel_requested_at, timeout_ms, backoff_base_ms, backoff_cap_ms, retry_of, reason, last_error, result
  from faultline.all_jobs
 where ($1::text is null or queue = $1)
   and ($2::text is null or kind = $2)
   and ($3::text[] is null or state::text = any ($3)
        or state = 'queued' and ('scheduled' = any ($3) and next_run_at > clock_timestamp()
                                 or 'retrying' = any ($3) and attempts > 0))
   and ($4::text is null or key = $4)
   and ($5::uuid is null or id < $5)
 order by id desc
 limit $6
