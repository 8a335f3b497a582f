-- Every queue that anything names: jobs (one index probe a queue), operators and live workers.
with recursive named(name) as (
    (select j.queue from faultline.jobs j order by j.queue limit 1)
    union all
    select (select j.queue from faultline.jobs j where j.queue > n.name order by j.queue limit 1)
      from named n where n.name is not null
)
select name from named where name is not null
union
select name from faultline.queues
union
select unnest(queues) from faultline.workers where stopped_at is null
order by 1
limit 10000
