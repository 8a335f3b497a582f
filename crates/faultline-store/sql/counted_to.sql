-- How far the rows have been counted, since when, and what time it is.
select s.began_at, s.counted_to, clock_timestamp() as now from faultline.rollup_state s
