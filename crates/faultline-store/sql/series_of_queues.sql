-- What happened in each queue from $2 to $3, from the rows of $1 seconds; at most $4 queues, those with the most events first.
-- Plan: a range of rollups_age.
select r.queue, sum(r.enqueued)::bigint as enqueued, sum(r.succeeded)::bigint as succeeded, sum(r.failed)::bigint as failed,
       sum(r.cancelled)::bigint as cancelled, sum(r.retried)::bigint as retried, sum(r.lost)::bigint as lost,
       sum(r.put_back)::bigint as put_back
  from faultline.rollups r
 where r.width_s = $1 and r.at >= $2 and r.at < $3 and r.queue <> ''
 group by r.queue
 order by sum(r.enqueued + r.succeeded + r.failed + r.retried + r.lost) desc
 limit $4
