, bad(job, what) as (
    select s.id, case
        when s.state = 'running' then 'runs without a whole lease, or beyond its attempts'
        when s.state = 'queued' then 'waits, but holds part of a lease or has no attempt left'
        else 'is in jobs with the terminal state ' || s.state end
      from seen s
     where s.attempts < 0 or not case s.state
        when 'running' then s.lease_id is not null and s.lease_owner is not null and s.lease_expires_at is not null
                            and s.started_at is not null and s.attempts <= s.max_attempts
        when 'queued' then s.lease_id is null and s.lease_owner is null and s.lease_expires_at is null
                           and s.started_at is null and s.attempts < s.max_attempts
        else false end
)
