-- The partitions, by table and day: rows by the statistics and bytes. Those of the default partition have no day: rows are there only if
-- there was none for their day. At most $1. Plan: the catalog, and the files' sizes.
select p.relname::text as parent, c.relname::text as name,
       case when c.relname ~ '_[0-9]{8}$' then to_char(to_date(right(c.relname, 8), 'YYYYMMDD'), 'YYYY-MM-DD') end as day,
       coalesce(nullif(s.n_live_tup, 0), greatest(c.reltuples, 0)::bigint) as live_rows, pg_total_relation_size(c.oid) as bytes
  from pg_catalog.pg_inherits i
  join pg_catalog.pg_class c on c.oid = i.inhrelid
  join pg_catalog.pg_class p on p.oid = i.inhparent
  left join pg_catalog.pg_stat_all_tables s on s.relid = c.oid
 where p.relnamespace = 'faultline'::regnamespace and p.relkind = 'p'
 order by p.relname, c.relname
 limit $1
