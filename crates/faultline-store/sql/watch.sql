-- One look at some queues, for an idle process: one row for each queue $2 and priority $3 that is named, beginning right behind its
-- floor in ($4, $5). Of the first $1 visible rows there that are due: whether a job waits behind a worker's back (`due`) or a lease is
-- held at all (`running`), who holds one that has expired (`expired`), and where the first of them is, for the next look's floor
-- (`first_at`, `first_tie`; none where nothing is due). In how many ms the next job becomes due (`next_due_in_ms`).
-- And the same in every row: when this look began (`began_at`); of the workers, whose session is gone (`absent`), how many have not
-- said goodbye and how many slots they have, which bounds what can be running; and who has not been back
-- since this server started (`not_back`).
-- Reads only. Plan: index scans of jobs_claim_order that start at the floors, ended by the limit.
select f.name,
       f.priority,
       coalesce(bool_or(c.state = 'queued'), false)
           and not exists (select from faultline.queues p where p.name = f.name and p.paused_at is not null) as due,
       coalesce(bool_or(c.state = 'running'), false) as running,
       coalesce(array_agg(distinct c.lease_owner)
                    filter (where c.state = 'running' and c.lease_expires_at < clock_timestamp()), '{}') as expired,
       min(c.next_run_at) filter (where c.nth = 1) as first_at,
       min(c.tie) filter (where c.nth = 1) as first_tie,
       (select extract(epoch from n.next_run_at - clock_timestamp()) * 1000
          from (
            select j.next_run_at
              from faultline.jobs j
             where j.queue = f.name and j.priority = f.priority and j.next_run_at > (select clock_timestamp())
             order by j.next_run_at, j.tie
             limit 1
         ) n)::bigint as next_due_in_ms,
       statement_timestamp() as began_at,
       array(
           select w.id from faultline.workers w
            where w.stopped_at is null and w.presence_server = pg_postmaster_start_time()
              and not exists (
                   select from pg_catalog.pg_stat_activity a
                    where a.pid = w.presence_pid
                      and (a.backend_start is null or a.backend_start = w.presence_started_at))
       ) as absent,
       array(
           select w.id from faultline.workers w
            where w.stopped_at is null and w.presence_server <> pg_postmaster_start_time()
       ) as not_back,
       (select count(*) from faultline.workers w where w.stopped_at is null) as workers,
       (select coalesce(sum(w.slots), 0) from faultline.workers w where w.stopped_at is null) as slots
  from unnest($2::text[], $3::smallint[], $4::timestamptz[], $5::int[]) as f(name, priority, next_run_at, tie)
  left join lateral (
    select j.state, j.lease_expires_at, j.lease_owner, j.next_run_at, j.tie,
           row_number() over (order by j.next_run_at, j.tie) as nth
      from faultline.jobs j
     where j.queue = f.name
       and j.priority = f.priority
       and (j.next_run_at, j.tie) > (f.next_run_at, f.tie)
       and j.next_run_at <= (select clock_timestamp())
     order by j.next_run_at, j.tie
     limit $1
  ) c on true
 group by f.name, f.priority
