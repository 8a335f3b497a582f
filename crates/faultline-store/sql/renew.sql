-- Renew leases of queue $1: jobs $2, each under its lease in $3, for $4 ms from now. A renewal
-- never shortens a lease, and one that has expired but was not reaped is renewed: the row and its
-- lease id decide, not the time.
-- A row that somebody else has locked is passed over, since waiting for it would cost every other job of this worker its lease:
-- a handler's transaction locks its job from complete_in to its commit, however long that takes. Nobody can reap it in that time either.
-- A row that does not come back is a lost lease, or one that was passed over: held.sql tells which. `cancel` asks the handler to stop.
-- Plan: primary key look-ups, then hash joins with the arguments; nested loops are off in the session that runs this. Naming the
-- ids once more with `any` keeps the planner from walking the whole table when it believes it to be empty, as a queue often is; `is true`
-- keeps the queue, which every hot statement names, from drawing in the claim order's index instead; heap-only. It waits for no row.
with mine as materialized (
    select j.id, j.lease_id
      from faultline.jobs j
      join unnest($2::uuid[], $3::uuid[]) as held(id, lease_id) on held.id = j.id and held.lease_id = j.lease_id
     where j.id = any ($2::uuid[])
       and (j.queue = $1) is true
       and j.state = 'running'
       for no key update of j skip locked
)
update faultline.jobs j
   set lease_expires_at = greatest(j.lease_expires_at, clock_timestamp() + $4::bigint * interval '1 millisecond')
  from mine
 where j.id = any ($2::uuid[])
   and j.id = mine.id
   and (j.queue = $1) is true
   and j.lease_id = mine.lease_id
   and j.state = 'running'
returning j.id, j.lease_id, j.cancel_requested_at is not null as cancel
