-- A part of a search for jobs, newest first: ids are of version 7, so that their order is that of creation. The $3 jobs next below the
-- id $1, none below the id $2, are looked at, and up to $4 that match come back, with `number` counting what was looked at; the
-- last that was looked at comes back as well, `matches` or not, so that the search can go on behind it.
-- $5 queue, $6 kind, $7 states, $8 key, $9 and $10 created from and before, $11 a header by name and $12 its value, $13 attempts
-- made at least, $14 a part of the last error in any case: null means any. Two filters count as states here: 'scheduled' is queued for later,
-- 'retrying' is queued with attempts made.
-- The text is used in some variants (src/list.rs): where the states allow it, with a condition in the place of /*only*/ that
-- leaves out the history, or of that the jobs that succeeded, or all but the jobs $15; and turned round, oldest first.
-- Plan: the id indexes merged in order, ended by the limits: what matches next to nothing reads $3 rows and no more.
select f.*
  from (
    select s.id, s.queue, s.kind, s.state::text, s.priority, s.payload, s.headers, s.key, s.attempts, s.max_attempts, s.crashes,
           s.next_run_at, s.created_at, s.started_at, s.finished_at, s.lease_id, s.lease_owner, s.lease_expires_at,
           s.cancel_requested_at, s.timeout_ms, s.backoff_base_ms, s.backoff_cap_ms, s.retry_of, s.reason, s.last_error,
           s.result, s.number,
           (($5::text is null or s.queue = $5)
            and ($6::text is null or s.kind = $6)
            and ($7::text[] is null or s.state::text = any ($7)
                 or s.state = 'queued' and ('scheduled' = any ($7) and s.next_run_at > clock_timestamp()
                                            or 'retrying' = any ($7) and s.attempts > 0))
            and ($8::text is null or s.key = $8)
            and ($9::timestamptz is null or s.created_at >= $9)
            and ($10::timestamptz is null or s.created_at < $10)
            and ($11::text is null
                 or $12::text is null and s.headers ? $11
                 or s.headers ->> $11 = $12
                 or jsonb_typeof(s.headers -> $11) = 'array' and s.headers -> $11 ? $12)
            and ($13::int is null or s.attempts >= $13)
            and ($14::text is null or strpos(lower(s.last_error), lower($14)) > 0)) is true as matches
      from (
        select w.*, row_number() over () as number
          from (
            select j.id, j.queue, j.kind, j.state, j.priority, j.payload, j.headers, j.key, j.attempts, j.max_attempts, j.crashes,
                   j.next_run_at, j.created_at, j.started_at, j.finished_at, j.lease_id, j.lease_owner, j.lease_expires_at,
                   j.cancel_requested_at, j.timeout_ms, j.backoff_base_ms, j.backoff_cap_ms, j.retry_of, j.reason, j.last_error,
                   j.result
              from faultline.all_jobs j
             where j.id < $1 and j.id >= $2 /*only*/
             order by j.id desc
             limit $3
          ) w
      ) s
  ) f
 where f.matches or f.number = $3
 limit $4
