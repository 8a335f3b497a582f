-- What the migrations make, as pg_dump writes it; a test keeps it so.
CREATE SCHEMA faultline;
CREATE TYPE faultline.attempt_outcome AS ENUM (
    'failed',
    'expired',
    'lost',
    'released',
    'snoozed'
);
CREATE TYPE faultline.job_state AS ENUM (
    'queued',
    'running',
    'succeeded',
    'failed',
    'cancelled'
);
CREATE TYPE faultline.new_job AS (
	kind text,
	queue text,
	key text,
	key_ttl interval,
	priority integer,
	delay interval,
	run_at timestamp with time zone,
	max_attempts integer,
	timeout interval,
	backoff_base interval,
	backoff_cap interval,
	headers jsonb
);
CREATE FUNCTION faultline.add_counts(a bigint[], b bigint[]) RETURNS bigint[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    select coalesce(array_agg(coalesce(s.a, 0) + coalesce(s.b, 0) order by s.n), '{}')
      from unnest(a, b) with ordinality as s(a, b, n)
$$;
CREATE FUNCTION faultline.audit_delete() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
declare
    recent constant timestamptz := statement_timestamp() - interval '1 day';
begin
    insert into faultline.job_events (
        job_id, at, from_state, to_state, attempt, max_attempts, owner, lease_id, lease_expires_at,
        next_run_at, reason)
    select o.id, clock_timestamp(), o.state, h.state, coalesce(h.attempts, o.attempts),
           o.max_attempts, o.lease_owner, o.lease_id, o.lease_expires_at, o.next_run_at,
           case when h.state is null then 'deleted'
                when h.state = 'succeeded' then coalesce(h.reason, 'completed')
                else coalesce(h.reason, 'unexplained') end
      from old_rows o
      left join lateral (
        select h.state, h.attempts, h.reason from faultline.job_history h
         where h.id = o.id and h.finished_at >= recent limit 1) h on true;
    return null;
end $$;
CREATE FUNCTION faultline.audit_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    insert into faultline.job_events (
        job_id, at, from_state, to_state, attempt, max_attempts, owner, lease_id, lease_expires_at,
        next_run_at, reason)
    select n.id, clock_timestamp(), null, n.state, n.attempts, n.max_attempts, n.lease_owner,
           n.lease_id, n.lease_expires_at, n.next_run_at, 'enqueued'
      from new_rows n;
    return null;
end $$;
CREATE FUNCTION faultline.audit_is_on() RETURNS boolean
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    select count(*) = 3 from pg_trigger t
     where t.tgrelid = 'faultline.jobs'::regclass and t.tgname like 'jobs\_audit\_%' and t.tgenabled <> 'D'
$$;
CREATE FUNCTION faultline.audit_off() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    SET client_min_messages TO 'warning'
    AS $$
begin
    drop trigger if exists jobs_audit_insert on faultline.jobs;
    drop trigger if exists jobs_audit_update on faultline.jobs;
    drop trigger if exists jobs_audit_delete on faultline.jobs;
    update faultline.settings set audit_on_since = null where audit_on_since is not null;
end $$;
CREATE FUNCTION faultline.audit_on() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
begin
    create or replace trigger jobs_audit_insert after insert on faultline.jobs
        referencing new table as new_rows
        for each statement execute function faultline.audit_insert();
    create or replace trigger jobs_audit_update after update on faultline.jobs
        referencing old table as old_rows new table as new_rows
        for each statement execute function faultline.audit_update();
    create or replace trigger jobs_audit_delete after delete on faultline.jobs
        referencing old table as old_rows
        for each statement execute function faultline.audit_delete();
    -- Whoever wrote to jobs before has ended, whoever will is waiting for us.
    update faultline.settings set audit_on_since = clock_timestamp() where audit_on_since is null;
end $$;
CREATE FUNCTION faultline.audit_update() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET enable_nestloop TO 'off'
    SET enable_mergejoin TO 'off'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
declare
    recent constant timestamptz := statement_timestamp() - interval '1 day';
begin
    insert into faultline.job_events (
        job_id, at, from_state, to_state, attempt, max_attempts, owner, lease_id, lease_expires_at,
        next_run_at, reason)
    select n.id, clock_timestamp(), o.state, n.state, n.attempts, n.max_attempts,
           coalesce(n.lease_owner, o.lease_owner), coalesce(n.lease_id, o.lease_id),
           coalesce(n.lease_expires_at, o.lease_expires_at), n.next_run_at,
           case when o.state = 'queued' and n.state = 'queued' then 'moved'
                when o.state = 'queued' then 'claimed'
                when n.state = 'queued' then coalesce((
                    select a.outcome::text from faultline.job_attempts a
                     where a.job_id = n.id and a.lease_id = o.lease_id and a.ended_at >= recent
                     limit 1), 'unexplained')
                when o.cancel_requested_at is null and n.cancel_requested_at is not null
                    then 'cancel_requested'
                else 'renewed'
           end
      from new_rows n
      join old_rows o on o.id = n.id;
    return null;
end $$;
CREATE FUNCTION faultline.cancel(job_id uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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
CREATE FUNCTION faultline.check_job(kind text, payload jsonb, queue text, key text, key_ttl interval, priority integer, delay interval, run_at timestamp with time zone, max_attempts integer, timeout interval, backoff_base interval, backoff_cap interval, headers jsonb) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
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
end $_$;
CREATE FUNCTION faultline.complete_in_tx(job_id uuid, lease_id uuid, result jsonb DEFAULT NULL::jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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
CREATE FUNCTION faultline.document_problem(document jsonb, max_bytes integer) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
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
end $_$;
CREATE FUNCTION faultline.enqueue(kind text, payload jsonb DEFAULT '{}'::jsonb, queue text DEFAULT 'default'::text, key text DEFAULT NULL::text, key_ttl interval DEFAULT '24:00:00'::interval, priority integer DEFAULT 2, delay interval DEFAULT NULL::interval, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, max_attempts integer DEFAULT 20, timeout interval DEFAULT '01:00:00'::interval, backoff_base interval DEFAULT '00:00:01'::interval, backoff_cap interval DEFAULT '00:10:00'::interval, headers jsonb DEFAULT NULL::jsonb) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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
CREATE FUNCTION faultline.enqueue_alike(p_ids uuid[], p_payloads jsonb[], p_headers jsonb[], p_queue text, p_kind text, p_priority smallint, p_delay_ms bigint, p_run_at timestamp with time zone, p_max_attempts integer, p_timeout_ms integer, p_backoff_base_ms integer, p_backoff_cap_ms integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
    insert into faultline.jobs (
        id, queue, kind, payload, headers, priority, created_at, next_run_at,
        max_attempts, timeout_ms, backoff_base_ms, backoff_cap_ms)
    select i.id, p_queue, p_kind, i.payload, i.headers, p_priority, i.now,
           greatest(p_run_at, i.now + p_delay_ms * interval '1 millisecond'),
           p_max_attempts, p_timeout_ms, p_backoff_base_ms, p_backoff_cap_ms
      from (select u.id, u.payload, u.headers, clock_timestamp() as now
              from unnest(p_ids, p_payloads, p_headers) as u(id, payload, headers)) as i;
end $$;
CREATE FUNCTION faultline.enqueue_batch(p_ids uuid[], p_queues text[], p_kinds text[], p_payloads jsonb[], p_headers jsonb[], p_keys text[], p_key_ttls_ms bigint[], p_priorities smallint[], p_delays_ms bigint[], p_run_ats timestamp with time zone[], p_max_attempts integer[], p_timeouts_ms integer[], p_backoff_bases_ms integer[], p_backoff_caps_ms integer[]) RETURNS TABLE(ord bigint, id uuid, created boolean, conflict boolean, created_at timestamp with time zone, next_run_at timestamp with time zone)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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
CREATE FUNCTION faultline.enqueue_many(jobs jsonb) RETURNS TABLE(ord bigint, id uuid, created boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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
CREATE FUNCTION faultline.maintain_partitions(ahead integer DEFAULT 7) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $_$
declare
    parent text;
    of_time text;
    d date;
    today date := (clock_timestamp() at time zone 'utc')::date;
    oldest date;
    child text;
    is_astray boolean;
begin
    if not pg_try_advisory_xact_lock(1179407436, 1) then
        return false;
    end if;
    select (clock_timestamp() at time zone 'utc' - s.history_retention)::date into oldest
      from faultline.settings s;
    foreach parent in array array['job_history', 'job_attempts'] loop
        of_time := case parent when 'job_history' then 'finished_at' else 'ended_at' end;
        for d in select today + n from generate_series(0, ahead) n loop
            child := format('%s_%s', parent, to_char(d, 'YYYYMMDD'));
            continue when to_regclass('faultline.' || child) is not null;
            -- Rows that came while no partition was there keep their day in the default one.
            execute format('select exists (select from faultline.%I where %I >= %L and %I < %L)',
                           parent || '_default', of_time, d::text || ' 00:00:00+00',
                           of_time, (d + 1)::text || ' 00:00:00+00')
               into is_astray;
            continue when is_astray;
            begin
                execute format(
                    'create table faultline.%I partition of faultline.%I for values from (%L) to (%L)',
                    child, parent, d::text || ' 00:00:00+00', (d + 1)::text || ' 00:00:00+00');
            exception
                when lock_not_available then return false;
                when check_violation then null; -- one more came astray at this very moment
            end;
        end loop;
        for child in
            select c.relname from pg_inherits i
              join pg_class c on c.oid = i.inhrelid
             where i.inhparent = ('faultline.' || parent)::regclass
               and c.relname ~ ('^' || parent || '_[0-9]{8}$')
               and to_date(right(c.relname, 8), 'YYYYMMDD') < oldest
        loop
            begin
                execute format('drop table faultline.%I', child);
            exception when lock_not_available then
                return false;
            end;
        end loop;
        execute format('delete from faultline.%I where %I < %L',
                       parent || '_default', of_time, oldest::text || ' 00:00:00+00');
    end loop;
    return true;
end $_$;
CREATE FUNCTION faultline.ms(i interval) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((EXTRACT(epoch FROM i) * (1000)::numeric))::bigint;
CREATE FUNCTION faultline.refuse_change_of_history() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    raise exception 'rows of % never change', tg_table_name using errcode = 'FLT03';
end $$;
CREATE FUNCTION faultline.refuse_illegal_transition() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    raise exception 'illegal transition of job %: % (attempt %, lease %) to % (attempt %, lease %)',
        old.id, old.state, old.attempts, old.lease_id, new.state, new.attempts, new.lease_id
        using errcode = 'FLT03';
end $$;
CREATE FUNCTION faultline.time_of(id uuid) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    select to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0)
$$;
CREATE FUNCTION faultline.unreadable_field(given jsonb) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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
CREATE FUNCTION faultline.uuid_at(at timestamp with time zone) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
    select (lpad(to_hex(greatest(floor(extract(epoch from at) * 1000), 0)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;
CREATE FUNCTION faultline.uuid_v7() RETURNS uuid
    LANGUAGE sql PARALLEL SAFE
    AS $$
    select encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid())
                    placing substring(int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
                    from 1 for 6),
            52, 1), 53, 1), 'hex')::uuid
$$;
CREATE TABLE faultline.job_history (
    id uuid NOT NULL,
    finished_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    next_run_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    lease_id uuid,
    lease_owner uuid,
    retry_of uuid,
    max_attempts integer NOT NULL,
    timeout_ms integer NOT NULL,
    backoff_base_ms integer NOT NULL,
    backoff_cap_ms integer NOT NULL,
    attempts integer NOT NULL,
    crashes integer NOT NULL,
    state faultline.job_state NOT NULL,
    priority smallint NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    key text COLLATE pg_catalog."C",
    reason text,
    last_error text,
    headers jsonb,
    payload jsonb NOT NULL,
    result jsonb,
    CONSTRAINT job_history_state_check CHECK ((state = ANY (ARRAY['succeeded'::faultline.job_state, 'failed'::faultline.job_state, 'cancelled'::faultline.job_state])))
)
PARTITION BY RANGE (finished_at);
CREATE TABLE faultline.jobs (
    id uuid NOT NULL,
    created_at timestamp with time zone NOT NULL,
    next_run_at timestamp with time zone NOT NULL,
    max_attempts integer NOT NULL,
    timeout_ms integer NOT NULL,
    backoff_base_ms integer NOT NULL,
    backoff_cap_ms integer NOT NULL,
    crashes integer DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    started_at timestamp with time zone,
    lease_expires_at timestamp with time zone,
    lease_id uuid,
    lease_owner uuid,
    cancel_requested_at timestamp with time zone,
    retry_of uuid,
    tie integer DEFAULT ((random() * (2147483647)::double precision))::integer NOT NULL,
    state faultline.job_state DEFAULT 'queued'::faultline.job_state NOT NULL,
    priority smallint NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    key text COLLATE pg_catalog."C",
    last_error text,
    headers jsonb,
    payload jsonb NOT NULL,
    CONSTRAINT jobs_attempts_are_bounded CHECK (((attempts >= 0) AND (crashes >= 0) AND
CASE
    WHEN (state = 'running'::faultline.job_state) THEN (attempts <= max_attempts)
    ELSE (attempts < max_attempts)
END)),
    CONSTRAINT jobs_lease_is_whole CHECK (
CASE
    WHEN (state = 'running'::faultline.job_state) THEN ((lease_id IS NOT NULL) AND (lease_owner IS NOT NULL) AND (lease_expires_at IS NOT NULL) AND (started_at IS NOT NULL))
    ELSE ((lease_id IS NULL) AND (lease_owner IS NULL) AND (lease_expires_at IS NULL) AND (started_at IS NULL) AND (cancel_requested_at IS NULL))
END),
    CONSTRAINT jobs_names_are_bounded CHECK ((((octet_length(queue) >= 1) AND (octet_length(queue) <= 128)) AND ((octet_length(kind) >= 1) AND (octet_length(kind) <= 128)) AND (octet_length(key) <= 512))),
    CONSTRAINT jobs_numbers_are_bounded CHECK ((((priority >= 1) AND (priority <= 4)) AND (timeout_ms > 0) AND (backoff_base_ms >= 0) AND (backoff_cap_ms >= 0))),
    CONSTRAINT jobs_state_is_not_terminal CHECK ((state = ANY (ARRAY['queued'::faultline.job_state, 'running'::faultline.job_state])))
)
WITH (fillfactor='45', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='5000', autovacuum_analyze_scale_factor='0.05', autovacuum_vacuum_insert_scale_factor='0.05', autovacuum_vacuum_cost_delay='0');
CREATE VIEW faultline.all_jobs AS
 SELECT jobs.id,
    jobs.queue,
    jobs.kind,
    jobs.state,
    jobs.priority,
    jobs.payload,
    jobs.headers,
    jobs.key,
    jobs.attempts,
    jobs.max_attempts,
    jobs.crashes,
    jobs.next_run_at,
    jobs.created_at,
    jobs.started_at,
    NULL::timestamp with time zone AS finished_at,
    jobs.lease_id,
    jobs.lease_owner,
    jobs.lease_expires_at,
    jobs.cancel_requested_at,
    jobs.timeout_ms,
    jobs.backoff_base_ms,
    jobs.backoff_cap_ms,
    jobs.retry_of,
    NULL::text AS reason,
    jobs.last_error,
    NULL::jsonb AS result
   FROM faultline.jobs
UNION ALL
 SELECT job_history.id,
    job_history.queue,
    job_history.kind,
    job_history.state,
    job_history.priority,
    job_history.payload,
    job_history.headers,
    job_history.key,
    job_history.attempts,
    job_history.max_attempts,
    job_history.crashes,
    job_history.next_run_at,
    job_history.created_at,
    job_history.started_at,
    job_history.finished_at,
    job_history.lease_id,
    job_history.lease_owner,
    NULL::timestamp with time zone AS lease_expires_at,
    NULL::timestamp with time zone AS cancel_requested_at,
    job_history.timeout_ms,
    job_history.backoff_base_ms,
    job_history.backoff_cap_ms,
    job_history.retry_of,
    job_history.reason,
    job_history.last_error,
    job_history.result
   FROM faultline.job_history;
CREATE TABLE faultline.api_tokens (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    revoked_at timestamp with time zone,
    name text NOT NULL,
    role text NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT api_tokens_name_check CHECK (((octet_length(name) >= 1) AND (octet_length(name) <= 128))),
    CONSTRAINT api_tokens_role_check CHECK ((role = ANY (ARRAY['read'::text, 'enqueue'::text, 'work'::text, 'operate'::text])))
);
CREATE TABLE faultline.audit_log (
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    detail text
);
CREATE TABLE faultline.error_counts (
    at timestamp with time zone NOT NULL,
    failed bigint DEFAULT 0 NOT NULL,
    retried bigint DEFAULT 0 NOT NULL,
    fingerprint uuid NOT NULL
)
WITH (fillfactor='70');
CREATE TABLE faultline.error_groups (
    fingerprint uuid NOT NULL,
    first_seen timestamp with time zone NOT NULL,
    last_seen timestamp with time zone NOT NULL,
    occurrences bigint NOT NULL,
    example_job uuid NOT NULL,
    pattern text NOT NULL,
    sample text NOT NULL,
    kinds text[] NOT NULL,
    queues text[] NOT NULL
)
WITH (fillfactor='70');
CREATE TABLE faultline.idempotency_keys (
    job_id uuid NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    hits integer DEFAULT 0 NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    fingerprint bytea NOT NULL
)
WITH (fillfactor='80');
CREATE TABLE faultline.job_attempts (
    job_id uuid NOT NULL,
    ended_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone NOT NULL,
    next_run_at timestamp with time zone NOT NULL,
    lease_id uuid NOT NULL,
    lease_owner uuid NOT NULL,
    attempt integer NOT NULL,
    charged boolean NOT NULL,
    outcome faultline.attempt_outcome NOT NULL,
    error text
)
PARTITION BY RANGE (ended_at);
CREATE TABLE faultline.job_attempts_default (
    job_id uuid NOT NULL,
    ended_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone NOT NULL,
    next_run_at timestamp with time zone NOT NULL,
    lease_id uuid NOT NULL,
    lease_owner uuid NOT NULL,
    attempt integer NOT NULL,
    charged boolean NOT NULL,
    outcome faultline.attempt_outcome NOT NULL,
    error text
);
CREATE TABLE faultline.job_events (
    job_id uuid NOT NULL,
    seq bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    from_state faultline.job_state,
    to_state faultline.job_state,
    attempt integer NOT NULL,
    max_attempts integer NOT NULL,
    owner uuid,
    lease_id uuid,
    lease_expires_at timestamp with time zone,
    next_run_at timestamp with time zone NOT NULL,
    reason text NOT NULL
);
ALTER TABLE faultline.job_events ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME faultline.job_events_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE faultline.job_history_default (
    id uuid NOT NULL,
    finished_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL,
    next_run_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    lease_id uuid,
    lease_owner uuid,
    retry_of uuid,
    max_attempts integer NOT NULL,
    timeout_ms integer NOT NULL,
    backoff_base_ms integer NOT NULL,
    backoff_cap_ms integer NOT NULL,
    attempts integer NOT NULL,
    crashes integer NOT NULL,
    state faultline.job_state NOT NULL,
    priority smallint NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    key text COLLATE pg_catalog."C",
    reason text,
    last_error text,
    headers jsonb,
    payload jsonb NOT NULL,
    result jsonb,
    CONSTRAINT job_history_state_check CHECK ((state = ANY (ARRAY['succeeded'::faultline.job_state, 'failed'::faultline.job_state, 'cancelled'::faultline.job_state])))
);
CREATE TABLE faultline.migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum bytea NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
CREATE TABLE faultline.queues (
    name text NOT NULL COLLATE pg_catalog."C",
    paused_at timestamp with time zone,
    paused_reason text,
    CONSTRAINT queues_name_check CHECK (((octet_length(name) >= 1) AND (octet_length(name) <= 128)))
);
CREATE TABLE faultline.rollup_reports (
    process uuid NOT NULL,
    number bigint NOT NULL,
    reported_at timestamp with time zone NOT NULL
)
WITH (fillfactor='70');
CREATE TABLE faultline.rollup_state (
    singleton boolean DEFAULT true NOT NULL,
    began_at timestamp with time zone NOT NULL,
    counted_to timestamp with time zone NOT NULL,
    boundary xid8,
    CONSTRAINT rollup_state_singleton_check CHECK (singleton)
)
WITH (fillfactor='50');
CREATE TABLE faultline.rollups (
    at timestamp with time zone NOT NULL,
    width_s integer NOT NULL,
    enqueued bigint DEFAULT 0 NOT NULL,
    succeeded bigint DEFAULT 0 NOT NULL,
    failed bigint DEFAULT 0 NOT NULL,
    cancelled bigint DEFAULT 0 NOT NULL,
    retried bigint DEFAULT 0 NOT NULL,
    lost bigint DEFAULT 0 NOT NULL,
    put_back bigint DEFAULT 0 NOT NULL,
    queue text NOT NULL COLLATE pg_catalog."C",
    start_latency bigint[] DEFAULT '{}'::bigint[] NOT NULL,
    execution bigint[] DEFAULT '{}'::bigint[] NOT NULL,
    CONSTRAINT rollups_width_s_check CHECK ((width_s = ANY (ARRAY[10, 60, 600])))
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.05');
CREATE TABLE faultline.settings (
    singleton boolean DEFAULT true NOT NULL,
    history_retention interval DEFAULT '14 days'::interval NOT NULL,
    audit_on_since timestamp with time zone,
    CONSTRAINT settings_history_retention_check CHECK ((history_retention >= '1 day'::interval)),
    CONSTRAINT settings_singleton_check CHECK (singleton)
);
CREATE TABLE faultline.workers (
    id uuid NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    stopped_at timestamp with time zone,
    draining boolean DEFAULT false NOT NULL,
    presence_pid integer,
    presence_started_at timestamp with time zone,
    presence_server timestamp with time zone,
    pid integer NOT NULL,
    slots integer NOT NULL,
    running integer DEFAULT 0 NOT NULL,
    lease_ttl_ms integer NOT NULL,
    host text NOT NULL,
    version text NOT NULL,
    queues text[] NOT NULL,
    kinds text[] NOT NULL
);
ALTER TABLE ONLY faultline.job_attempts ATTACH PARTITION faultline.job_attempts_default DEFAULT;
ALTER TABLE ONLY faultline.job_history ATTACH PARTITION faultline.job_history_default DEFAULT;
ALTER TABLE ONLY faultline.api_tokens
    ADD CONSTRAINT api_tokens_hash_key UNIQUE (hash);
ALTER TABLE ONLY faultline.api_tokens
    ADD CONSTRAINT api_tokens_name_key UNIQUE (name);
ALTER TABLE ONLY faultline.api_tokens
    ADD CONSTRAINT api_tokens_pkey PRIMARY KEY (id);
ALTER TABLE ONLY faultline.error_counts
    ADD CONSTRAINT error_counts_pkey PRIMARY KEY (fingerprint, at);
ALTER TABLE ONLY faultline.error_groups
    ADD CONSTRAINT error_groups_pkey PRIMARY KEY (fingerprint);
ALTER TABLE ONLY faultline.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (queue, key);
ALTER TABLE ONLY faultline.job_events
    ADD CONSTRAINT job_events_pkey PRIMARY KEY (job_id, seq);
ALTER TABLE ONLY faultline.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY faultline.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (version);
ALTER TABLE ONLY faultline.queues
    ADD CONSTRAINT queues_pkey PRIMARY KEY (name);
ALTER TABLE ONLY faultline.rollup_reports
    ADD CONSTRAINT rollup_reports_pkey PRIMARY KEY (process);
ALTER TABLE ONLY faultline.rollup_state
    ADD CONSTRAINT rollup_state_pkey PRIMARY KEY (singleton);
ALTER TABLE ONLY faultline.rollups
    ADD CONSTRAINT rollups_pkey PRIMARY KEY (width_s, queue, at);
ALTER TABLE ONLY faultline.settings
    ADD CONSTRAINT settings_pkey PRIMARY KEY (singleton);
ALTER TABLE ONLY faultline.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);
CREATE INDEX audit_log_at ON faultline.audit_log USING brin (at);
CREATE INDEX error_counts_at ON faultline.error_counts USING btree (at);
CREATE INDEX error_groups_last_seen ON faultline.error_groups USING btree (last_seen);
CREATE INDEX idempotency_keys_expiry ON faultline.idempotency_keys USING btree (expires_at);
CREATE INDEX job_attempts_end ON ONLY faultline.job_attempts USING btree (ended_at);
CREATE INDEX job_attempts_default_end ON faultline.job_attempts_default USING btree (ended_at);
CREATE INDEX job_attempts_job_id ON ONLY faultline.job_attempts USING btree (job_id);
CREATE INDEX job_attempts_default_job_id_idx ON faultline.job_attempts_default USING btree (job_id);
CREATE INDEX job_events_at ON faultline.job_events USING brin (at) WITH (pages_per_range='32');
CREATE INDEX job_history_id ON ONLY faultline.job_history USING btree (id);
CREATE INDEX job_history_default_id_idx ON faultline.job_history_default USING btree (id);
CREATE INDEX job_history_unsuccessful ON ONLY faultline.job_history USING btree (id) WHERE (state <> 'succeeded'::faultline.job_state);
CREATE INDEX job_history_default_id_idx1 ON faultline.job_history_default USING btree (id) WHERE (state <> 'succeeded'::faultline.job_state);
CREATE INDEX job_history_unsuccessful_end ON ONLY faultline.job_history USING btree (finished_at) WHERE (state <> 'succeeded'::faultline.job_state);
CREATE INDEX job_history_default_unsuccessful_end ON faultline.job_history_default USING btree (finished_at) WHERE (state <> 'succeeded'::faultline.job_state);
CREATE INDEX jobs_claim_order ON faultline.jobs USING btree (queue, priority, next_run_at, tie);
CREATE INDEX rollups_age ON faultline.rollups USING btree (width_s, at);
ALTER INDEX faultline.job_attempts_end ATTACH PARTITION faultline.job_attempts_default_end;
ALTER INDEX faultline.job_attempts_job_id ATTACH PARTITION faultline.job_attempts_default_job_id_idx;
ALTER INDEX faultline.job_history_id ATTACH PARTITION faultline.job_history_default_id_idx;
ALTER INDEX faultline.job_history_unsuccessful ATTACH PARTITION faultline.job_history_default_id_idx1;
ALTER INDEX faultline.job_history_unsuccessful_end ATTACH PARTITION faultline.job_history_default_unsuccessful_end;
CREATE TRIGGER job_attempts_refuse_update BEFORE UPDATE ON faultline.job_attempts FOR EACH ROW EXECUTE FUNCTION faultline.refuse_change_of_history();
CREATE TRIGGER job_history_refuse_update BEFORE UPDATE ON faultline.job_history FOR EACH ROW EXECUTE FUNCTION faultline.refuse_change_of_history();
CREATE TRIGGER jobs_refuse_illegal_transition BEFORE UPDATE ON faultline.jobs FOR EACH ROW WHEN ((NOT ((old.id = new.id) AND (old.queue = new.queue) AND (old.kind = new.kind) AND (old.created_at = new.created_at) AND
        CASE
            WHEN ((old.state = 'queued'::faultline.job_state) AND (new.state = 'queued'::faultline.job_state)) THEN (new.attempts = old.attempts)
            WHEN (old.state = 'queued'::faultline.job_state) THEN (new.attempts = (old.attempts + 1))
            WHEN (new.state = 'running'::faultline.job_state) THEN ((new.lease_id = old.lease_id) AND (new.lease_owner = old.lease_owner) AND (new.attempts = old.attempts) AND (new.started_at = old.started_at) AND (new.lease_expires_at >= old.lease_expires_at))
            ELSE ((new.attempts = old.attempts) OR (new.attempts = (old.attempts - 1)))
        END))) EXECUTE FUNCTION faultline.refuse_illegal_transition();
REVOKE ALL ON FUNCTION faultline.add_counts(a bigint[], b bigint[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.audit_delete() FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.audit_insert() FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.audit_is_on() FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.audit_off() FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.audit_on() FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.audit_update() FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.cancel(job_id uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.check_job(kind text, payload jsonb, queue text, key text, key_ttl interval, priority integer, delay interval, run_at timestamp with time zone, max_attempts integer, timeout interval, backoff_base interval, backoff_cap interval, headers jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.complete_in_tx(job_id uuid, lease_id uuid, result jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.document_problem(document jsonb, max_bytes integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.enqueue(kind text, payload jsonb, queue text, key text, key_ttl interval, priority integer, delay interval, run_at timestamp with time zone, max_attempts integer, timeout interval, backoff_base interval, backoff_cap interval, headers jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.enqueue_alike(p_ids uuid[], p_payloads jsonb[], p_headers jsonb[], p_queue text, p_kind text, p_priority smallint, p_delay_ms bigint, p_run_at timestamp with time zone, p_max_attempts integer, p_timeout_ms integer, p_backoff_base_ms integer, p_backoff_cap_ms integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.enqueue_batch(p_ids uuid[], p_queues text[], p_kinds text[], p_payloads jsonb[], p_headers jsonb[], p_keys text[], p_key_ttls_ms bigint[], p_priorities smallint[], p_delays_ms bigint[], p_run_ats timestamp with time zone[], p_max_attempts integer[], p_timeouts_ms integer[], p_backoff_bases_ms integer[], p_backoff_caps_ms integer[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.enqueue_many(jobs jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.maintain_partitions(ahead integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.ms(i interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.refuse_change_of_history() FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.refuse_illegal_transition() FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.time_of(id uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.unreadable_field(given jsonb) FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.uuid_at(at timestamp with time zone) FROM PUBLIC;
REVOKE ALL ON FUNCTION faultline.uuid_v7() FROM PUBLIC;
