-- One row at least: how many rows were looked at and how many of them are wrong, with the first hundred.
select (select count(*) from seen) as examined, (select count(*) from bad) as bad, b.job::text as job, b.what
  from (select) one left join (select * from bad limit 100) b on true
