-- A worker's sign of life: $1 worker, $2 running jobs. Answers whether an operator asked it to drain.
-- No row: the worker's row was pruned, or others took it for dead; register again.
update faultline.workers w
   set heartbeat_at = clock_timestamp(), running = $2
 where w.id = $1 and w.stopped_at is null
returning w.draining
