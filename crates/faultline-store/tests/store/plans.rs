//! The plans that the storage design rests on, as the engine's sessions run them: under generic and custom plans, with
//! fresh statistics and with none, on an empty table and behind a backlog. And what they cost, in buffers, not in time.

use crate::common::{Db, EXPIRED, LONG, QUEUE, job, json, take, until, value};
use faultline_store::enqueue::enqueue;
use faultline_store::lease::renew;
use faultline_store::{Plans, Session};
use serde_json::Value;
use tokio_postgres::Client;

const BACKLOG: i32 = 200_000;
/// Buffers that a claim of ten may touch: four short index scans and ten rows with their new versions.
const CLAIM_BUFFERS: i64 = 200;

const UUIDS: &str = "array['00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002']::uuid[]";

struct Hot {
    name: &'static str,
    sql: &'static str,
    /// The arguments, with `{ids}` for two ids that exist where the table is not empty.
    arguments: &'static str,
    plans: Plans,
    /// Index on jobs that may be used; no other one.
    index: &'static str,
    /// Whether rows may be sorted.
    sorts: bool,
}

const FLOORS: &str = "array[1,2,3,4]::smallint[], array['1970-01-01','1970-01-01','1970-01-01','1970-01-01']::timestamptz[], array[0,0,0,0]::int[]";
const NIL: &str = "'00000000-0000-0000-0000-000000000000'::uuid";

/// Every statement that a worker, a reaper or a reader runs all the time.
fn hot() -> Vec<Hot> {
    let by_id =
        |name, sql, arguments| Hot { name, sql, arguments, plans: Plans::ById, index: "jobs_pkey", sorts: false };
    let in_order = |name, sql, arguments, sorts| Hot {
        name,
        sql,
        arguments,
        plans: Plans::InOrder,
        index: "jobs_claim_order",
        sorts,
    };
    vec![
        in_order("claim", include_str!("../../sql/claim.sql"), "'q', {nil}, {nil}, 1000, 10, {floors}", false),
        in_order("recover_claim", include_str!("../../sql/recover_claim.sql"), "'q', {nil}, {floors}, 1000", false),
        in_order("watch", include_str!("../../sql/watch.sql"), "1000, array['q','q','q','q'], {floors}", true),
        in_order("queues", include_str!("../../sql/queues.sql"), "array['q'], 1000", true),
        by_id("renew", include_str!("../../sql/renew.sql"), "'q', {ids}, {ids}, 1000"),
        by_id("held", include_str!("../../sql/held.sql"), "'q', {ids}, {ids}"),
        by_id("complete", include_str!("../../sql/complete.sql"), "'q', {ids}, {ids}, array[null, null]::jsonb[]"),
        by_id(
            "fail",
            include_str!("../../sql/fail.sql"),
            "'q', {ids}, {ids}, array['a', 'b'], array[0, 0], array[true, false], array['fatal', null]",
        ),
        by_id(
            "put_back",
            include_str!("../../sql/put_back.sql"),
            "'q', {ids}, {ids}, array[null, 5]::bigint[], array['released', 'snoozed'], array['a', null]",
        ),
        by_id("finish_outcome", include_str!("../../sql/finish_outcome.sql"), "{ids}, {ids}"),
        Hot {
            name: "get_job",
            sql: include_str!("../../sql/get_job.sql"),
            arguments: "'00000000-0000-7000-8000-000000000001'",
            plans: Plans::Free,
            index: "jobs_pkey",
            sorts: false,
        },
        Hot {
            name: "insert_again",
            sql: include_str!("../../sql/enqueued_before.sql"),
            arguments: "{ids}",
            plans: Plans::Free,
            index: "none",
            sorts: false,
        },
    ]
}

impl Hot {
    fn execute(&self) -> String {
        let arguments = self.arguments.replace("{floors}", FLOORS).replace("{ids}", UUIDS).replace("{nil}", NIL);
        format!("execute {}({arguments})", self.name)
    }

    /// The nodes of the plan, under one way of planning.
    async fn nodes(&self, session: &Client, mode: &str) -> Vec<Value> {
        session.batch_execute(&format!("set plan_cache_mode = {mode}")).await.unwrap();
        session.batch_execute(&format!("prepare {} as {}", self.name, self.sql)).await.unwrap();
        let sql = format!("explain (format json) {}", self.execute());
        let plan: Value = serde_json::from_str(&explained(session, &sql).await).unwrap();
        session.batch_execute(&format!("deallocate {}", self.name)).await.unwrap();
        let mut nodes = Vec::new();
        flatten(&plan[0]["Plan"], &mut nodes);
        nodes
    }

    /// What is wrong with a plan, if anything.
    fn problem(&self, nodes: &[Value]) -> Option<String> {
        let is = |node: &Value, kind: &str| node["Node Type"] == kind;
        let on_jobs = |node: &Value| node["Relation Name"] == "jobs" && node["Node Type"] != "ModifyTable";
        for node in nodes.iter().filter(|node| on_jobs(node)) {
            let index = node["Index Name"].as_str();
            let tid = is(node, "Tid Scan");
            if !tid && index != Some(self.index) {
                return Some(format!("{} on jobs by {index:?}", node["Node Type"]));
            }
            // An index scan without a condition walks everything.
            if index.is_some() && node["Index Cond"].is_null() {
                return Some("a walk over the whole index".into());
            }
            // The scan's own condition must hold the row down, not the join above it.
            if self.index == "jobs_pkey" && !node["Index Cond"].to_string().contains("id = ") {
                return Some(format!("not a look-up by id: {}", node["Index Cond"]));
            }
        }
        let scans = nodes.iter().any(|node| is(node, "Seq Scan") && is_of_jobs(node));
        let hashed =
            self.plans == Plans::InOrder && nodes.iter().any(|node| is(node, "Hash Join") || is(node, "Merge Join"));
        let sorted = !self.sorts && nodes.iter().any(|node| is(node, "Sort") || is(node, "Incremental Sort"));
        (scans || hashed || sorted).then(|| format!("scans {scans}, hashes or merges {hashed}, sorts {sorted}"))
    }
}

fn is_of_jobs(node: &Value) -> bool {
    node["Relation Name"].as_str().is_some_and(|name| name.starts_with("job"))
}

pub(crate) fn flatten(plan: &Value, nodes: &mut Vec<Value>) {
    let mut own = plan.clone();
    own.as_object_mut().unwrap().remove("Plans");
    nodes.push(own);
    for child in plan["Plans"].as_array().into_iter().flatten() {
        flatten(child, nodes);
    }
}

pub(crate) async fn explained(session: &Client, sql: &str) -> String {
    let messages = session.simple_query(sql).await.unwrap();
    let row = messages.into_iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    row.unwrap()
}

/// Fills the queue: every fiftieth job is running, the others wait. No statistics are gathered.
async fn fill(client: &Client, jobs: i32) {
    client
        .execute(
            "insert into faultline.jobs (id, queue, kind, payload, priority, created_at, next_run_at, max_attempts,
                 timeout_ms, backoff_base_ms, backoff_cap_ms, state, attempts, lease_id, lease_owner, started_at,
                 lease_expires_at)
             select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'q', 'k', '{}', 1 + n % 4,
                    now(), now() - interval '1 hour' + n * interval '1 microsecond', 20, 1000, 1000, 1000,
                    (case when l then 'running' else 'queued' end)::faultline.job_state, case when l then 1 else 0 end,
                    case when l then gen_random_uuid() end, case when l then gen_random_uuid() end,
                    case when l then now() end, case when l then now() end
               from (select n, n % 50 = 1 as l from generate_series(1, $1) n) as s",
            &[&jobs],
        )
        .await
        .unwrap();
}

async fn problems(db: &Db, world: &str) -> Vec<String> {
    let mut found = Vec::new();
    for hot in hot() {
        let session = db.session_with(hot.plans).await;
        for mode in ["force_generic_plan", "force_custom_plan"] {
            if let Some(problem) = hot.problem(&hot.nodes(&session, mode).await) {
                found.push(format!("{} with {mode} {world}: {problem}", hot.name));
            }
        }
    }
    found
}

#[tokio::test]
async fn hot_statements_keep_their_plans_whatever_the_statistics_say() {
    let db = Db::migrated();
    let plain = db.plain().await;
    plain.batch_execute("alter table faultline.jobs set (autovacuum_enabled = false)").await.unwrap();
    let mut found = problems(&db, "empty, never analyzed").await;
    plain.batch_execute("vacuum analyze faultline.jobs").await.unwrap();
    found.extend(problems(&db, "empty, analyzed").await);
    fill(&plain, BACKLOG).await;
    found.extend(problems(&db, "full, believed empty").await);
    plain.batch_execute("vacuum analyze faultline.jobs").await.unwrap();
    found.extend(problems(&db, "full, analyzed").await);
    plain.batch_execute("delete from faultline.jobs").await.unwrap();
    plain.batch_execute("vacuum faultline.jobs").await.unwrap();
    found.extend(problems(&db, "empty, believed full").await);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test]
async fn reap_reads_in_claim_order_and_writes_by_id() {
    let db = Db::migrated();
    let plain = db.plain().await;
    fill(&plain, 20_000).await;
    for statistics in ["select 1", "analyze faultline.jobs"] {
        plain.batch_execute(statistics).await.unwrap();
        for mode in ["force_generic_plan", "force_custom_plan"] {
            let session = db.session_with(Plans::InOrder).await;
            let reap = Hot {
                name: "reap",
                sql: include_str!("../../sql/reap.sql"),
                arguments: "array['q', 'r'], {ids}, 1000, 100",
                plans: Plans::InOrder,
                index: "jobs_claim_order",
                sorts: true,
            };
            for node in reap.nodes(&session, mode).await {
                assert_ne!((&node["Node Type"], is_of_jobs(&node)), (&"Seq Scan".into(), true), "{mode}: {node}");
                assert!(node["Index Name"].is_null() || !node["Index Cond"].is_null(), "{mode}: {node}");
            }
        }
    }
}

/// Runs a prepared statement and answers the buffers that it touched, its planning left out.
async fn buffers(session: &Client, execute: &str) -> i64 {
    let sql = format!("explain (analyze, buffers, format json) {execute}");
    let plan: Value = serde_json::from_str(&explained(session, &sql).await).unwrap();
    let top = &plan[0]["Plan"];
    top["Shared Hit Blocks"].as_i64().unwrap() + top["Shared Read Blocks"].as_i64().unwrap()
}

fn claim_of(n: usize, floors: &str) -> String {
    format!("execute claim('q', gen_random_uuid(), {NIL}, 600000, {n}, {floors})")
}

#[tokio::test]
async fn a_claim_of_ten_touches_few_buffers_whatever_the_backlog() {
    let db = Db::migrated();
    fill(&db.plain().await, BACKLOG).await;
    let session = db.session_with(Plans::InOrder).await;
    session.batch_execute(&format!("prepare claim as {}", include_str!("../../sql/claim.sql"))).await.unwrap();
    for _ in 0..3 {
        let touched = buffers(&session, &claim_of(10, FLOORS)).await;
        assert!((1..=CLAIM_BUFFERS).contains(&touched), "a claim of ten touched {touched} buffers");
    }
}

#[tokio::test]
async fn a_floor_keeps_a_claim_cheap_while_a_snapshot_holds_dead_entries() {
    let db = Db::migrated();
    fill(&db.plain().await, 40_000).await;
    let holder = db.plain().await;
    holder.batch_execute("begin isolation level repeatable read; select count(*) from faultline.jobs").await.unwrap();
    let session = db.session_with(Plans::InOrder).await;
    session.batch_execute(&format!("prepare claim as {}", include_str!("../../sql/claim.sql"))).await.unwrap();
    // Everything of before, but the last jobs of each priority, runs and ends: dead entries that nobody may remove.
    session
        .batch_execute(
            "delete from faultline.jobs where next_run_at < now() - interval '1 hour' + interval '30 milliseconds'",
        )
        .await
        .unwrap();
    let floor = "now() - interval '1 hour' + interval '29990 microseconds'";
    let floors = format!("array[1,2,3,4]::smallint[], array[{floor},{floor},{floor},{floor}], array[0,0,0,0]::int[]");
    let from_the_floor = buffers(&session, &claim_of(10, &floors)).await;
    let from_the_head = buffers(&session, &claim_of(10, FLOORS)).await;
    assert!((1..=CLAIM_BUFFERS).contains(&from_the_floor), "{from_the_floor} buffers from the floor");
    assert!(from_the_head > 10 * from_the_floor, "no dead entries: {from_the_head} buffers from the head");
    holder.batch_execute("rollback").await.unwrap();
}

/// Updates of jobs in the session's transaction: all, and the heap-only ones among them.
async fn updates(session: &Session) -> (i64, i64) {
    let counters =
        "select array[n_tup_upd, n_tup_hot_upd] from pg_stat_xact_user_tables where relid = 'faultline.jobs'::regclass";
    let both: Vec<i64> = value(session, counters, &[]).await;
    (both[0], both[1])
}

#[tokio::test]
async fn claims_and_renewals_are_heap_only_updates() {
    let db = Db::migrated();
    let session = db.session().await;
    let jobs: Vec<_> = (0..500)
        .map(|_| {
            let mut job = job();
            job.payload = json(&format!("\"{}\"", "x".repeat(98)));
            job
        })
        .collect();
    enqueue(&session, &jobs).await.unwrap();
    session.batch_execute("begin").await.unwrap();
    let before = updates(&session).await;
    let claimed = take(&session, 500, EXPIRED).await;
    let after = updates(&session).await;
    assert_eq!((after.0 - before.0, after.1 - before.1), (500, 500), "claims");
    let claimed_by: String = value(&session, "select pg_current_xact_id()::text", &[]).await;
    session.batch_execute("commit").await.unwrap();
    // The old versions can be pruned once no transaction of the whole cluster is older than the claim.
    until(&session, "select pg_snapshot_xmin(pg_current_snapshot()) > $1::text::xid8", &[&claimed_by]).await;
    let held: Vec<_> = claimed.iter().map(|job| (job.id, job.lease_id)).collect();
    session.batch_execute("begin").await.unwrap();
    let before = updates(&session).await;
    assert_eq!(renew(&session, QUEUE, &held, LONG).await.unwrap().len(), 500);
    let after = updates(&session).await;
    // All rows of a page at once, which in life come at different times, do not quite fit.
    assert!(after.1 - before.1 >= 400, "{} of {} renewals", after.1 - before.1, after.0 - before.0);
    session.batch_execute("rollback").await.unwrap();
}
