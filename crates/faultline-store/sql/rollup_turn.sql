-- Whose turn it is to count the next span of time, and which span that is: 10 seconds, or a minute where more than ten are left.
-- No row: another process is at it. `ready` is false before $1 ms have passed since the span's end, and while a transaction runs
-- that ran then and may still commit what belongs into it; that is waited for at most $2 ms, so that one which was
-- forgotten open does not stop the counting. What lies more than a day back is left out.
-- Reads and locks one row. A boundary that is not there yet is noted by rollup_note.sql.
with turn as materialized (
    select s.counted_to, greatest(s.counted_to, date_bin('1 minute', clock_timestamp() - interval '1 day', 'epoch')) as begins, s.boundary
      from faultline.rollup_state s
       for update skip locked
), span as (
    select t.counted_to, t.boundary, t.begins,
           t.begins + case when t.begins = date_bin('1 minute', t.begins, 'epoch')
                                and t.begins < clock_timestamp() - interval '10 minutes'
                           then interval '1 minute' else interval '10 seconds' end as ends
      from turn t
)
select s.begins, s.ends, s.boundary is not null as noted,
       clock_timestamp() >= s.ends as over,
       clock_timestamp() >= s.ends + $1::bigint * interval '1 millisecond'
           and (coalesce(s.boundary <= pg_snapshot_xmin(pg_current_snapshot()), false)
                or clock_timestamp() >= s.ends + ($1::bigint + $2::bigint) * interval '1 millisecond') as ready
  from span s
