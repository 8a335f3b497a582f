-- The indexes of the hot table: sizes in bytes, and how often they were used. Plan: the catalog.
select c.relname::text as name, pg_relation_size(c.oid) as bytes, coalesce(s.idx_scan, 0) as scans
  from pg_catalog.pg_index x
  join pg_catalog.pg_class c on c.oid = x.indexrelid
  left join pg_catalog.pg_stat_all_indexes s on s.indexrelid = c.oid
 where x.indrelid = 'faultline.jobs'::regclass
 order by c.relname
