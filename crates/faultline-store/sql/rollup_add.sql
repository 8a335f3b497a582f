-- Adds what was counted of the span that begins at $1, one element of $3.. for each queue ('' is all of them), to the rows of the widths
-- $2. Locks: the rows, in the order of their key.
insert into faultline.rollups as r (width_s, queue, at, enqueued, failed, cancelled, retried, lost, put_back)
select w.width_s, c.queue, date_bin(w.width_s * interval '1 second', $1::timestamptz, 'epoch'),
       c.enqueued, c.failed, c.cancelled, c.retried, c.lost, c.put_back
  from unnest($2::int[]) as w(width_s)
 cross join unnest($3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[])
       as c(queue, enqueued, failed, cancelled, retried, lost, put_back)
 order by w.width_s, c.queue collate "C", 3
on conflict (width_s, queue, at) do update
   set enqueued = r.enqueued + excluded.enqueued, failed = r.failed + excluded.failed,
       cancelled = r.cancelled + excluded.cancelled, retried = r.retried + excluded.retried,
       lost = r.lost + excluded.lost, put_back = r.put_back + excluded.put_back
