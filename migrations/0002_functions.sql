-- The functions for users: enqueue from any transaction, trigger or migration, cancel, and finish
-- a job inside one's own transaction. Nothing is granted to public:
--   grant usage on schema faultline to app;
--   grant execute on function faultline.enqueue to app;

-- A UUID of version 7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then random bits.
create function faultline.uuid_v7() returns uuid
language sql volatile parallel safe as $$
    select encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid())
                    placing substring(int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
                    from 1 for 6),
            52, 1), 53, 1), 'hex')::uuid
$$;

-- Enqueues a batch whose values have been checked already; every way in ends here.
-- The arrays run in parallel, one element a job; nulls are allowed in p_headers, p_keys, p_run_ats.
--   p_key_ttls_ms  how long a key stays taken, ms
--   p_delays_ms    start no sooner than this many ms from now; p_run_ats, where given, wins
-- Answers one row a job, `ord` counting from 1: the id under which the job is known, whether this
-- call created it, and whether its key is taken by another request (then nothing was created); for a
-- job that this call created its times as they were stored.
-- Locks: keys in (queue, key) order. Safe to repeat for keyed jobs, also when the key's window ends
-- between the tries; a repeat of one without a key raises unique_violation while the job waits or runs.
create function faultline.enqueue_batch(
    p_ids uuid[], p_queues text[], p_kinds text[], p_payloads jsonb[], p_headers jsonb[],
    p_keys text[], p_key_ttls_ms bigint[], p_priorities smallint[], p_delays_ms bigint[],
    p_run_ats timestamptz[], p_max_attempts int[], p_timeouts_ms int[],
    p_backoff_bases_ms int[], p_backoff_caps_ms int[]
) returns table (ord bigint, id uuid, created boolean, conflict boolean,
                 created_at timestamptz, next_run_at timestamptz)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    -- Fast path: no keys. cardinality() of what is left after the nulls are taken out.
    if cardinality(array_remove(p_keys, null)) = 0 then
        return query
        with input as materialized (
            select i.*, clock_timestamp() as now
              from unnest(p_ids, p_queues, p_kinds, p_payloads, p_headers, p_priorities, p_delays_ms,
                          p_run_ats, p_max_attempts, p_timeouts_ms, p_backoff_bases_ms,
                          p_backoff_caps_ms) with ordinality
                   as i(id, queue, kind, payload, headers, priority, delay_ms,
                        run_at, max_attempts, timeout_ms, backoff_base_ms, backoff_cap_ms, ord)
        ), inserted as (
            insert into faultline.jobs (
                id, queue, kind, payload, headers, priority, created_at, next_run_at,
                max_attempts, timeout_ms, backoff_base_ms, backoff_cap_ms)
            select i.id, i.queue, i.kind, i.payload, i.headers, i.priority, i.now,
                   greatest(i.run_at, i.now + i.delay_ms * interval '1 millisecond'),
                   i.max_attempts, i.timeout_ms, i.backoff_base_ms, i.backoff_cap_ms
              from input i
        )
        select i.ord, i.id, true, false, i.now,
               greatest(i.run_at, i.now + i.delay_ms * interval '1 millisecond')
          from input i;
        return;
    end if;

    return query
    with input as materialized (
        select i.*, clock_timestamp() as now,
               -- What makes two requests the same: everything that decides what will run and when,
               -- as it was asked for. Headers are left out: a retried request has another trace.
               case when i.key is not null then sha256(convert_to(jsonb_build_array(
                   i.kind, i.payload, i.priority, i.delay_ms, i.run_at, i.max_attempts,
                   i.timeout_ms, i.backoff_base_ms, i.backoff_cap_ms)::text, 'UTF8')) end as fingerprint
          from unnest(p_ids, p_queues, p_kinds, p_payloads, p_headers, p_keys, p_key_ttls_ms,
                      p_priorities, p_delays_ms, p_run_ats, p_max_attempts, p_timeouts_ms,
                      p_backoff_bases_ms, p_backoff_caps_ms) with ordinality
               as i(id, queue, kind, payload, headers, key, key_ttl_ms,
                    priority, delay_ms, run_at, max_attempts, timeout_ms,
                    backoff_base_ms, backoff_cap_ms, ord)
    ), first_of_key as materialized (
        select distinct on (i.queue, i.key) i.*
          from input i where i.key is not null order by i.queue, i.key, i.ord
    ), keys as (
        insert into faultline.idempotency_keys as k (queue, key, job_id, fingerprint, expires_at)
        select f.queue, f.key, f.id, f.fingerprint,
               statement_timestamp() + f.key_ttl_ms * interval '1 millisecond'
          from first_of_key f order by f.queue, f.key
        -- A window that has ended opens the key for another job, never for the same one again.
        on conflict (queue, key) do update set
            hits        = case when k.expires_at <= statement_timestamp() and k.job_id <> excluded.job_id
                               then 0 else least(k.hits, 2147483646) + 1 end,
            job_id      = case when k.expires_at <= statement_timestamp()
                               then excluded.job_id else k.job_id end,
            fingerprint = case when k.expires_at <= statement_timestamp()
                               then excluded.fingerprint else k.fingerprint end,
            expires_at  = case when k.expires_at <= statement_timestamp()
                               then excluded.expires_at else k.expires_at end
        returning k.queue, k.key, k.job_id, k.fingerprint, k.hits
    ), fresh as materialized (
        select i.*, k.job_id, k.fingerprint is distinct from i.fingerprint and i.key is not null as conflict,
               i.key is null or (k.job_id = i.id and k.hits = 0) as created
          from input i left join keys k on k.queue = i.queue and k.key = i.key
    ), inserted as (
        insert into faultline.jobs (
            id, queue, kind, payload, headers, key, priority, created_at, next_run_at,
            max_attempts, timeout_ms, backoff_base_ms, backoff_cap_ms)
        select f.id, f.queue, f.kind, f.payload, f.headers, f.key, f.priority, f.now,
               greatest(f.run_at, f.now + f.delay_ms * interval '1 millisecond'),
               f.max_attempts, f.timeout_ms, f.backoff_base_ms, f.backoff_cap_ms
          from fresh f where f.created
    )
    select f.ord, coalesce(f.job_id, f.id), f.created, f.conflict and not f.created,
           case when f.created then f.now end,
           case when f.created then greatest(f.run_at, f.now + f.delay_ms * interval '1 millisecond') end
      from fresh f order by f.ord;
end $$;

-- What is wrong with a document that jsonb can hold but that may be too large, or that common languages can't
-- read back; null if nothing is. The rules are those of crates/faultline-core/src/json.rs.
create function faultline.document_problem(document jsonb, max_bytes int) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
    written constant text := document::text;
begin
    -- The exact questions are asked only of a document that has enough brackets, or digits in a row.
    return case
        when octet_length(written) > max_bytes then format('must be at most %s bytes', max_bytes)
        when length(written) - length(translate(written, '[{', '')) > 100
             and jsonb_path_exists(document, 'strict $.**{100} ? (@.type() == "array" || @.type() == "object")') then
            'must not nest deeper than 100 levels'
        when strpos(translate(written, '123456789', '000000000'), repeat('0', 300)) > 0
             and jsonb_path_exists(document, 'strict $.** ? (@.type() == "number"
                     && (@ > 1.7976931348623157e308 || @ < -1.7976931348623157e308
                         || @ > 0 && @ < 1e-308 || @ < 0 && @ > -1e-308))') then
            'must not contain a number beyond the range of a double'
    end;
end $$;

-- Refuses a job whose values are out of bounds, naming the field: SQLSTATE 22023.
-- The bounds are those of the library and the API (crates/faultline-core/src/limits.rs; a test
-- holds the two equal).
create function faultline.check_job(
    kind text, payload jsonb, queue text, key text, key_ttl interval, priority int,
    delay interval, run_at timestamptz, max_attempts int, timeout interval,
    backoff_base interval, backoff_cap interval, headers jsonb
) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
    name_pattern constant text := '^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$';
    problem text;
begin
    problem := case
        when kind is null or kind !~ name_pattern then
            'kind: must be 1 to 128 of the characters A-Z a-z 0-9 . _ : / - and start with a letter or digit'
        when queue is null or queue !~ name_pattern then
            'queue: must be 1 to 128 of the characters A-Z a-z 0-9 . _ : / - and start with a letter or digit'
        when payload is null then 'payload: must not be null'
        when faultline.document_problem(payload, 1048576) is not null then
            'payload: ' || faultline.document_problem(payload, 1048576)
        when octet_length(key) not between 1 and 512 then 'key: must be 1 to 512 bytes'
        -- Not [[:cntrl:]], which is another set in each locale.
        when key ~ '[\u0001-\u001f\u007f-\u009f]' then 'key: must not contain control characters'
        when key_ttl is null or extract(epoch from key_ttl) not between 1 and 31536000 then
            'key_ttl: must be between 1 second and 365 days'
        when priority is null or priority not between 1 and 4 then 'priority: must be 1 to 4'
        when delay is not null and run_at is not null then 'run_at: delay and run_at exclude each other'
        when extract(epoch from delay) not between 0 and 31536000 then
            'delay: must be between 0 and 365 days'
        when run_at in ('infinity', '-infinity') or run_at < '2000-01-01 00:00:00+00' or run_at >= '2200-01-01 00:00:00+00' then
            'run_at: must be between the years 2000 and 2200'
        when max_attempts is null or max_attempts not between 1 and 100000 then
            'max_attempts: must be 1 to 100000'
        when timeout is null or extract(epoch from timeout) not between 0.001 and 604800 then
            'timeout: must be between 1 ms and 7 days'
        when backoff_base is null or extract(epoch from backoff_base) not between 0 and 86400 then
            'backoff.base: must be between 0 and 1 day'
        when backoff_cap is null or extract(epoch from backoff_cap) not between 0 and 604800 then
            'backoff.cap: must be between 0 and 7 days'
        when jsonb_typeof(headers) <> 'object' then 'headers: must be an object'
        when faultline.document_problem(headers, 8192) is not null then
            'headers: ' || faultline.document_problem(headers, 8192)
    end;
    if problem is not null then
        raise exception '%', problem using errcode = '22023', column = split_part(problem, ':', 1);
    end if;
end $$;

-- Enqueues one job in the caller's transaction and returns its id.
-- The id of a repeated key is that of the first job; a key that is taken by another request
-- raises SQLSTATE FLT01, a value out of bounds 22023.
create function faultline.enqueue(
    kind text, payload jsonb default '{}', queue text default 'default', key text default null,
    key_ttl interval default '24 hours', priority int default 2, delay interval default null,
    run_at timestamptz default null, max_attempts int default 20, timeout interval default '1 hour',
    backoff_base interval default '1 second', backoff_cap interval default '10 minutes',
    headers jsonb default null
) returns uuid
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
declare
    answer record;
begin
    perform faultline.check_job(kind, payload, queue, key, key_ttl, priority, delay, run_at,
                                max_attempts, timeout, backoff_base, backoff_cap, headers);
    select * into answer from faultline.enqueue_batch(
        array[faultline.uuid_v7()], array[queue], array[kind], array[payload], array[headers],
        array[key], array[faultline.ms(key_ttl)], array[priority::smallint],
        array[coalesce(faultline.ms(delay), 0)], array[run_at], array[max_attempts],
        array[faultline.ms(timeout)::int], array[faultline.ms(backoff_base)::int],
        array[faultline.ms(backoff_cap)::int]);
    if answer.conflict then
        raise exception 'key: is taken by another request (job %)', answer.id
            using errcode = 'FLT01', column = 'key', detail = answer.id::text;
    end if;
    return answer.id;
end $$;

-- Milliseconds of an interval; a day is 24 hours.
create function faultline.ms(i interval) returns bigint
language sql immutable parallel safe return (extract(epoch from i) * 1000)::bigint;

-- The fields of an element of faultline.enqueue_many, but the payload, which may be any JSON.
create type faultline.new_job as (
    kind text, queue text, key text, key_ttl interval, priority int, delay interval, run_at timestamptz,
    max_attempts int, timeout interval, backoff_base interval, backoff_cap interval, headers jsonb
);

-- Enqueues an array of objects with the fields of faultline.enqueue (intervals as text) in the
-- caller's transaction; one row a job, in order. A conflict raises FLT01 and names the element.
create function faultline.enqueue_many(jobs jsonb)
returns table (ord bigint, id uuid, created boolean)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    known constant text[] := array['kind', 'payload', 'queue', 'key', 'key_ttl', 'priority', 'delay',
        'run_at', 'max_attempts', 'timeout', 'backoff_base', 'backoff_cap', 'headers'];
    element record;
    job record;
    given faultline.new_job;
    unknown text;
    problem text;
    problem_field text;
    answer record;
    ids uuid[] := '{}'; queues text[] := '{}'; kinds text[] := '{}'; payloads jsonb[] := '{}';
    headers jsonb[] := '{}'; keys text[] := '{}'; key_ttls bigint[] := '{}';
    priorities smallint[] := '{}'; delays bigint[] := '{}'; run_ats timestamptz[] := '{}';
    max_attempts int[] := '{}'; timeouts int[] := '{}'; bases int[] := '{}'; caps int[] := '{}';
begin
    if jobs is null or jsonb_typeof(jobs) <> 'array' then
        raise exception 'jobs: must be an array of objects' using errcode = '22023', column = 'jobs';
    end if;
    if jsonb_array_length(jobs) > 10000 then
        raise exception 'jobs: must have at most 10000 elements' using errcode = '22023', column = 'jobs';
    end if;
    for element in select e.value, e.ordinality from jsonb_array_elements(jobs) with ordinality e loop
        if jsonb_typeof(element.value) <> 'object' then
            raise exception 'jobs[%]: must be an object', element.ordinality - 1
                using errcode = '22023', column = 'jobs';
        end if;
        select k into unknown from jsonb_object_keys(element.value) k where k <> all (known) limit 1;
        if unknown is not null then
            raise exception 'jobs[%].%: is not a field of a job', element.ordinality - 1, unknown
                using errcode = '22023', column = 'jobs';
        end if;
        begin
            given := jsonb_populate_record(null::faultline.new_job, element.value - 'payload');
            select given.kind, coalesce(element.value -> 'payload', '{}') as payload,
                   coalesce(given.queue, 'default') as queue, given.key,
                   coalesce(given.key_ttl, '24 hours') as key_ttl, coalesce(given.priority, 2) as priority,
                   given.delay, given.run_at, coalesce(given.max_attempts, 20) as max_attempts,
                   coalesce(given.timeout, '1 hour') as timeout,
                   coalesce(given.backoff_base, '1 second') as backoff_base,
                   coalesce(given.backoff_cap, '10 minutes') as backoff_cap,
                   nullif(given.headers, 'null') as headers
              into job;
            perform faultline.check_job(job.kind, job.payload, job.queue, job.key, job.key_ttl,
                job.priority, job.delay, job.run_at, job.max_attempts, job.timeout,
                job.backoff_base, job.backoff_cap, job.headers);
        exception when data_exception then
            get stacked diagnostics problem = message_text, problem_field = column_name;
            if problem_field = '' then
                problem := faultline.unreadable_field(element.value - 'payload') || ': ' || problem;
            end if;
            raise exception 'jobs[%].%', element.ordinality - 1, problem using errcode = '22023', column = 'jobs';
        end;
        ids := ids || faultline.uuid_v7(); queues := queues || job.queue; kinds := kinds || job.kind;
        payloads := array_append(payloads, job.payload); headers := array_append(headers, job.headers);
        keys := array_append(keys, job.key); key_ttls := key_ttls || faultline.ms(job.key_ttl);
        priorities := priorities || job.priority::smallint;
        delays := delays || coalesce(faultline.ms(job.delay), 0);
        run_ats := array_append(run_ats, job.run_at); max_attempts := max_attempts || job.max_attempts;
        timeouts := timeouts || faultline.ms(job.timeout)::int;
        bases := bases || faultline.ms(job.backoff_base)::int;
        caps := caps || faultline.ms(job.backoff_cap)::int;
    end loop;
    for answer in
        select b.ord, b.id, b.created, b.conflict from faultline.enqueue_batch(
            ids, queues, kinds, payloads, headers, keys, key_ttls, priorities, delays, run_ats,
            max_attempts, timeouts, bases, caps) b
    loop
        if answer.conflict then
            raise exception 'jobs[%].key: is taken by another request (job %)', answer.ord - 1, answer.id
                using errcode = 'FLT01', column = 'key', detail = answer.id::text;
        end if;
        ord := answer.ord; id := answer.id; created := answer.created;
        return next;
    end loop;
end $$;

-- The first field that cannot be read as its type.
create function faultline.unreadable_field(given jsonb) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
    field text;
begin
    for field in select jsonb_object_keys(given) loop
        begin
            perform jsonb_populate_record(null::faultline.new_job, jsonb_build_object(field, given -> field));
        exception when data_exception then
            return field;
        end;
    end loop;
    return null;
end $$;

-- Finishes a running job inside the caller's transaction: the caller's effects and the job's
-- success then commit together or not at all. Call it last, since it locks the job's row until
-- the transaction ends. Raises FLT02 when the lease is no longer held; the caller must roll back.
-- A result that can't be stored is replaced by a mark: the job has succeeded, whatever it returned.
create function faultline.complete_in_tx(job_id uuid, lease_id uuid, result jsonb default null)
returns void
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    problem constant text := faultline.document_problem(result, 1048576);
begin
    with gone as (
        delete from faultline.jobs j
         where j.id = complete_in_tx.job_id and j.lease_id = complete_in_tx.lease_id
           and j.state = 'running'
        returning j.*
    )
    insert into faultline.job_history (
        id, finished_at, created_at, next_run_at, started_at, lease_id, lease_owner, retry_of,
        max_attempts, timeout_ms, backoff_base_ms, backoff_cap_ms, attempts, crashes, state,
        priority, queue, kind, key, last_error, headers, payload, result)
    select g.id, clock_timestamp(), g.created_at, g.next_run_at, g.started_at, g.lease_id,
           g.lease_owner, g.retry_of, g.max_attempts, g.timeout_ms, g.backoff_base_ms,
           g.backoff_cap_ms, g.attempts, g.crashes, 'succeeded', g.priority, g.queue, g.kind, g.key,
           g.last_error, g.headers, g.payload,
           case when problem is null then complete_in_tx.result
                else jsonb_build_object('faultline_result_not_stored', problem,
                                        'bytes', octet_length(complete_in_tx.result::text),
                                        'head', left(complete_in_tx.result::text, 256)) end
      from gone g;
    if not found then
        raise exception 'the lease % of job % is no longer held', lease_id, job_id
            using errcode = 'FLT02';
    end if;
end $$;

-- Cancels a job: a queued one ends at once, a running one is asked to stop. Answers 'cancelled',
-- 'cancelling', 'finished' (it had ended already) or 'unknown'.
create function faultline.cancel(job_id uuid) returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    seen faultline.job_state;
begin
    -- The row lock holds what was seen until this transaction ends.
    select j.state into seen from faultline.jobs j where j.id = cancel.job_id for update;
    if seen = 'queued' then
        with gone as (
            delete from faultline.jobs j where j.id = cancel.job_id and j.state = 'queued' returning j.*
        )
        insert into faultline.job_history (
            id, finished_at, created_at, next_run_at, retry_of, max_attempts, timeout_ms,
            backoff_base_ms, backoff_cap_ms, attempts, crashes, state, priority, queue, kind, key,
            reason, last_error, headers, payload)
        select g.id, clock_timestamp(), g.created_at, g.next_run_at, g.retry_of, g.max_attempts,
               g.timeout_ms, g.backoff_base_ms, g.backoff_cap_ms, g.attempts, g.crashes, 'cancelled',
               g.priority, g.queue, g.kind, g.key, 'cancelled', g.last_error, g.headers, g.payload
          from gone g;
        return 'cancelled';
    elsif seen = 'running' then
        update faultline.jobs j set cancel_requested_at = coalesce(j.cancel_requested_at, clock_timestamp())
         where j.id = cancel.job_id and j.state = 'running';
        return 'cancelling';
    elsif exists (select from faultline.job_history h where h.id = cancel.job_id) then
        return 'finished';
    end if;
    return 'unknown';
end $$;

revoke all on all functions in schema faultline from public;
