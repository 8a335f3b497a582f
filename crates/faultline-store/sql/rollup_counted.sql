-- Everything before $1 has been counted.
update faultline.rollup_state s set counted_to = $1, boundary = null where s.counted_to < $1
