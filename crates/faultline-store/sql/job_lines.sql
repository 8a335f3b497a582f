-- The jobs $1 without what they hold, to see again how far they are; those that are no longer kept are not among them.
-- $2: characters of an error. Plan: look-ups by id, in the jobs and in each partition of the history.
select j.id, j.queue, j.kind, j.state::text, j.priority, j.key, j.attempts, j.max_attempts, j.next_run_at, j.created_at,
       j.started_at, j.finished_at, j.lease_expires_at, j.cancel_requested_at is not null as cancel_requested, j.reason,
       left(j.last_error, $2) as last_error
  from faultline.all_jobs j
 where j.id = any ($1::uuid[])
