-- The last attempts that were lost with their worker or whose lease expired, newest first, at most $2 of those among the last $1
-- attempts that did not end their job; when that worker was last heard of, and when the job started again.
-- Plan: job_attempts_end from its end, ended by the limit, in the partitions of the last day; then look-ups by id.
with recent as materialized (
    select a.job_id, a.ended_at, a.started_at, a.attempt, a.charged, a.outcome, a.lease_owner
      from (select * from faultline.job_attempts a
             where a.ended_at >= statement_timestamp() - interval '1 day'
             order by a.ended_at desc limit $1) a
     where a.outcome in ('lost', 'expired')
     limit $2
)
select r.job_id, r.ended_at, r.started_at, r.attempt, r.charged, r.outcome::text, r.lease_owner, w.heartbeat_at, w.host,
       j.queue, j.kind, j.state, coalesce(n.started_at, j.started_at) as resumed_at
  from recent r
  left join faultline.workers w on w.id = r.lease_owner
  left join lateral (
    (select j.queue, j.kind, j.state::text, j.started_at from faultline.jobs j where j.id = r.job_id)
    union all
    (select h.queue, h.kind, h.state::text, h.started_at from faultline.job_history h
      where h.id = r.job_id and h.finished_at >= r.ended_at limit 1)
    limit 1
  ) j on true
  left join lateral (
    select a.started_at from faultline.job_attempts a
     where a.job_id = r.job_id and a.ended_at > r.ended_at order by a.ended_at limit 1
  ) n on true
 order by r.ended_at desc
