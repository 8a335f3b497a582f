-- What happened in queue $2 ('' is all of them) from $3 to $4 by spans of $1 seconds; a span in which nothing did has no row.
-- Plan: a range of the primary key.
select r.at, r.enqueued, r.succeeded, r.failed, r.cancelled, r.retried, r.lost, r.put_back, r.start_latency, r.execution
  from faultline.rollups r
 where r.width_s = $1 and r.queue = $2 and r.at >= $3 and r.at < $4
 order by r.at
