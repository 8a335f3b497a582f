-- Thin out: 10 seconds are kept for 3 hours, minutes for 3 days, 10 minutes and errors as long as the history, reports of processes for a
-- day. At most $1 rows of each. Plan: ranges of the indexes by age, ended by the limit.
with keep as materialized (
    select statement_timestamp() as now, s.history_retention as retention from faultline.settings s
), old as materialized (
    select r.ctid as tid
      from (values (10, interval '3 hours'), (60, interval '3 days'), (600, null)) as w(width_s, age)
     cross join keep k
     cross join lateral (
        select r.ctid from faultline.rollups r
         where r.width_s = w.width_s and r.at < k.now - coalesce(w.age, k.retention)
         order by r.at limit $1) r
), rollups as (
    delete from faultline.rollups r where r.ctid = any (array(select o.tid from old o)) returning 1
), counts as (
    delete from faultline.error_counts c
     where c.ctid = any (array(select c.ctid from keep k cross join lateral (
        select c.ctid from faultline.error_counts c where c.at < k.now - k.retention order by c.at limit $1) c))
    returning 1
), groups as (
    delete from faultline.error_groups e
     where e.ctid = any (array(select e.ctid from keep k cross join lateral (
        select e.ctid from faultline.error_groups e where e.last_seen < k.now - k.retention order by e.last_seen limit $1) e))
       and e.last_seen < (select k.now - k.retention from keep k)
    returning 1
), reports as (
    delete from faultline.rollup_reports p
     where p.process in (select p.process from faultline.rollup_reports p, keep k where p.reported_at < k.now - interval '1 day' limit $1)
    returning 1
)
select (select count(*) from rollups) + (select count(*) from counts) + (select count(*) from groups)
     + (select count(*) from reports) as removed
