-- Which of the leases $3 of the jobs $2 in queue $1 are held, as far as can be seen without waiting: what a renewal passed over
-- since somebody else has locked it, and not what has lost its lease.
-- Plan: as renew.sql, without locks.
select j.id, j.lease_id
  from faultline.jobs j
  join unnest($2::uuid[], $3::uuid[]) as held(id, lease_id) on held.id = j.id and held.lease_id = j.lease_id
 where j.id = any ($2::uuid[])
   and (j.queue = $1) is true
   and j.state = 'running'
