-- The last $2 attempts of job $1 that did not end it, in order. Plan: look-ups by job id in each partition, then a sort of
-- all attempts of the job, of which there are at most 100,000.
select attempt, outcome::text, charged, started_at, ended_at, next_run_at, lease_id, lease_owner, error
  from (
    select a.*
      from faultline.job_attempts a
     where a.job_id = $1
     order by a.ended_at desc
     limit $2
  ) last
 order by ended_at
