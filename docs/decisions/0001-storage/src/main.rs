//! Measures storage designs for a job queue on PostgreSQL: how fast a claim/finish loop drains a
//! preloaded table, and how much WAL one job costs. One run measures one cell and prints one line.
//!
//! Usage: storage-spike DATABASE_URL [key=value ...]
//!
//!   design=e      a  one table, terminal state by update, partial indexes
//!                 b  hot table + history, partial indexes
//!                 c  narrow hot row + payload table + outcomes, partial indexes
//!                 d  hot table + history, HOT claims (one non-partial index), no floor
//!                 e  as d, the claim starts at the last claimed position (the floor)
//!                 f  as c, HOT claims, floor
//!   payload=100 clients=1 batch=500 jobs=200000
//!   limit=N       drain only the first N jobs (a backlog stays behind)
//!   held=1        a repeatable-read snapshot is held from before the load; the first half of the
//!                 jobs is processed under it, the rate is that of the rest; held=0 does the same
//!                 without the snapshot. batch2=N: the measured part uses another batch size
//!   join=ctid|array|id  how the claim's update finds the rows that its CTE locked: by an array of
//!                 ctids, by an array of ids, or by a join on id
//!   key=id|tie    the last column of the claim order: the id, or a random int column
//!   finish=join|any  how it finds the rows: joined with the arguments, or also `id = any($1)`
//!   stats=none|empty|drained  what the planner knows: nothing, an analyzed table without pages, or
//!                 pages without rows; analyze=1: analyzed after the load
//!   pins=session|local|none|generic|nodes  planner settings, per session or per transaction
//!   warm=1 (cached plans are made before the load)  floor=0|1  ff=45  commits=1|2 (per round trip)
//!   shared=1 (one floor for all clients)  sweep=0 (never look behind the floor)  hist=1 (a second
//!   index on the history)  seconds=10 (limit of the measured part)
//!   idle=1        the jobs lie in the future: times a claim that finds nothing
//!   clock=EXPR    what next_run_at is compared with, default statement_timestamp()
//!
//! It drops and creates the schema `spike` in that database.
mod cell;

use cell::Cell;
use futures_util::future::{join, join4, try_join_all};
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;
/// The last column of the claim order: the id, or a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tie {
    Head,
    Id(Uuid),
    Number(i32),
}
type Position = (SystemTime, Tie);
const HEAD: Position = (SystemTime::UNIX_EPOCH, Tie::Head);

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("set search_path = spike").await?;
    Ok(client)
}

/// What the clients of one phase share.
struct Phase {
    target: usize,
    deadline: Instant,
    batch: i64,
    claimed: AtomicUsize,
}

struct Worker {
    client: Client,
    cell: Cell,
    begin: String,
    claim: Statement,
    finish: Statement,
    owner: Uuid,
    floor: Arc<Mutex<Position>>,
    next_sweep: Instant,
}

impl Worker {
    async fn new(url: &str, cell: Cell, floor: Arc<Mutex<Position>>) -> Result<Worker> {
        let client = connect(url).await?;
        let local = cell.text("pins", "session") == "local";
        let set = |word: &str| cell.settings().iter().map(|s| format!("; {word} {s}")).collect::<String>();
        let begin = format!("begin{}", if local { set("set local") } else { String::new() });
        if !local {
            client.batch_execute(&set("set")).await?;
        }
        let (claim, finish) = (client.prepare(&cell.claim()).await?, client.prepare(&cell.finish()).await?);
        let mut worker =
            Worker { client, cell, begin, claim, finish, owner: Uuid::new_v4(), floor, next_sweep: Instant::now() };
        if worker.cell.on("warm") {
            for _ in 0..12 {
                worker.trip(&[], &[], HEAD, Uuid::new_v4(), 500).await?;
            }
        }
        worker.next_sweep = Instant::now() + Duration::from_secs(1);
        Ok(worker)
    }

    /// One round trip: finishes a batch, claims the next; returns ids and the last claimed position.
    async fn trip(
        &self,
        done: &[Uuid],
        leases: &[Uuid],
        from: Position,
        lease: Uuid,
        batch: i64,
    ) -> Result<(Vec<Uuid>, Position)> {
        let number = self.cell.key() != "id";
        let (id, tie) = match from.1 {
            Tie::Head => (Uuid::nil(), i32::MIN),
            Tie::Id(id) => (id, 0),
            Tie::Number(tie) => (Uuid::nil(), tie),
        };
        let key: &(dyn ToSql + Sync) = if number { &tie } else { &id };
        let (ours, wanted): ([&(dyn ToSql + Sync); 2], [&(dyn ToSql + Sync); 7]) =
            ([&done, &leases], [&"default", &2i16, &from.0, key, &batch, &lease, &self.owner]);
        let finish = self.client.execute(&self.finish, &ours);
        let claim = self.client.query(&self.claim, &wanted);
        let (finished, rows) = if self.cell.num("commits", 1) == 1 {
            let (begun, finished, rows, committed) =
                join4(self.client.batch_execute(&self.begin), finish, claim, self.client.batch_execute("commit")).await;
            begun.and(committed)?;
            (finished?, rows?)
        } else {
            let (finished, rows) = join(finish, claim).await;
            (finished?, rows?)
        };
        assert_eq!(finished as usize, done.len(), "a finish was refused");
        let mut last = from;
        let mut ids = Vec::with_capacity(rows.len());
        for row in &rows {
            let (id, payload): (Uuid, &str) = (row.get("id"), row.get("payload"));
            assert!(payload.starts_with('{'));
            let key = if number { Tie::Number(row.get("key")) } else { Tie::Id(row.get("key")) };
            last = last.max((row.get("next_run_at"), key));
            ids.push(id);
        }
        ids.sort_unstable();
        Ok((ids, last))
    }

    /// Claims and finishes until the target of all clients or the deadline is reached; returns the jobs done.
    async fn run(mut self, phase: Arc<Phase>) -> Result<(Worker, usize)> {
        let Phase { target, deadline, batch, claimed } = &*phase;
        let (mut held, mut leases, mut total) = (Vec::new(), Vec::new(), 0);
        loop {
            let over = claimed.load(Relaxed) >= *target || Instant::now() >= *deadline;
            let begun = Instant::now();
            let sweep = self.cell.floor() && self.cell.num("sweep", 1) == 1 && begun >= self.next_sweep;
            let from = if sweep { HEAD } else { *self.floor.lock().unwrap() };
            let lease = Uuid::new_v4();
            let (ids, last) = self.trip(&held, &leases, from, lease, if over { 0 } else { *batch }).await?;
            if sweep {
                // At most once a second, and at most 5 % of the time.
                self.next_sweep = Instant::now() + Duration::from_secs(1).max(begun.elapsed() * 20);
            }
            total += held.len();
            if over {
                return Ok((self, total));
            }
            if self.cell.floor() {
                let mut floor = self.floor.lock().unwrap();
                *floor = if ids.is_empty() { HEAD } else { last.max(*floor) };
            }
            claimed.fetch_add(ids.len(), Relaxed);
            leases = vec![lease; ids.len()];
            held = ids;
        }
    }
}

async fn phase(workers: Vec<Worker>, target: usize, seconds: usize, batch: usize) -> Result<(Vec<Worker>, usize, f64)> {
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs(seconds as u64);
    let shared = Arc::new(Phase { target, deadline, batch: batch as i64, claimed: AtomicUsize::new(0) });
    let tasks = workers.into_iter().map(|w| tokio::spawn(w.run(shared.clone())));
    let mut back = (Vec::new(), 0, 0.0);
    for answer in try_join_all(tasks).await? {
        let (worker, done) = answer?;
        back.0.push(worker);
        back.1 += done;
    }
    back.2 = begun.elapsed().as_secs_f64();
    Ok(back)
}

/// Loads the jobs in batches of 1000; the texts do not compress.
async fn load(client: &Client, cell: &Cell, jobs: usize) -> Result<f64> {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut letter = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"[(seed >> 40) as usize % 64] as char
    };
    let size = cell.num("payload", 100).saturating_sub(9);
    let payloads: Vec<String> =
        (0..1000).map(|_| format!("{{\"d\": \"{}\"}}", (0..size).map(|_| letter()).collect::<String>())).collect();
    let insert = client.prepare(&cell.enqueue()).await?;
    let begun = Instant::now();
    for start in (0..jobs).step_by(1000) {
        let count = 1000.min(jobs - start);
        let ids: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
        client.execute(&insert, &[&ids, &&payloads[..count]]).await?;
    }
    Ok(begun.elapsed().as_secs_f64())
}

async fn number(client: &Client, sql: &str) -> Result<f64> {
    Ok(client.query_one(&format!("select ({sql})::float8"), &[]).await?.get(0))
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or("usage: storage-spike DATABASE_URL [key=value ...]")?;
    let options: Vec<String> = args.collect();
    let cell = Cell::parse(&options)?;
    let (jobs, clients, batch) = (cell.num("jobs", 200_000), cell.num("clients", 1), cell.num("batch", 500));

    let admin = connect(&url).await?;
    admin.batch_execute(&format!("set client_min_messages = error; {}", cell.schema())).await?;
    admin.batch_execute("checkpoint").await?;
    let lsn = "pg_current_wal_lsn() - '0/0'::pg_lsn";
    let checkpoints = "select checkpoints_timed + checkpoints_req from pg_stat_bgwriter";
    let checkpoints_before = number(&admin, checkpoints).await?;
    let snapshot = connect(&url).await?;
    if cell.on("held") {
        snapshot.batch_execute("begin isolation level repeatable read; select count(*) from jobs").await?;
    }
    let floor = Arc::new(Mutex::new(HEAD));
    let floors = || if cell.on("shared") { floor.clone() } else { Arc::new(Mutex::new(HEAD)) };
    let mut workers = Vec::new();
    match cell.text("stats", "none") {
        "none" => {}
        "empty" => admin.batch_execute("vacuum analyze jobs").await?,
        _ => {
            load(&admin, &cell, 10_000).await?;
            for sql in ["delete from jobs", "vacuum (analyze, truncate off) jobs", "checkpoint"] {
                admin.batch_execute(sql).await?;
            }
        }
    }
    if cell.on("warm") {
        workers = try_join_all((0..clients).map(|_| Worker::new(&url, cell.clone(), floors()))).await?;
    }
    let start = number(&admin, lsn).await?;
    let load_time = load(&admin, &cell, jobs).await?;
    let loaded = number(&admin, lsn).await?;
    if cell.on("analyze") {
        admin.batch_execute("analyze jobs").await?;
    }
    if workers.is_empty() {
        workers = try_join_all((0..clients).map(|_| Worker::new(&url, cell.clone(), floors()))).await?;
    }
    if cell.on("idle") {
        let begun = Instant::now();
        for _ in 0..20 {
            let (ids, _) = workers[0].trip(&[], &[], HEAD, Uuid::new_v4(), batch as i64).await?;
            assert!(ids.is_empty());
        }
        println!("{}\tempty claim: {:.2} ms", options.join(" "), begun.elapsed().as_secs_f64() * 50.0);
        return Ok(());
    }
    let (mut before, mut batch2) = (0, batch);
    if !cell.text("held", "").is_empty() {
        (workers, before, _) = phase(workers, jobs / 2, 600, batch).await?;
        batch2 = cell.num("batch2", batch);
    }
    let rest = cell.num("limit", jobs) - before;
    let from = number(&admin, lsn).await?;
    let (workers, done, time) = phase(workers, rest, cell.num("seconds", 10), batch2).await?;
    let to = number(&admin, lsn).await?;
    drop((workers, snapshot));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let hot = number(
        &admin,
        "select 100.0 * n_tup_hot_upd / greatest(n_tup_upd, 1) from pg_stat_user_tables where schemaname = 'spike' and relname = 'jobs'",
    )
    .await?;
    let cps = number(&admin, checkpoints).await? - checkpoints_before;
    println!(
        "{}\tdrain {:.0}/s\tjobs {done}\tWAL {:.0} + {:.0} B\tenqueue {:.0}/s\tHOT {hot:.0} %\tcheckpoints {cps}",
        options.join(" "),
        done as f64 / time,
        (loaded - start) / jobs as f64,
        (to - from) / done as f64,
        jobs as f64 / load_time,
    );
    Ok(())
}
