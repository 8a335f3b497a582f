-- The first $1 events of the last $2 ms, since the log has no gap. Plan: the BRIN index on `at`.
with seen as materialized (
    select e.job_id, e.seq, e.from_state, e.to_state, e.reason
      from faultline.job_events e
     where e.at > statement_timestamp() - $2::bigint * interval '1 ms'
       and e.at > (select s.audit_on_since from faultline.settings s)
     limit $1
), bad(job, what) as (
    select s.job_id, 'event ' || s.seq || ' starts at ' || coalesce(s.from_state::text, 'nothing')
                     || ', but event ' || p.seq || ' ended at ' || coalesce(p.to_state::text, 'nothing')
      from seen s
      join lateral (
        select e.seq, e.to_state, e.at from faultline.job_events e
         where e.job_id = s.job_id and e.seq < s.seq order by e.seq desc limit 1) p on true
     where p.at > (select x.audit_on_since from faultline.settings x)
       and (s.from_state is distinct from p.to_state or p.to_state in ('succeeded', 'failed', 'cancelled'))
    union all
    select s.job_id, 'event ' || s.seq || ' is not a transition that exists: '
                     || coalesce(s.from_state::text, 'nothing') || ' to ' || coalesce(s.to_state::text, 'nothing')
                     || ' (' || s.reason || ')'
      from seen s where s.to_state is null or s.reason = 'unexplained'
)
