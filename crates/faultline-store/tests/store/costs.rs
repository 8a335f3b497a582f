//! What statements cost, counted and not timed: buffers of claim, renewal, finish and look beside many dead jobs that a snapshot keeps, and
//! the write-ahead log of a whole life.

use crate::common::{QUEUE, connect};
use faultline_cluster::{Cluster, Programs};
use faultline_store::{Database, Plans, Session, migrate};
use serde_json::Value;
use tokio_postgres::Client;

/// Dead jobs under the snapshot, in steps.
const DEAD: [i32; 2] = [200_000, 1_000_000];
/// Jobs that are alive behind them.
const ALIVE: i32 = 1000;
/// Jobs of one statement here.
const BATCH: i32 = 10;
/// Lives that are averaged: where pages end among ten rows is chance.
const LIVES: i32 = 40;
/// Buffers that a statement of ten jobs may touch, with no dead jobs and beside many: what was seen, and a tenth of it more. Under a
/// snapshot the version that a claim has left stays too, so that renewals, of every job here, fill the page and the next claim has to write
/// to the indexes as well; that is so from the first dead job on, however many there are.
const LIMITS: [(&str, i64, i64); 3] = [("claim", 64, 108), ("renew", 94, 147), ("complete", 73, 103)];
/// Rows that a reaper's look covers here, and the buffers that it may touch then: the same.
const LOOK_AT: i32 = 100;
const LOOK_BUFFERS: i64 = 41;

/// Bytes that one job of a batch of a thousand with a payload of 100 bytes may write to the log over its life, without full pages. The
/// budget is 1.2 KiB; these are what was seen, and a tenth of it more.
const ENQUEUE_WAL_BYTES: i64 = 480;
const CLAIM_WAL_BYTES: i64 = 240;
const COMPLETE_WAL_BYTES: i64 = 500;
const LIFE_WAL_BYTES: i64 = 1229;
/// A renewal, of which a long job has many, heap-only.
const RENEW_WAL_BYTES: i64 = 235;

/// A migrated cluster of its own: a transaction that is open anywhere in a cluster keeps versions of rows in every database of it, and
/// what statements cost here would depend on what other tests do.
struct Alone {
    cluster: Cluster,
    store: Database,
}

impl Alone {
    async fn start() -> Self {
        let cluster =
            Cluster::builder(Programs::find().unwrap()).durable(false).setting("autovacuum", "off").start().unwrap();
        let store = Database::new(&cluster.url("postgres"), "test", 60).unwrap();
        let alone = Self { cluster, store };
        migrate::migrate(&mut alone.plain().await).await.unwrap();
        alone
    }

    async fn plain(&self) -> Client {
        connect(&self.cluster.url("postgres")).await
    }

    async fn session(&self, plans: Plans) -> Session {
        self.store.session("test", plans).await.unwrap()
    }
}

/// Runs a statement and answers one number of its plan's top.
async fn explained(session: &Client, execute: &str) -> Value {
    let sql = format!("explain (analyze, buffers, wal, timing off, format json) {execute}");
    let messages = session.simple_query(&sql).await.unwrap();
    let row = messages.into_iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    let plan: Value = serde_json::from_str(&row.unwrap()).unwrap();
    plan[0]["Plan"].clone()
}

fn buffers(plan: &Value) -> i64 {
    plan["Shared Hit Blocks"].as_i64().unwrap() + plan["Shared Read Blocks"].as_i64().unwrap()
}

/// Without the images of full pages, which depend on when the last checkpoint was.
fn wal_bytes(plan: &Value) -> i64 {
    assert_eq!(plan["WAL FPI"].as_i64().unwrap(), 0, "full pages were logged: {plan}");
    plan["WAL Bytes"].as_i64().unwrap()
}

/// Sessions as the loops of a worker have them, with their statements prepared.
struct Loops {
    claim: Session,
    by_id: Session,
}

impl Loops {
    async fn open(db: &Alone) -> Self {
        let (claim, by_id) = (db.session(Plans::InOrder).await, db.session(Plans::ById).await);
        claim.batch_execute(&format!("prepare claim as {}", include_str!("../../sql/claim.sql"))).await.unwrap();
        claim.batch_execute(&format!("prepare watch as {}", include_str!("../../sql/watch.sql"))).await.unwrap();
        let prepare = format!(
            "prepare renew as {}; prepare complete as {}",
            include_str!("../../sql/renew.sql"),
            include_str!("../../sql/complete.sql")
        );
        by_id.batch_execute(&prepare).await.unwrap();
        Self { claim, by_id }
    }

    /// Claims, renews and completes; answers the three plans.
    async fn life(&self, plain: &Client, jobs: i32, floor: &str) -> [Value; 3] {
        let floors = format!(
            "array[1,2,3,4]::smallint[], array[{floor},{floor},{floor},{floor}]::timestamptz[], array[0,0,0,0]"
        );
        let claim = format!("execute claim('{QUEUE}', gen_random_uuid(), gen_random_uuid(), 600000, {jobs}, {floors})");
        let claimed = explained(&self.claim, &claim).await;
        let held = "select array_agg(id order by id)::text, array_agg(lease_id order by id)::text, count(*)::int4
                      from faultline.jobs where state = 'running'";
        let held = plain.query_one(held, &[]).await.unwrap();
        let (ids, leases, count): (String, String, i32) = (held.get(0), held.get(1), held.get(2));
        assert_eq!(count, jobs, "claimed");
        let renewed = explained(&self.by_id, &format!("execute renew('{QUEUE}', '{ids}', '{leases}', 700000)")).await;
        let results = format!("array_fill('1'::jsonb, array[{jobs}])");
        let completed =
            explained(&self.by_id, &format!("execute complete('{QUEUE}', '{ids}', '{leases}', {results})")).await;
        let ended: i64 = plain.query_one("select count(*) from faultline.job_history", &[]).await.unwrap().get(0);
        assert!(ended >= i64::from(jobs), "completed");
        [claimed, renewed, completed]
    }

    /// The buffers that a reaper's look touches which begins before the first job that is there.
    async fn look_buffers(&self, plain: &Client) -> i64 {
        let first = "select min(next_run_at)::text from faultline.jobs";
        let first: String = plain.query_one(first, &[]).await.unwrap().get(0);
        let floors = format!(
            "array_fill('{QUEUE}'::text, array[4]), array[1,2,3,4]::smallint[],
             array_fill('{first}'::timestamptz, array[4]), array_fill(-1, array[4])"
        );
        buffers(&explained(&self.claim, &format!("execute watch({LOOK_AT}, {floors})")).await)
    }

    /// The buffers that a claim, a renewal and a completion of [`BATCH`] jobs touch, on average. The floor goes along as a worker's
    /// does: nothing that can be claimed is before it.
    async fn buffers(&self, plain: &Client) -> [i64; 3] {
        let mut sums = [0; 3];
        for _ in 0..LIVES {
            let first = "select min(next_run_at)::text from faultline.jobs";
            let first: String = plain.query_one(first, &[]).await.unwrap().get(0);
            for (sum, plan) in sums.iter_mut().zip(self.life(plain, BATCH, &format!("'{first}'")).await) {
                *sum += buffers(&plan);
            }
        }
        sums.map(|sum| sum / i64::from(LIVES))
    }
}

/// Makes jobs that are due, each some µs after the last one, behind all that were made before.
async fn fill(plain: &Client, jobs: i32) {
    let sql = "insert into faultline.jobs (id, queue, kind, payload, priority, created_at, next_run_at, max_attempts, timeout_ms,
                   backoff_base_ms, backoff_cap_ms)
               select faultline.uuid_v7(), $2, 'k', '{}', 2, now(), clock_timestamp(), 20, 1000, 1000, 1000
                 from generate_series(1, $1)";
    plain.execute(sql, &[&jobs, &QUEUE]).await.unwrap();
}

#[tokio::test]
async fn claim_renewal_finish_and_look_touch_as_few_buffers_beside_many_dead_jobs_under_a_snapshot() {
    let db = Alone::start().await;
    let plain = db.plain().await;
    let loops = Loops::open(&db).await;
    fill(&plain, ALIVE).await;
    let fresh = loops.buffers(&plain).await;
    let mut looks = vec![loops.look_buffers(&plain).await];

    let holder = db.plain().await;
    holder.batch_execute("begin isolation level repeatable read; select count(*) from faultline.jobs").await.unwrap();
    let mut made = 0;
    for dead in DEAD {
        fill(&plain, dead - made).await;
        made = dead;
        plain.batch_execute("delete from faultline.jobs").await.unwrap();
        fill(&plain, ALIVE).await;
        let beside_dead = loops.buffers(&plain).await;
        looks.push(loops.look_buffers(&plain).await);

        for (((what, limit, limit_beside), fresh), beside) in LIMITS.into_iter().zip(fresh).zip(beside_dead) {
            println!("{what}: {fresh} buffers, {beside} beside {dead} dead jobs");
            assert!((1..=limit).contains(&fresh), "{what}: {fresh} buffers");
            assert!((1..=limit_beside).contains(&beside), "{what}: {beside} buffers beside {dead} dead jobs");
        }
    }
    println!("a look: {looks:?} buffers");
    assert!(looks.iter().all(|look| (1..=LOOK_BUFFERS).contains(look)), "a look: {looks:?} buffers");
    let is_kept: i64 = holder.query_one("select count(*) from faultline.jobs", &[]).await.unwrap().get(0);
    assert_eq!(is_kept, i64::from(ALIVE - LIVES * BATCH), "the snapshot is held");
}

#[tokio::test]
async fn a_job_writes_little_log_over_its_whole_life() {
    const JOBS: i32 = 1000;
    let db = Alone::start().await;
    let (plain, pool) = (db.plain().await, db.session(Plans::Free).await);
    let loops = Loops::open(&db).await;
    pool.batch_execute(&format!("prepare enqueue as {}", include_str!("../../sql/enqueue.sql"))).await.unwrap();
    let same = |value: &str| format!("array_fill({value}, array[{JOBS}])");
    // Two hashes and a half in hexadecimal, of which the log has every byte: payloads of a hundred bytes of JSON.
    let made = "select array_agg(faultline.uuid_v7())::text, array_agg(jsonb_build_object(
                    'pad', substr(md5(n::text) || md5((-n)::text) || md5((n + 7)::text), 1, 90)))::text
                  from generate_series(1, $1) n";
    let enqueue = async || {
        let made = plain.query_one(made, &[&JOBS]).await.unwrap();
        let (ids, payloads): (String, String) = (made.get(0), made.get(1));
        let execute = format!(
            "execute enqueue('{ids}', {}, {}, '{payloads}', {}, {}, {}, {}, {}, {}, {}, {}, {}, {})",
            same(&format!("'{QUEUE}'::text")),
            same("'k'::text"),
            same("null::jsonb"),
            same("null::text"),
            same("86400000::bigint"),
            same("2::smallint"),
            same("0::bigint"),
            same("null::timestamptz"),
            same("20"),
            same("3600000"),
            same("1000"),
            same("3600000"),
        );
        explained(&pool, &execute).await
    };
    // The first of each pays for what a table and its indexes begin with.
    enqueue().await;
    loops.life(&plain, JOBS, "'1970-01-01'").await;
    let enqueued = wal_bytes(&enqueue().await) / i64::from(JOBS);
    let [claimed, renewed, completed] =
        loops.life(&plain, JOBS, "'1970-01-01'").await.map(|plan| wal_bytes(&plan) / i64::from(JOBS));
    println!("bytes a job: enqueue {enqueued}, claim {claimed}, renew {renewed}, complete {completed}");
    let limits = [
        ("enqueue", enqueued, ENQUEUE_WAL_BYTES),
        ("claim", claimed, CLAIM_WAL_BYTES),
        ("renew", renewed, RENEW_WAL_BYTES),
        ("complete", completed, COMPLETE_WAL_BYTES),
        ("the whole life", enqueued + claimed + completed, LIFE_WAL_BYTES),
    ];
    for (what, bytes, limit) in limits {
        assert!((1..=limit).contains(&bytes), "{what}: {bytes} bytes a job");
    }
}
