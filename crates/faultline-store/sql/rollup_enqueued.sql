-- Jobs whose ids were made from $1 to $2, by queue, wherever they are by now. The time is cut into $3 slices, of each of which $4 rows of a
-- table are read at most; a slice that has more is taken to go on as it began.
-- Plan: range scans of the primary key of jobs, and of the index by id in the partitions of the history that may have them.
with slice as materialized (
    select s.n, s.begins, s.ends, faultline.uuid_at(s.begins) as lowest, faultline.uuid_at(s.ends) as beyond
      from (select n, $1::timestamptz + ($2::timestamptz - $1) * (n / $3::float8) as begins,
                   $1::timestamptz + ($2::timestamptz - $1) * ((n + 1) / $3::float8) as ends
              from generate_series(0, $3::bigint - 1) n) s
), seen as materialized (
    select s.n, s.begins, s.ends, false as ended, j.id, j.queue, j.number
      from slice s
     cross join lateral (
        select j.id, j.queue, row_number() over () as number
          from (select j.id, j.queue from faultline.jobs j
                 where j.id >= s.lowest and j.id < s.beyond order by j.id limit $4) j
     ) j
    union all
    select s.n, s.begins, s.ends, true, h.id, h.queue, h.number
      from slice s
     cross join lateral (
        select h.id, h.queue, row_number() over () as number
          from (select h.id, h.queue from faultline.job_history h
                 where h.id >= s.lowest and h.id < s.beyond and h.finished_at >= $1::timestamptz - interval '1 minute'
                 order by h.id limit $4) h
     ) h
), cut as (
    select s.n, s.ended,
           extract(epoch from s.ends - s.begins)
               / greatest(extract(epoch from faultline.time_of(s.id) - s.begins), 0.001) as times
      from seen s
     where s.number = $4
)
select s.queue, sum(greatest(coalesce(c.times, 1), 1))::bigint as jobs, bool_or(c.times > 1) is true as estimated
  from seen s
  left join cut c on c.n = s.n and c.ended = s.ended
 group by s.queue
