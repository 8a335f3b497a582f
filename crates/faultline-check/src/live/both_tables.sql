-- Plan: look-ups by id in each partition.
, bad(job, what) as (
    select s.id, 'is ' || s.state || ' in jobs and ' || h.state || ' in job_history'
      from seen s join lateral (
        select h.state from faultline.job_history h where h.id = s.id limit 1) h on true
)
