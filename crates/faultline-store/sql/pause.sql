-- Pause queue $1 with the reason $2: claims stop at once, running jobs go on.
insert into faultline.queues as q (name, paused_at, paused_reason) values ($1, clock_timestamp(), $2)
on conflict (name) do update set
    paused_at = coalesce(q.paused_at, excluded.paused_at), paused_reason = excluded.paused_reason
returning paused_at, paused_reason
