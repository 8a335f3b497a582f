-- Resume queue $1. No row: it was not paused.
update faultline.queues set paused_at = null, paused_reason = null
 where name = $1 and paused_at is not null
returning name
