-- A part of the failed jobs of a group of errors, in the order of their ends: of the $5 that ended other than well next after ($1, $2), and
-- not after $3, those that failed, of a kind in $4 where that is not empty, with what they said ($6 characters), and whether they
-- were retried; and the last one in any case, with `failed` false if it is none of them, so that the search can go on behind it.
-- Plan: a range of job_history_unsuccessful_end, ended by the limit; the keys of retries by primary key.
select f.id, f.finished_at, f.number, f.failed, left(f.last_error, $6) as error,
       f.failed and exists (
           select from faultline.idempotency_keys k where k.queue = '$retry' and k.key = f.id::text) as retried
  from (
    select w.id, w.finished_at, w.last_error, row_number() over () as number,
           w.state = 'failed' and (cardinality($4::text[]) = 0 or w.kind = any ($4)) as failed
      from (
        select h.id, h.finished_at, h.state, h.kind, h.last_error
          from faultline.job_history h
         where h.state <> 'succeeded' and h.finished_at >= $1 and h.finished_at <= $3
           and (h.finished_at, h.id) > ($1, $2::uuid)
         order by h.finished_at, h.id
         limit $5
      ) w
  ) f
 where f.failed or f.number = $5
