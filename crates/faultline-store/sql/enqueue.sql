-- Enqueue a batch; the statement itself is faultline.enqueue_batch (migrations/0002_functions.sql),
-- so that the library, the API and plain SQL share one definition.
-- Locks: idempotency keys in (queue, key) order. Answers one row a job, in order.
select ord, id, created, conflict, created_at, next_run_at
  from faultline.enqueue_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
