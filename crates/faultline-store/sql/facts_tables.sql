-- The tables: sizes in bytes, live and dead rows by the statistics, when vacuum and analyze were last there. A table with
-- partitions is told as their sum, with their number. Plan: the catalog, and the files' sizes; some dozen relations.
with relation as (
    select coalesce(p.relname, c.relname) as name, p.oid is not null as is_part, c.oid
      from pg_catalog.pg_class c
      left join pg_catalog.pg_inherits i on i.inhrelid = c.oid
      left join pg_catalog.pg_class p on p.oid = i.inhparent
     where c.relnamespace = 'faultline'::regnamespace and c.relkind = 'r'
)
select r.name::text, count(*) filter (where r.is_part) as partitions, sum(pg_table_size(r.oid))::bigint as table_bytes,
       sum(pg_indexes_size(r.oid))::bigint as index_bytes, coalesce(sum(s.n_live_tup), 0)::bigint as live_rows,
       coalesce(sum(s.n_dead_tup), 0)::bigint as dead_rows,
       max(greatest(s.last_vacuum, s.last_autovacuum)) as vacuumed_at, max(greatest(s.last_analyze, s.last_autoanalyze)) as analyzed_at
  from relation r
  left join pg_catalog.pg_stat_all_tables s on s.relid = r.oid
 group by r.name
 order by sum(pg_total_relation_size(r.oid)) desc
