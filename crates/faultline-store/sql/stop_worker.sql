-- A worker says goodbye: from now on nobody waits for it.
update faultline.workers set stopped_at = clock_timestamp(), running = 0, presence_pid = null
 where id = $1 and stopped_at is null
