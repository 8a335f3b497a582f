-- One look at the queues $1, for an idle process: which have a due job waiting behind a worker's
-- back (`due`), in how many ms the next job becomes due (`next_due_in_ms`), or a lease at all (`running`) and who holds one that has expired (`expired`) among the first $2 visible rows of each
-- priority; and of the workers, the same in every row: whose session is gone (`absent`), how many have not
-- said goodbye and how many slots they have, which bounds what can be running; and who has not been back
-- since this server started (`not_back`).
-- Reads only. Plan: index scans of jobs_claim_order from its head, ended by the limit.
select q.name,
       coalesce(bool_or(c.state = 'queued'), false)
           and not exists (select from faultline.queues p where p.name = q.name and p.paused_at is not null) as due,
       coalesce(bool_or(c.state = 'running'), false) as running,
       coalesce(array_agg(distinct c.lease_owner)
                    filter (where c.state = 'running' and c.lease_expires_at < clock_timestamp()), '{}') as expired,
       (select min(extract(epoch from n.next_run_at - clock_timestamp()) * 1000)::bigint
          from (values (1::smallint), (2::smallint), (3::smallint), (4::smallint)) as p(priority)
         cross join lateral (
            select j.next_run_at
              from faultline.jobs j
             where j.queue = q.name and j.priority = p.priority and j.next_run_at > (select clock_timestamp())
             order by j.next_run_at, j.tie
             limit 1
         ) n) as next_due_in_ms,
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
  from unnest($1::text[]) as q(name)
  left join lateral (
    select j.state, j.lease_expires_at, j.lease_owner
      from (values (1::smallint), (2::smallint), (3::smallint), (4::smallint)) as p(priority)
     cross join lateral (
        select j.state, j.lease_expires_at, j.lease_owner
          from faultline.jobs j
         where j.queue = q.name
           and j.priority = p.priority
           and j.next_run_at <= (select clock_timestamp())
         order by j.next_run_at, j.tie
         limit $2
     ) j
  ) c on true
 group by q.name
