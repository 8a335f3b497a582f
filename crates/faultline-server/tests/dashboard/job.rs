//! The page of one job.

use crate::browser::Browser;
use crate::common::{Hands, Server, database, id_of, psql};
use faultline_cluster::testing::TestDatabase;
use faultline_store::finish::Ending;
use serde_json::json;
use std::time::Duration;

const EVIL: &str = "<script>alert('x')</script>\"&";

fn page_of(id: impl std::fmt::Display) -> String {
    format!("/dashboard/jobs/{id}")
}

/// What a browser makes of text in HTML.
fn unescaped(html: &str) -> String {
    html.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&")
}

/// The text of a command on the page.
fn command(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!("<summary>{name}</summary>")).unwrap();
    let (_, rest) = rest.split_once("<pre data-copy>").unwrap();
    unescaped(rest.split("</pre>").next().unwrap())
}

/// A job of the worst that the tables can hold, past every check, and a finished one like it.
fn evil_jobs(database: &TestDatabase) {
    let evil = EVIL.replace('\'', "''");
    psql(
        database,
        &format!(
            r#"insert into faultline.jobs (id, created_at, next_run_at, max_attempts, timeout_ms, backoff_base_ms, backoff_cap_ms,
                                           priority, queue, kind, key, last_error, headers, payload, attempts)
               values ('01976a3e-0000-7000-8000-000000000001', now(), now(), 3, 1000, 0, 0, 2, '{evil}', '{evil}', '{evil}', '{evil}',
                       jsonb_build_object('{evil}', '{evil}', 'tags', jsonb_build_array('{evil}'), 'traceparent', '{evil}'),
                       jsonb_build_object('{evil}', '{evil}'), 1);
               insert into faultline.job_attempts values ('01976a3e-0000-7000-8000-000000000001', now(), now(), now(),
                       gen_random_uuid(), gen_random_uuid(), 1, true, 'failed', '{evil}');
               insert into faultline.job_history (id, finished_at, created_at, next_run_at, max_attempts, timeout_ms, backoff_base_ms,
                                                  backoff_cap_ms, attempts, crashes, state, priority, queue, kind, key, reason,
                                                  last_error, headers, payload, result, retry_of)
               select '01976a3e-0000-7000-8000-000000000002', now(), now(), now(), 3, 1000, 0, 0, 1, 0, 'failed', 2, queue, kind, key,
                      '{evil}', '{evil}', headers, payload, payload, id from faultline.jobs;
               insert into faultline.queues values ('{evil}', now(), '{evil}');"#
        ),
    );
}

#[tokio::test]
async fn whatever_a_job_holds_is_shown_and_never_run() {
    let database = database();
    evil_jobs(&database);
    let server = Server::start(&database.url()).await;
    let mut browser = Browser::new(&server);
    let (one, two) = ("01976a3e-0000-7000-8000-000000000001", "01976a3e-0000-7000-8000-000000000002");
    for path in
        [page_of(one), page_of(two), "/dashboard/jobs?columns=key&columns=error&columns=queue&attempts=1".into()]
    {
        let text = browser.get(&path).await.expect(200).text;
        assert!(!text.contains("<script>alert") && !text.contains("alert('x')</script>"), "{path}: {text}");
        assert!(text.contains("&lt;script&gt;alert("), "{path}");
        assert!(!text.contains(" style=") && !text.contains("javascript:"), "{path}");
        let (below, query) =
            path.strip_prefix("/dashboard").unwrap().split_once('?').unwrap_or((&path["/dashboard".len()..], ""));
        let mut stream = browser.watch(&format!("/dashboard/live{below}?{query}")).await;
        let message =
            stream.until(|message| message["regions"].as_object().is_some_and(|regions| !regions.is_empty())).await;
        assert!(!message.to_string().contains("<script>alert"), "{path}: {message}");
    }
    // Asked for as a filter it finds its jobs, and is written into the form as text.
    let query = "/dashboard/jobs?key=%3Cscript%3Ealert%28%27x%27%29%3C%2Fscript%3E%22%26";
    let text = browser.get(query).await.expect(200).text;
    assert!(text.matches("<tr data-key=").count() == 2 && !text.contains("<script>alert"), "{text}");
    let refused = browser.get("/dashboard/jobs?state=%3Cscript%3Ealert%281%29%3C%2Fscript%3E").await.expect(400).text;
    assert!(!refused.contains("<script>alert"), "{refused}");
}

#[tokio::test]
async fn an_id_that_leads_nowhere_says_so_and_why_that_may_be() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let mut browser = Browser::new(&server);
    let text = browser.get(&page_of("01976a3e-5d1c-7c3a-9b1e-0242ac120002")).await.expect(404).text;
    assert!(text.contains("There is no job") && text.contains("14 days") && text.contains("2025-06-1"), "{text}");
    let text = browser.get(&page_of("f47ac10b-58cc-4372-a567-0e02b2c3d479")).await.expect(404).text;
    assert!(text.contains("not of version 7"), "{text}");
    browser.get(&page_of("42")).await.expect(400);
}

#[tokio::test]
async fn the_page_tells_what_happened_from_the_first_wait_to_the_end() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let hands = Hands::new(&database.url());
    let mut browser = Browser::new(&server);
    let body = json!({"kind": "k", "queue": "q", "max_attempts": 2, "key": "order-42",
                      "headers": {"tenant": "acme", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}});
    let id = id_of(&server.enqueue(body).await.expect(201));
    let page = browser.get(&page_of(id)).await.expect(200).text;
    assert!(page.contains("Why is it not running?") && page.contains("No live worker polls queue q."), "{page}");
    assert!(page.contains("Due: waits for a worker") && page.contains("4bf92f3577b34da6a3ce929d0e0e4736"), "{page}");
    assert!(page.contains("tenant=acme") && page.contains("order-42"), "{page}");
    let job = hands.claim_one("q").await;
    let page = browser.get(&page_of(id)).await.expect(200).text;
    assert!(page.contains("Who runs it") && page.contains(&job.lease_id.to_string()), "{page}");
    assert!(page.contains("Attempt 1: running") && page.contains(&hands.owner.to_string()), "{page}");
    let failed = |delay| Ending::Fail { error: "boom".into(), delay };
    hands.end("q", &job, failed(Duration::from_secs(3600))).await;
    let page = browser.get(&page_of(id)).await.expect(200).text;
    assert!(page.contains("Attempt 1: failed") && page.contains("boom") && page.contains("Back-off"), "{page}");
    assert!(page.contains("It waits for its next attempt at"), "{page}");
    // An operator ends the wait.
    browser.submit(&page_of(id), &format!("{}/retry", page_of(id)), &[]).await.location();
    let job = hands.claim_one("q").await;
    hands.end("q", &job, failed(Duration::ZERO)).await;
    let page = browser.get(&page_of(id)).await.expect(200).text;
    assert!(page.contains("Back-off, cut short") && page.contains("Attempt 2: failed, and with it the job"), "{page}");
    assert!(page.contains("attempts_exhausted") && page.contains("It failed"), "{page}");
    // Retried, the successor leads here and this one there.
    let retried = browser.submit(&page_of(id), &format!("{}/retry", page_of(id)), &[]).await;
    let successor = retried.location().to_owned();
    assert_ne!(successor, page_of(id));
    assert!(browser.get(&successor).await.expect(200).text.contains(&format!("href=\"{}\"", page_of(id))));
    assert!(browser.get(&page_of(id)).await.expect(200).text.contains(&format!("href=\"{successor}\"")));
}

#[tokio::test]
async fn a_job_is_cancelled_and_one_like_it_enqueued() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let mut browser = Browser::new(&server);
    let payload = r#"{"kind": "k", "queue": "q", "key": "once", "priority": 1, "payload": {"n": 12345678901234567890.10},
                      "headers": {"tenant": "acme", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}}"#;
    let id = id_of(&server.post("/v1/jobs", payload).await.expect(201));
    let page = browser.get(&page_of(id)).await.expect(200).text;
    assert!(page.contains("12345678901234567890.10"), "a number is shown digit by digit: {page}");
    let copy = browser.submit(&page_of(id), &format!("{}/again", page_of(id)), &[]).await;
    let copy = copy.location().rsplit_once('/').unwrap().1.to_owned();
    let same = format!(
        "select c.payload = j.payload and c.priority = 1 and c.queue = 'q' and c.key is null and c.headers = '{{\"tenant\": \"acme\"}}'
           from faultline.jobs c, faultline.jobs j where c.id = '{copy}' and j.id = '{id}'"
    );
    assert_eq!(psql(&database, &same).trim(), "t");
    let cancelled = browser.submit(&page_of(id), &format!("{}/cancel", page_of(id)), &[]).await;
    assert_eq!(cancelled.location(), page_of(id));
    let page = browser.get(&page_of(id)).await.expect(200).text;
    assert!(page.contains("It is cancelled.") && page.contains("It was cancelled"), "{page}");
    let gone = page_of("01976a3e-5d1c-7c3a-9b1e-0242ac120002");
    browser.submit("/dashboard/jobs", &format!("{gone}/again"), &[]).await.expect(422);
    assert_eq!(browser.submit("/dashboard/jobs", &format!("{gone}/cancel"), &[]).await.location(), gone);
    let done = "select string_agg(action, ' ' order by at) from faultline.audit_log";
    assert_eq!(psql(&database, done).trim(), "job.enqueue job.cancel");
}

#[tokio::test]
async fn the_sql_of_the_page_makes_the_same_job_whatever_it_holds() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let mut browser = Browser::new(&server);
    for text in ["it's", "\\'; drop schema faultline cascade; --", "$$ $1 :x %s", "a\nb\u{1b}[31m\u{202e}", EVIL, "é😀"]
    {
        let job = json!({"kind": "k", "payload": {"text": text, text: [1.50, null]}, "headers": {"tag": text}, "timeout": "90s"});
        let id = id_of(&server.enqueue(job).await.expect(201));
        let page = browser.get(&page_of(id)).await.expect(200).text;
        let sql = command(&page, "SQL");
        for strings in ["on", "off"] {
            let answer = psql(
                &database,
                &format!("set standard_conforming_strings = {strings}; set escape_string_warning = off; {sql}"),
            );
            let copy = answer.lines().rev().find(|line| line.len() == 36).unwrap_or_else(|| panic!("{answer}"));
            let same = format!(
                "select c.payload = j.payload and c.headers = j.headers and c.timeout_ms = j.timeout_ms and c.id <> j.id
                   from faultline.jobs c, faultline.jobs j where c.id = '{copy}' and j.id = '{id}'"
            );
            assert_eq!(psql(&database, &same).trim(), "t", "{sql}");
        }
    }
}

#[tokio::test]
async fn a_lost_worker_is_named_with_the_time_since_when_it_was_silent() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let mut browser = Browser::new(&server);
    let id = id_of(&server.enqueue(json!({"kind": "k", "queue": "q"})).await.expect(201));
    psql(
        &database,
        &format!(
            "insert into faultline.workers (id, pid, slots, lease_ttl_ms, host, version, queues, kinds, heartbeat_at)
             values ('00000000-0000-4000-8000-000000000001', 4711, 1, 15000, 'node-7', '1', '{{q}}', '{{k}}', '2026-03-01 12:00:05+00');
             insert into faultline.job_attempts (job_id, started_at, ended_at, next_run_at, lease_id, lease_owner, attempt, charged, outcome)
             values ('{id}', '2026-03-01 12:00:00+00', '2026-03-01 12:00:08+00', now(), gen_random_uuid(),
                     '00000000-0000-4000-8000-000000000001', 1, true, 'lost')"
        ),
    );
    let page = browser.get(&page_of(id)).await.expect(200).text;
    assert!(page.contains("node-7 (process 4711)") && page.contains("lost: its worker was gone"), "{page}");
    assert!(page.contains("last heard of at 12:00:05.000 UTC; 3.0 s later"), "{page}");
    assert!(page.contains("tl-silent"), "{page}");
    // The same of the worker that held it when it ended, of which only the history tells.
    psql(
        &database,
        &format!(
            "select faultline.cancel('{id}');
             insert into faultline.job_history (id, finished_at, created_at, next_run_at, started_at, lease_id, lease_owner, max_attempts,
                    timeout_ms, backoff_base_ms, backoff_cap_ms, attempts, crashes, state, priority, queue, kind, reason, last_error, payload)
             values ('01976a3e-0000-7000-8000-000000000003', '2026-03-01 12:00:08+00', '2026-03-01 12:00:00+00', '2026-03-01 12:00:00+00',
                     '2026-03-01 12:00:01+00', '00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001', 1, 1000, 0, 0,
                     1, 1, 'failed', 2, 'q', 'k', 'crash_loop', 'the worker was lost', '1')"
        ),
    );
    let page = browser.get(&page_of("01976a3e-0000-7000-8000-000000000003")).await.expect(200).text;
    assert!(page.contains("node-7 (process 4711)") && page.contains("00000000-0000-4000-8000-000000000002"), "{page}");
    assert!(page.contains("last heard of at 12:00:05.000 UTC") && page.contains("crash_loop"), "{page}");
}

#[tokio::test]
async fn of_a_thousand_attempts_the_last_ones_are_told() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let mut browser = Browser::new(&server);
    let job = json!({"kind": "k", "queue": "q", "max_attempts": 5000});
    let id = id_of(&server.enqueue(job).await.expect(201));
    psql(
        &database,
        &format!(
            "insert into faultline.job_attempts (job_id, started_at, ended_at, next_run_at, lease_id, lease_owner, attempt, charged, outcome, error)
             select '{id}', now() + n * interval '2 s', now() + n * interval '2 s' + interval '1 s', now() + (n + 1) * interval '2 s',
                    gen_random_uuid(), '00000000-0000-4000-8000-000000000001', n, true, 'failed', 'error number ' || n || '!'
               from generate_series(1, 1500) n;
             set session_replication_role = replica; -- the trigger would refuse attempts that nobody made
             update faultline.jobs set attempts = 1500, next_run_at = now() + interval '2 hours'"
        ),
    );
    let page = browser.get(&page_of(id)).await.expect(200).text;
    assert!(page.contains("error number 1500!") && page.contains("error number 1301!"), "the last 200");
    assert!(!page.contains("error number 1300!") && page.contains("Earlier attempts"), "and no more");
    assert!(page.len() < 300_000, "{} bytes", page.len());
}
