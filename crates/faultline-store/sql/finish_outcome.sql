-- What became of jobs $1 under the leases $2, asked after a finish that did not move them: repeating
-- one's own finish is answered as the first time. One row for each pair that is known:
--   still held (state 'running'), ended under this lease (its terminal state), or put back under this
--   lease ('queued'). A pair that does not come back has lost its lease, also when the job was ended by a reap.
-- Plan: look-ups by id in each table, named twice as in complete.sql.
select j.id, j.lease_id, 'running' as state
  from unnest($1::uuid[], $2::uuid[]) as f(id, lease_id)
  join faultline.jobs j on j.id = any ($1::uuid[]) and j.id = f.id and j.lease_id = f.lease_id
union all
select h.id, h.lease_id, h.state::text
  from unnest($1::uuid[], $2::uuid[]) as f(id, lease_id)
  join faultline.job_history h on h.id = any ($1::uuid[]) and h.id = f.id and h.lease_id = f.lease_id
 where h.reason is null or h.reason not in ('crash_loop', 'worker_lost')
union all
select a.job_id, a.lease_id, 'queued'
  from unnest($1::uuid[], $2::uuid[]) as f(id, lease_id)
  join faultline.job_attempts a on a.job_id = any ($1::uuid[]) and a.job_id = f.id and a.lease_id = f.lease_id
 where a.outcome in ('failed', 'released', 'snoozed')
