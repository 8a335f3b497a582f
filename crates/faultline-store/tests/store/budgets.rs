//! What pages read stays within its bounds on a large database: no table is walked, and few buffers are touched. Buffers and not
//! times, so that a busy machine changes nothing. The data are those of the example `seed_large`, fewer of them.

use crate::common::{Db, value};
use crate::plans::{explained, flatten};
use faultline_store::{ClientWrapper, Session};
use serde_json::Value;
use uuid::Uuid;

const NIL: &str = "'00000000-0000-0000-0000-000000000000'::uuid";
const MOST: &str = "'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid";
const QUEUES: &str = "string_to_array('queue0 queue1 queue2 queue3 queue4 queue5 queue6 queue7 queue8 queue9', ' ')";

struct Page {
    name: &'static str,
    sql: String,
    arguments: String,
    /// Buffers that it may touch.
    buffers: i64,
}

/// Rows of the history, and of the queues.
const HISTORY: i32 = 60_000;
const QUEUED: i32 = 30_000;

async fn seed(session: &ClientWrapper) {
    let script = include_str!("../../examples/large/seed.sql")
        .replace("$history", &HISTORY.to_string())
        .replace("$queued", &QUEUED.to_string())
        .replace("(10, 1080), (60, 4320), (600, 1728)", "(10, 400), (60, 400), (600, 400)")
        .replace("cross join generate_series(0, 1000) n", "cross join generate_series(0, 200) n")
        .replace("vacuum (analyze);", "");
    session.batch_execute(&script).await.unwrap();
    session.batch_execute("vacuum (analyze)").await.unwrap();
}

fn pages(job: Uuid) -> Vec<Page> {
    let page = |name, sql: &str, arguments: &str, buffers| {
        let arguments = arguments.replace("{job}", &format!("'{job}'::uuid")).replace("{queues}", QUEUES);
        Page { name, sql: sql.to_owned(), arguments: arguments.replace("{nil}", NIL), buffers }
    };
    let an_hour = "now() - interval '1 day', now() - interval '23 hours'";
    let mut pages = vec![
        page("queues", include_str!("../../sql/dashboard_queues.sql"), "{queues}, 125, 200", 25_000),
        page("running", include_str!("../../sql/dashboard_running.sql"), "{queues}, 250, 500", 12_000),
        page("series", include_str!("../../sql/series.sql"), "10, '', now() - interval '1 hour', now()", 200),
        page(
            "by_queue",
            include_str!("../../sql/series_of_queues.sql"),
            "10, now() - interval '10 minutes', now(), 1000",
            200,
        ),
        page("recoveries", include_str!("../../sql/recoveries.sql"), "2000, 50", 4000),
        page("retry_chain", include_str!("../../sql/retry_chain.sql"), "{job}", 300),
        page("explain", include_str!("../../sql/explain.sql"), "{job}, 2000", 6000),
        page("get_job", include_str!("../../sql/get_job.sql"), "{job}", 100),
        page("attempts", include_str!("../../sql/attempts.sql"), "{job}", 100),
        page(
            "groups",
            include_str!("../../sql/error_groups.sql"),
            "null, null, null, null, null, 50, now() - interval '1 day'",
            10_000,
        ),
        page(
            "failed_jobs",
            include_str!("../../sql/failed_jobs.sql"),
            "now() - interval '12 days', {nil}, now(), '{}', 1000, 1000",
            6000,
        ),
        page(
            "enqueued",
            include_str!("../../sql/rollup_enqueued.sql"),
            "now() - interval '1 hour', now() - interval '59 minutes', 50, 1000",
            6000,
        ),
        page("endings", include_str!("../../sql/rollup_endings.sql"), an_hour, 400),
        page("failures", include_str!("../../sql/rollup_failures.sql"), &format!("{an_hour}, 5000, 1000"), 800),
        page(
            "attempts_of_span",
            include_str!("../../sql/rollup_attempts.sql"),
            &format!("{an_hour}, 5000, 1000"),
            3000,
        ),
    ];
    let nulls = ["null"; 10].join(", ");
    let search = include_str!("../../sql/search_jobs.sql");
    for (name, condition, filter) in [
        ("list_all", "", nulls.clone()),
        ("list_nothing", "", nulls.replacen("null", "'no-such-queue'", 1)),
        ("list_unsuccessful", "and j.state <> 'succeeded' and j.finished_at is not null", nulls.clone()),
        ("list_waiting", "and j.finished_at is null", nulls),
    ] {
        let sql = search.replace("/*only*/", condition);
        pages.push(page(name, &sql, &format!("{MOST}, {NIL}, 2000, 52, {filter}, '{{}}'::uuid[]"), 4500));
    }
    pages
}

impl Page {
    /// What is wrong with the page under one way of planning, if anything.
    async fn problem(&self, session: &Session, mode: &str) -> Option<String> {
        session.batch_execute(&format!("set plan_cache_mode = {mode}")).await.unwrap();
        // The list's last argument is only named by one variant of it.
        let types = if self.name.starts_with("list") {
            "(uuid, uuid, bigint, bigint, text, text, text[], text, timestamptz, timestamptz, text, text, int, text, uuid[])"
        } else {
            ""
        };
        session.batch_execute(&format!("prepare {}{types} as {}", self.name, self.sql)).await.unwrap();
        let sql = format!("explain (analyze, buffers, format json) execute {}({})", self.name, self.arguments);
        let plan: Value = serde_json::from_str(&explained(session, &sql).await).unwrap();
        session.batch_execute(&format!("deallocate {}", self.name)).await.unwrap();
        let top = &plan[0]["Plan"];
        let touched = top["Shared Hit Blocks"].as_i64().unwrap() + top["Shared Read Blocks"].as_i64().unwrap();
        let mut nodes = Vec::new();
        flatten(top, &mut nodes);
        let is_ours = |name: &str| ["job", "rollups", "error_"].iter().any(|ours| name.starts_with(ours));
        let walk = nodes.iter().find(|node| {
            // Tables of a page or two are walked rightly, and so is a partition that is empty.
            node["Node Type"] == "Seq Scan" && node["Relation Name"].as_str().is_some_and(is_ours)
        });
        if let Some(walk) = walk {
            return Some(format!("{} with {mode} walks {}", self.name, walk["Relation Name"]));
        }
        (touched > self.buffers)
            .then(|| format!("{} with {mode} touches {touched} buffers of {}", self.name, self.buffers))
    }
}

#[tokio::test]
async fn no_page_walks_a_table_or_touches_more_buffers_than_it_may() {
    let db = Db::migrated();
    let session = db.session().await;
    seed(&session).await;
    let last = "select id from faultline.jobs order by id desc limit 1";
    let job: Uuid = value(&session, last, &[]).await;
    let mut problems = Vec::new();
    for page in pages(job) {
        // Lists are planned anew for each call, with its arguments.
        let modes: &[&str] = if page.name.starts_with("list") {
            &["force_custom_plan"]
        } else {
            &["force_custom_plan", "force_generic_plan"]
        };
        for mode in modes {
            problems.extend(page.problem(&session, mode).await);
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
