-- Enqueue one job through any driver: every value but the numbers as text. As enqueue.sql otherwise.
select id::text as id, created, conflict
  from faultline.enqueue_batch(
    array[$1::text::uuid], array[$2::text], array[$3::text], array[$4::text::jsonb], array[$5::text::jsonb],
    array[$6::text], array[$7::bigint], array[$8::smallint], array[$9::bigint], array[$10::text::timestamptz],
    array[$11::int], array[$12::int], array[$13::int], array[$14::int])
