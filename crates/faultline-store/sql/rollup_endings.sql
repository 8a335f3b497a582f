-- Jobs that ended from $1 to $2 other than well, by queue. Plan: a range of job_history_unsuccessful_end.
select h.queue, count(*) filter (where h.state = 'failed') as failed, count(*) filter (where h.state = 'cancelled') as cancelled
  from faultline.job_history h
 where h.state <> 'succeeded' and h.finished_at >= $1 and h.finished_at < $2
 group by h.queue
