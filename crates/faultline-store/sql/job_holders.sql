-- What is known of the workers $2, and who held job $1 when it ended: rows of workers first, at most one row of the ending.
-- Rows of workers are pruned some time after they are gone; the ending has what the history tells. Plan: look-ups by key.
select w.id, w.host, w.pid, w.heartbeat_at, w.lease_ttl_ms, null::uuid as lease_id
  from faultline.workers w
 where w.id = any ($2::uuid[])
    or w.id in (select h.lease_owner from faultline.job_history h where h.id = $1)
union all
select h.lease_owner, null, null, null, null, h.lease_id
  from faultline.job_history h
 where h.id = $1 and h.lease_owner is not null and h.lease_id is not null
