-- Claim up to $3 due jobs under lease $4 of owner $5, from behind the floor ($1, $2), in order.
with due as materialized (
    select ctid from by_hand.jobs
     where queue = 'bench' and priority = 2 and (next_run_at, tie) > ($1, $2)
       and next_run_at <= statement_timestamp() and state = 'queued'
     order by next_run_at, tie limit $3 for update skip locked
)
update by_hand.jobs j
   set state = 'running', attempts = j.attempts + 1, lease_id = $4, lease_owner = $5, started_at = clock_timestamp(),
       lease_expires_at = clock_timestamp() + interval '15 s'
 where j.ctid = any (array(select ctid from due)) and j.state = 'queued'
returning j.id, j.kind, j.next_run_at, j.tie, j.attempts, j.max_attempts, j.payload
