-- Which of the jobs $1 are not in the hot table: ended, or unknown. A finish moves a row in one statement, so
-- that a job which has not ended is always seen here. Plan: one look-up by primary key for each id.
select w.id
  from unnest($1::uuid[]) as w(id)
 where not exists (select from faultline.jobs j where j.id = w.id)
