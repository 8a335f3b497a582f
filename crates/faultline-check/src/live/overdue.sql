-- $2: the bound, ms. $3: what reapers hold off after a start of the database, ms.
, bad(job, what) as (
    select s.id, 'its lease ended at ' || s.lease_expires_at || ', and it was not reaped: is any worker or server of queue '
                 || s.queue || ' alive?'
      from seen s
     where s.state = 'running'
       and clock_timestamp() - greatest(s.lease_expires_at, pg_postmaster_start_time() + $3::bigint * interval '1 ms')
           > $2::bigint * interval '1 ms'
)
