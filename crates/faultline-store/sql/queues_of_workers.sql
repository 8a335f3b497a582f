-- The queues of the workers $1 that have not said goodbye.
select distinct unnest(w.queues) from faultline.workers w where w.id = any ($1::uuid[]) and w.stopped_at is null
