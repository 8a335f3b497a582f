-- Remove what nobody will ask for again: keys whose window is over and workers unheard of for a day,
-- at most $1 of each. A key stays for an hour longer than its window, so that the second try of an enqueue
-- whose answer was lost still finds it.
with old_keys as (
    select k.ctid as tid from faultline.idempotency_keys k
     where k.expires_at < clock_timestamp() - interval '1 hour' order by k.expires_at limit $1 for update skip locked
), keys as (
    delete from faultline.idempotency_keys k
     where k.ctid = any (array(select o.tid from old_keys o)) and k.expires_at < clock_timestamp() - interval '1 hour'
    returning 1
), old_workers as (
    select w.id from faultline.workers w
     where w.heartbeat_at < clock_timestamp() - interval '1 day' limit $1 for update skip locked
), workers as (
    delete from faultline.workers w
     where w.id in (select o.id from old_workers o) and w.heartbeat_at < clock_timestamp() - interval '1 day'
    returning 1
)
select (select count(*) from keys) as keys, (select count(*) from workers) as workers
