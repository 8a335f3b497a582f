-- Rows of the head whose last event was written since the log has no gap. Plan: the log's primary key, from its end.
, bad(job, what) as (
    select s.id, 'is ' || s.state || ' after ' || s.attempts || ' attempts, but its last event says ' || e.to_state
                 || ' after ' || e.attempt
      from seen s
      join lateral (
        select * from faultline.job_events e where e.job_id = s.id order by e.seq desc limit 1) e on true
     where e.at > (select x.audit_on_since from faultline.settings x)
       and (s.state is distinct from e.to_state or s.attempts <> e.attempt
            or s.state = 'running' and (s.lease_id, s.lease_owner, s.lease_expires_at)
               is distinct from (e.lease_id, e.owner, e.lease_expires_at))
)
