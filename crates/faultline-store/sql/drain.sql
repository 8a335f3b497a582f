-- Asks worker $1 to drain: it claims nothing more, ends what it runs and stops; it is told with its next sign of life.
-- No row: it has said goodbye, or was never there.
-- Plan: the primary key.
update faultline.workers set draining = true
 where id = $1 and stopped_at is null
returning id
