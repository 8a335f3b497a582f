-- Everything before $1 has been counted. Where the next span is over already, as while an outage is caught up with, its boundary is
-- noted at once (rollup_note.sql).
update faultline.rollup_state s
   set counted_to = $1,
       boundary = case when $1::timestamptz + interval '10 seconds' <= clock_timestamp() then pg_current_xact_id() end
 where s.counted_to < $1
