-- $history and $queued are replaced by numbers of rows. Run by the example seed_large, in a database without partitions of the past.
set synchronous_commit = off;
set jit = off;
-- Without statistics the first look at a million rows is planned for an empty table.
alter table faultline.job_history_default set (autovacuum_enabled = true);
do $partitions$
declare
    parent text;
    d date;
begin
    foreach parent in array array['job_history', 'job_attempts'] loop
        for d in select (clock_timestamp() at time zone 'utc')::date - n from generate_series(1, 13) n loop
            execute format('create table if not exists faultline.%I partition of faultline.%I for values from (%L) to (%L)',
                           parent || '_' || to_char(d, 'YYYYMMDD'), parent, d::text || ' 00:00+00', (d + 1)::text || ' 00:00+00');
        end loop;
    end loop;
end $partitions$;

create function pg_temp.id_at(at timestamptz) returns uuid language sql volatile as
    $$ select (left(faultline.uuid_at(at)::text, 14) || '7' || right(gen_random_uuid()::text, 21))::uuid $$;
create function pg_temp.error_of(n bigint) returns text language sql immutable as
    $$ select (array['connection to 10.0.0.%s:5432 refused', 'timeout after %sms', 'no such user %s', 'invalid address "u%s@example.org"',
                     'HTTP 502 from upstream %s', 'deadlock detected, process %s waits'])[1 + n % 6] $$;

-- Twelve days of jobs in ten queues, one of which has half of them; one in fifty failed, one in two hundred was cancelled.
insert into faultline.job_history (
    id, finished_at, created_at, next_run_at, started_at, lease_id, lease_owner, max_attempts, timeout_ms, backoff_base_ms,
    backoff_cap_ms, attempts, crashes, state, priority, queue, kind, key, reason, last_error, headers, payload, result)
select pg_temp.id_at(j.at), j.at + interval '2 seconds', j.at, j.at, j.at + interval '1 second', gen_random_uuid(), gen_random_uuid(), 20,
       3600000, 1000, 600000, 1, 0, j.state, 2, 'queue' || case when j.n % 2 = 0 then 0 else j.n % 10 end, 'kind' || j.n % 7,
       case when j.n % 20 = 0 then 'key-' || j.n end,
       case j.state when 'failed' then 'fatal' when 'cancelled' then 'cancelled' end,
       case when j.state = 'failed' then format(pg_temp.error_of(j.n / 50), j.n) end,
       case when j.n % 100 = 0 then '{"tenant": "acme"}'::jsonb end,
       jsonb_build_object('to', 'user' || j.n || '@example.org', 'subject', 'your order'), '{"ok": true}'
  from (select n, clock_timestamp() - interval '12 days' + n * (interval '12 days' / $history) as at,
               (case when n % 50 = 1 then 'failed' when n % 200 = 3 then 'cancelled' else 'succeeded' end)::faultline.job_state as state
          from generate_series(1, $history::bigint) n) j;

insert into faultline.job_attempts (job_id, ended_at, started_at, next_run_at, lease_id, lease_owner, attempt, charged, outcome, error)
select h.id, h.finished_at - interval '1 second', h.created_at, h.next_run_at, gen_random_uuid(), gen_random_uuid(), 1, true,
       (array['failed', 'failed', 'failed', 'expired', 'lost'])[1 + (random() * 4)::int]::faultline.attempt_outcome, h.last_error
  from faultline.job_history h where h.state = 'failed';

-- A backlog: nine in ten are due, the others scheduled or retrying; some run.
insert into faultline.jobs (
    id, queue, kind, payload, priority, created_at, next_run_at, max_attempts, timeout_ms, backoff_base_ms, backoff_cap_ms, attempts,
    state, lease_id, lease_owner, started_at, lease_expires_at, last_error)
select pg_temp.id_at(j.at), 'queue' || case when j.n % 2 = 0 then 0 else j.n % 10 end, 'kind' || j.n % 7,
       jsonb_build_object('to', 'user' || j.n || '@example.org'), 1 + j.n % 4, j.at,
       case when j.n % 10 = 0 then clock_timestamp() + interval '1 hour' + j.n * interval '1 second' else j.at end, 20, 3600000, 1000, 600000,
       case when j.runs then 1 when j.n % 20 = 0 then 1 else 0 end, (case when j.runs then 'running' else 'queued' end)::faultline.job_state,
       case when j.runs then gen_random_uuid() end, case when j.runs then gen_random_uuid() end, case when j.runs then clock_timestamp() end,
       case when j.runs then clock_timestamp() + interval '1 day' end,
       case when j.n % 20 = 0 then format(pg_temp.error_of(j.n), j.n) end
  from (select n, n <= 200 and n % 10 <> 0 as runs, clock_timestamp() - interval '1 hour' + n * (interval '1 hour' / $queued) as at
          from generate_series(1, $queued::bigint) n) j;

insert into faultline.workers (id, pid, slots, lease_ttl_ms, host, version, queues, kinds, running)
select gen_random_uuid(), n, 50, 86400000, 'host' || n, '0', array(select 'queue' || q from generate_series(0, 9) q), array['*'], 10
  from generate_series(1, 20) n;

insert into faultline.rollups (at, width_s, queue, enqueued, succeeded, failed, retried, start_latency, execution)
select date_bin(w.width_s * interval '1 second', now(), 'epoch') - n * w.width_s * interval '1 second', w.width_s, q.name, 100, 95, 2, 3,
       array[50, 20, 10, 5, 5, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0], array[10, 20, 30, 30, 5, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0]
  from (values (10, 1080), (60, 4320), (600, 1728)) as w(width_s, spans)
 cross join lateral generate_series(0, w.spans) n
 cross join (select '' as name union all select 'queue' || n from generate_series(0, 9) n) q;

insert into faultline.error_groups (fingerprint, first_seen, last_seen, occurrences, example_job, pattern, sample, kinds, queues)
select gen_random_uuid(), clock_timestamp() - interval '12 days', clock_timestamp() - n * interval '1 minute', 1000, gen_random_uuid(),
       'error of group N', 'error of group ' || n, array['kind1', 'kind2'], array['queue1']
  from generate_series(1, 2000) n;
insert into faultline.error_counts (at, failed, retried, fingerprint)
select date_bin('10 minutes', now(), 'epoch') - n * interval '10 minutes', 1, 5, e.fingerprint
  from (select fingerprint from faultline.error_groups order by last_seen desc limit 200) e cross join generate_series(0, 1000) n;

vacuum (analyze);
