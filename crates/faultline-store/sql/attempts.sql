-- The attempts of job $1 that did not end it, in order. Plan: look-ups by job id in each partition.
select attempt, outcome::text, charged, started_at, ended_at, next_run_at, lease_id, lease_owner, error
  from faultline.job_attempts
 where job_id = $1
 order by ended_at
 limit 1000
