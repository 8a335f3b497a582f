//! The supervisor's own looks at the database of a run: what the checker reads of it.

use crate::DrillError;
use crate::history::Lines;
use faultline_check::witness::{
    Effect, Event, JobRow, MetricsSample, QueueSample, Reason, Sample, SessionSample, State,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio_postgres::{Client, NoTls, Row};
use uuid::Uuid;

/// What the sessions of the drill itself call themselves: no fault is meant for them.
const SUPERVISOR: &str = "drill";
/// What a connection may take; beyond it the database counts as away.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Columns of a job's row, from `jobs` or `all_jobs` as `j`.
const ROW: &str = "j.id, j.state::text, j.attempts, j.max_attempts, j.lease_id, j.lease_owner,
    (extract(epoch from j.lease_expires_at) * 1000000)::bigint, (extract(epoch from j.started_at) * 1000000)::bigint,
    (extract(epoch from j.next_run_at) * 1000000)::bigint, (extract(epoch from j.created_at) * 1000000)::bigint,
    j.queue, j.key, j.last_error is not null,
    (select max(e.seq) from faultline.job_events e where e.job_id = j.id),
    (extract(epoch from clock_timestamp()) * 1000000)::bigint";

/// A session of the supervisor's.
pub(crate) async fn connect(url: &str) -> Result<Client, DrillError> {
    let mut config: tokio_postgres::Config = url.parse()?;
    config.application_name(SUPERVISOR);
    let connected = tokio::time::timeout(CONNECT_LIMIT, config.connect(NoTls)).await;
    let late = |_| DrillError::Process("the database does not answer".into());
    let (client, connection) = connected.map_err(late)??;
    tokio::spawn(connection);
    Ok(client)
}

/// The worker incarnation of a process, and whether it holds a job; none before it has registered.
pub(crate) async fn incarnation(client: &Client, pid: i32) -> Result<Option<(Uuid, bool)>, DrillError> {
    let sql = "select w.id, exists (select from faultline.jobs j where j.lease_owner = w.id)
                 from faultline.workers w where w.pid = $1 order by w.started_at desc limit 1";
    Ok(client.query_opt(sql, &[&pid]).await?.map(|row| (row.get(0), row.get(1))))
}

/// Whether a job succeeded under a lease; waits for a transaction that is still ending it.
pub(crate) async fn succeeded_under(client: &Client, job: Uuid, lease: Uuid) -> Result<bool, DrillError> {
    client.query("select from faultline.jobs where id = $1 for key share", &[&job]).await?;
    let sql =
        "select exists (select from faultline.job_history where id = $1 and lease_id = $2 and state = 'succeeded')";
    Ok(client.query_one(sql, &[&job, &lease]).await?.get(0))
}

/// Ends a session that is not the drill's own, or cancels its statement: the `pick`th, counted round. False where there is none.
pub(crate) async fn strike(client: &Client, cancel: bool, pick: u32) -> Result<bool, DrillError> {
    let sql = "select case when $2 then pg_cancel_backend(s.pid) else pg_terminate_backend(s.pid) end
                 from (select pid, row_number() over (order by pid) - 1 as n, count(*) over () as sessions
                         from pg_stat_activity
                        where datname = current_database() and application_name <> $1 and backend_type = 'client backend') s
                where s.n = $3::bigint % s.sessions";
    let struck = client.query_opt(sql, &[&SUPERVISOR, &cancel, &i64::from(pick)]).await?;
    Ok(struck.is_some_and(|row| row.get(0)))
}

/// What waits or runs.
pub(crate) async fn unfinished(client: &Client, queue: &str) -> Result<i64, DrillError> {
    Ok(client.query_one("select count(*) from faultline.jobs where queue = $1", &[&queue]).await?.get(0))
}

/// One snapshot of what waits and runs, and of sessions that sit in a transaction; and the port of the server.
pub(crate) async fn sample(client: &mut Client, number: u32, queue: &str) -> Result<(Vec<Sample>, i32), DrillError> {
    let isolation = tokio_postgres::IsolationLevel::RepeatableRead;
    let tx = client.build_transaction().isolation_level(isolation).read_only(true).start().await?;
    let jobs =
        tx.query(&format!("select {ROW}, null::text from faultline.jobs j where j.queue = $1"), &[&queue]).await?;
    let sessions =
        "select pid, application_name, (extract(epoch from clock_timestamp() - state_change) * 1000000)::bigint,
                           (extract(epoch from clock_timestamp()) * 1000000)::bigint
                      from pg_stat_activity where state like 'idle in transaction%' and datname = current_database() and application_name like 'faultline%'";
    let sessions = tx.query(sessions, &[]).await?;
    let port = tx.query_one("select coalesce(inet_server_port(), 0)", &[]).await?.get(0);
    let held = tx.query_one(XMIN_AGE, &[]).await?;
    let workers = tx.query(LIVE_WORKERS, &[]).await?;
    tx.commit().await?;
    let rows: Vec<JobRow> = jobs.iter().map(|row| job_row(row, number)).collect::<Result<_, _>>()?;
    let mut all = queues(&rows, &workers, number);
    all.extend(rows.into_iter().map(Sample::Job));
    all.extend(sessions.iter().map(|row| {
        let (pid, application, idle, at_us) = (row.get(0), row.get(1), row.get::<_, i64>(2), row.get(3));
        Sample::Session(SessionSample {
            sample: number,
            at_us,
            pid,
            application,
            idle_in_transaction_us: idle.max(0),
            leaked: false,
        })
    }));
    let (age_s, at_us): (f64, i64) = (held.get(0), held.get(1));
    if age_s > NOTABLE_AGE_S {
        let values = [("xmin_age_seconds".to_owned(), age_s)].into();
        let process = "database".to_owned();
        all.push(Sample::Metrics(MetricsSample { sample: number, at_us, process, answered: true, values }));
    }
    Ok((all, port))
}

/// How long the oldest snapshot has been held.
const XMIN_AGE: &str = "
    select coalesce(extract(epoch from max(clock_timestamp() - xact_start)), 0)::float8,
           (extract(epoch from clock_timestamp()) * 1000000)::bigint
      from pg_stat_activity where backend_xmin is not null and datname = current_database()";
/// Younger ones are everybody's.
const NOTABLE_AGE_S: f64 = 1.0;

/// Deadlocks that the database has ended since its statistics began.
pub(crate) async fn deadlocks(client: &Client) -> Result<u64, DrillError> {
    let sql = "select deadlocks from pg_stat_database where datname = current_database()";
    Ok(client.query_one(sql, &[]).await?.get::<_, i64>(0).unsigned_abs())
}

/// Workers that could claim: present, and heard of since a renewal was due. One that was stopped is not for long.
const LIVE_WORKERS: &str = "
    select w.id, w.slots, w.queues, (extract(epoch from clock_timestamp()) * 1000000)::bigint
      from faultline.workers w
     where w.stopped_at is null and not w.draining
       and w.heartbeat_at > clock_timestamp() - w.lease_ttl_ms / 3 * interval '1 millisecond' - interval '0.5 seconds'
       and exists (select from pg_stat_activity a where a.pid = w.presence_pid and a.backend_start = w.presence_started_at)
     limit 1000";

/// What could be claimed in each queue, and by how many slots; from the rows of the same snapshot. Workers of drills have one
/// queue each.
fn queues(rows: &[JobRow], workers: &[Row], number: u32) -> Vec<Sample> {
    let mut queues: BTreeMap<&str, QueueSample> = BTreeMap::new();
    for worker in workers {
        let Some(name) = worker.get::<_, Vec<&str>>(2).first().copied() else { continue };
        let (owner, slots, at_us): (Uuid, i32, i64) = (worker.get(0), worker.get(1), worker.get(3));
        let running = rows.iter().filter(|row| row.state == State::Running && row.owner == Some(owner)).count();
        let free = u64::try_from(slots).unwrap_or(0).saturating_sub(running as u64);
        let due = |row: &&JobRow| row.state == State::Queued && row.queue == name && row.next_run_us <= row.at_us;
        let queue = queues.entry(name).or_insert_with(|| QueueSample {
            sample: number,
            at_us,
            queue: name.to_owned(),
            claimable: rows.iter().filter(due).count() as u64,
            free_slots: 0,
        });
        queue.free_slots += free;
    }
    queues.into_values().map(Sample::Queue).collect()
}

/// Writes what the database knows at the end of a run; answers its clock.
pub(crate) async fn dump(client: &Client, dir: &Path, queue: &str) -> Result<i64, DrillError> {
    let written = DrillError::io("write a witness");
    let (events, end, effects) = (
        Lines::open(&dir.join("events.jsonl"), false)?,
        Lines::open(&dir.join("end.jsonl"), false)?,
        Lines::open(&dir.join("effects_tx.jsonl"), false)?,
    );
    let write = async || -> Result<std::io::Result<()>, DrillError> {
        for row in client.query(EVENTS, &[&queue]).await? {
            if let Err(error) = events.write(&event(&row)?) {
                return Ok(Err(error));
            }
        }
        for row in client
            .query(&format!("select {ROW}, j.reason from faultline.all_jobs j where j.queue = $1"), &[&queue])
            .await?
        {
            if let Err(error) = end.write(&job_row(&row, 0)?) {
                return Ok(Err(error));
            }
        }
        for row in client.query("select job, lease from faultline_drill.effects", &[]).await? {
            if let Err(error) = effects.write(&Effect { job: row.get(0), lease: row.get(1) }) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    };
    write().await?.map_err(written)?;
    let clock = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint";
    Ok(client.query_one(clock, &[]).await?.get(0))
}

const EVENTS: &str = "
    select job_id, seq, (extract(epoch from at) * 1000000)::bigint, from_state::text, to_state::text, attempt, max_attempts,
           owner, lease_id, (extract(epoch from lease_expires_at) * 1000000)::bigint,
           (extract(epoch from next_run_at) * 1000000)::bigint, reason
      from faultline.job_events where job_id in (select id from faultline.all_jobs where queue = $1) order by seq";

fn event(row: &Row) -> Result<Event, DrillError> {
    let known = |text: Option<&str>| text.map(state).transpose();
    Ok(Event {
        job: row.get(0),
        seq: row.get(1),
        at_us: row.get(2),
        from: known(row.get(3))?,
        to: known(row.get(4))?,
        attempt: row.get(5),
        max_attempts: row.get(6),
        owner: row.get(7),
        lease: row.get(8),
        lease_expires_us: row.get(9),
        next_run_us: row.get(10),
        reason: Reason::from(row.get::<_, String>(11)),
    })
}

fn job_row(row: &Row, number: u32) -> Result<JobRow, DrillError> {
    Ok(JobRow {
        sample: number,
        at_us: row.get(14),
        job: row.get(0),
        state: state(row.get(1))?,
        attempts: row.get(2),
        max_attempts: row.get(3),
        lease: row.get(4),
        owner: row.get(5),
        lease_expires_us: row.get(6),
        started_us: row.get(7),
        next_run_us: row.get(8),
        created_us: row.get(9),
        queue: row.get(10),
        key: row.get(11),
        has_error: row.get(12),
        event_seq: row.get(13),
        reason: row.get(15),
    })
}

fn state(text: &str) -> Result<State, DrillError> {
    let unknown = |_| DrillError::Witness(format!("a job is in the state {text}"));
    serde_json::from_value(serde_json::Value::from(text)).map_err(unknown)
}
