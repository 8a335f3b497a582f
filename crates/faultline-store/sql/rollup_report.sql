-- Report number $2 of process $1: what its handlers did within the last $3 ms, one element of $4 and $5 for each queue ('' is all of them),
-- and as many counts of $6 as it has buckets of start latency ($8), of $7 of execution time ($9).
-- A report that was taken before changes nothing, so that repeating one is safe. Locks: the rows, in the order of their key.
with taken as (
    insert into faultline.rollup_reports as p (process, number, reported_at)
    values ($1, $2, clock_timestamp())
    on conflict (process) do update set number = excluded.number, reported_at = excluded.reported_at
     where p.number < excluded.number
    returning p.reported_at
)
insert into faultline.rollups as r (width_s, queue, at, succeeded, start_latency, execution)
select w.width_s, c.queue,
       date_bin(w.width_s * interval '1 second', t.reported_at - $3::bigint * interval '0.5 milliseconds', 'epoch'), c.succeeded,
       ($6::bigint[])[(c.n - 1) * $8::bigint + 1 : c.n * $8::bigint],
       ($7::bigint[])[(c.n - 1) * $9::bigint + 1 : c.n * $9::bigint]
  from taken t
 cross join (values (10), (60), (600)) as w(width_s)
 cross join unnest($4::text[], $5::bigint[]) with ordinality as c(queue, succeeded, n)
 order by w.width_s, c.queue collate "C", 3
on conflict (width_s, queue, at) do update
   set succeeded = r.succeeded + excluded.succeeded,
       start_latency = faultline.add_counts(r.start_latency, excluded.start_latency),
       execution = faultline.add_counts(r.execution, excluded.execution)
