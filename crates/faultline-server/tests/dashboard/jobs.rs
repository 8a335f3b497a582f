//! The list of jobs: filters, pages, live rows, and acting on many.

use crate::access::{closed, token};
use crate::browser::Browser;
use crate::common::{Server, database, psql};
use faultline_cluster::testing::TestDatabase;
use faultline_store::tokens::Role;
use serde_json::json;

const JOBS: &str = "/dashboard/jobs";
/// Jobs on a page, and of one batch.
const PAGE: usize = 50;

/// Enqueues so many jobs of a kind, one after the other in the order of their ids.
fn enqueue(database: &TestDatabase, kind: &str, many: usize) {
    psql(
        database,
        &format!("select faultline.enqueue('{kind}', to_jsonb(n), queue => 'q') from generate_series(1, {many}) n"),
    );
    // Ids of one millisecond have no order among them: the lists go by ids, so that is no matter here.
}

fn number(database: &TestDatabase, sql: &str) -> usize {
    psql(database, sql).trim().parse().unwrap()
}

fn rows(text: &str) -> usize {
    text.matches("<tr data-key=").count()
}

fn ids(text: &str) -> Vec<String> {
    text.split("<tr data-key=\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

/// Where a link of the page leads to, as it is to be asked for.
fn link(text: &str, words: &str) -> String {
    let end = text.find(words).unwrap_or_else(|| panic!("no link {words:?} in {text}"));
    let (_, link) = text[..end].rsplit_once("href=\"").unwrap();
    link.split('"').next().unwrap().replace("&amp;", "&")
}

#[tokio::test]
async fn each_filter_finds_what_it_says() {
    let database = database();
    psql(
        &database,
        r#"select faultline.enqueue('mail', '{}', queue => 'a', key => 'k & 1', headers => '{"tenant": "acme", "tags": ["blue"]}');
           select faultline.enqueue('mail', '{}', queue => 'b', delay => '1 hour');
           select faultline.enqueue('report', '{}', queue => 'b');
           set session_replication_role = replica; -- the trigger would refuse attempts that nobody made
           update faultline.jobs set attempts = 3, last_error = 'Boom: 100% wrong' where kind = 'report';
           reset session_replication_role;
           select faultline.cancel(faultline.enqueue('old', '{}', queue => 'c'));"#,
    );
    let server = Server::start(&database.url()).await;
    let mut browser = Browser::new(&server);
    for (query, kinds) in [
        ("", vec!["mail", "mail", "old", "report"]),
        ("?kind=mail", vec!["mail", "mail"]),
        ("?queue=b&kind=mail", vec!["mail"]),
        ("?state=cancelled", vec!["old"]),
        ("?state=scheduled&state=cancelled", vec!["mail", "old"]),
        ("?state=retrying", vec!["report"]),
        ("?state=queued&attempts=1", vec!["report"]),
        ("?error=boom%3A+100%25", vec!["report"]),
        ("?key=k+%26+1", vec!["mail"]),
        ("?tag=tenant", vec!["mail"]),
        ("?tag=tenant%3Dacme", vec!["mail"]),
        ("?tag=tags%3Dblue", vec!["mail"]),
        ("?tag=tags%3Dred", vec![]),
        ("?since=1h", vec!["mail", "mail", "old", "report"]),
        ("?until=1h", vec![]),
        ("?since=2099-01-01", vec![]),
        ("?running=&queue=&state=", vec!["mail", "mail", "old", "report"]),
    ] {
        let page = browser.get(&format!("{JOBS}{query}")).await.expect(200);
        let mut found: Vec<&str> = page.text.split("<tr data-key=").skip(1).map(kind_of).collect();
        found.sort_unstable();
        assert_eq!(found, kinds, "{query}");
        let is_empty = page.text.contains("No job matches");
        assert_eq!(is_empty, kinds.is_empty(), "{query}");
    }
}

/// The kind that stands first in a row.
fn kind_of(row: &str) -> &str {
    let (_, link) = row.split_once("<th class=\"job\"").unwrap();
    link.split_once("\">").unwrap().1.split_once("\">").unwrap().1.split(' ').next().unwrap()
}

#[tokio::test]
async fn a_filter_that_cannot_be_used_shows_nothing_rather_than_something_else() {
    let database = database();
    enqueue(&database, "k", 1);
    let server = Server::start(&database.url()).await;
    let mut browser = Browser::new(&server);
    for query in ["state=done", "stat=failed", "attempts=many", "since=yesterday", "key=a%00b", "error=%00"] {
        let page = browser.get(&format!("{JOBS}?{query}")).await.expect(400);
        assert_eq!(rows(&page.text), 0, "{query}");
        assert!(page.text.contains("role=\"alert\""), "{query}: {}", page.text);
        assert!(page.text.contains(query.split('=').next().unwrap()), "{query}");
    }
    browser.get(&format!("{JOBS}?older=x")).await.expect(400);
}

#[tokio::test]
async fn one_pages_to_older_jobs_and_back_and_meets_each_once() {
    let database = database();
    enqueue(&database, "k", 2 * PAGE + 20);
    let server = Server::start(&database.url()).await;
    let mut browser = Browser::new(&server);
    let first = browser.get(&format!("{JOBS}?kind=k")).await.expect(200).text;
    let second = browser.get(&link(&first, "Older →")).await.expect(200).text;
    let third = browser.get(&link(&second, "Older →")).await.expect(200).text;
    assert_eq!([rows(&first), rows(&second), rows(&third)], [PAGE, PAGE, 20]);
    assert!(!third.contains("Older →") && !first.contains("← Newer"));
    let mut all = [ids(&first), ids(&second), ids(&third)].concat();
    assert!(all.windows(2).all(|pair| pair[0] > pair[1]), "newest first");
    all.dedup();
    assert_eq!(all.len(), 2 * PAGE + 20);
    let back = browser.get(&link(&third, "← Newer")).await.expect(200).text;
    assert_eq!(ids(&back), ids(&second));
    let newest = browser.get(&link(&back, "← Newer")).await.expect(200).text;
    assert_eq!(ids(&newest), ids(&first));
    assert_eq!(ids(&browser.get(&link(&third, "Newest")).await.expect(200).text), ids(&first));
}

#[tokio::test]
async fn rows_stay_where_they_are_while_their_states_change_and_newer_ones_are_announced() {
    let database = database();
    enqueue(&database, "k", 3);
    let server = Server::start(&database.url()).await;
    let mut browser = Browser::new(&server);
    let page = browser.get(&format!("{JOBS}?state=queued")).await.expect(200).text;
    let shown = ids(&page);
    let (_, query) = page.split_once("data-live-query=\"").unwrap();
    let query = query.split('"').next().unwrap();
    let mut stream = browser.watch(&format!("/dashboard/live/jobs?state=queued&{query}")).await;
    stream.until(|message| !message["regions"]["rows"].is_null()).await;
    psql(&database, &format!("select faultline.cancel('{}')", shown[1]));
    enqueue(&database, "newer", 2);
    let changed = stream
        .until(|message| message["regions"]["rows"].as_str().is_some_and(|rows| rows.contains("cancelled")))
        .await;
    // It no longer matches, and is where it was.
    assert_eq!(ids(changed["regions"]["rows"].as_str().unwrap()), shown);
    let mut stream = browser.watch(&format!("/dashboard/live/jobs?state=queued&{query}")).await;
    let news = stream.until(|message| message["regions"]["newer"].as_str().is_some_and(|news| !news.is_empty())).await;
    assert!(news["regions"]["newer"].as_str().unwrap().contains("2 newer – show"), "{news}");
}

#[tokio::test]
async fn what_is_selected_is_cancelled_or_retried_and_nothing_else() {
    let database = database();
    enqueue(&database, "k", 4);
    let server = Server::start(&database.url()).await;
    let mut browser = Browser::new(&server);
    let shown = ids(&browser.get(JOBS).await.expect(200).text);
    let fields = [("do", "cancel"), ("id", shown[0].as_str()), ("id", shown[1].as_str()), ("back", "kind=k")];
    let done = browser.submit(JOBS, "/dashboard/jobs/selected", &fields).await;
    assert_eq!(done.location(), "/dashboard/jobs?kind=k");
    let page = browser.get("/dashboard/jobs?kind=k").await.expect(200).text;
    assert!(page.contains("Of the selected: 2 cancelled."), "{page}");
    let cancelled = || psql(&database, "select string_agg(id::text, ' ' order by id desc) from faultline.job_history");
    assert_eq!(cancelled().trim(), format!("{} {}", shown[0], shown[1]));
    // Asked again, it is no news; retried, each has one successor.
    browser.submit(JOBS, "/dashboard/jobs/selected", &fields).await.location();
    assert!(browser.get(JOBS).await.text.contains("0 cancelled, 2 left alone"));
    for _ in 0..2 {
        let fields = [("do", "retry"), ("id", shown[0].as_str())];
        browser.submit(JOBS, "/dashboard/jobs/selected", &fields).await.location();
    }
    assert_eq!(number(&database, "select count(*) from faultline.jobs where retry_of is not null"), 1);
    for fields in [vec![("do", "burn"), ("id", shown[2].as_str())], vec![("do", "cancel"), ("id", "x")], vec![]] {
        browser.submit(JOBS, "/dashboard/jobs/selected", &fields).await.expect(422);
    }
    let nothing = browser.submit(JOBS, "/dashboard/jobs/selected", &[("do", "cancel")]).await;
    nothing.location();
    assert_eq!(number(&database, "select count(*) from faultline.job_history"), 2);
}

/// The fields of the form of a page.
fn fields(text: &str) -> Vec<(String, String)> {
    let inputs = text.split("<input type=\"hidden\" name=\"").skip(1);
    let pairs = inputs.map(|input| {
        let (name, rest) = input.split_once("\" value=\"").unwrap();
        (name.to_owned(), rest.split('"').next().unwrap().to_owned())
    });
    pairs.collect()
}

#[tokio::test]
async fn all_that_match_are_counted_then_cancelled_in_batches_and_later_ones_are_left_alone() {
    let database = database();
    enqueue(&database, "k", 230);
    enqueue(&database, "other", 5);
    let server = Server::start(&database.url()).await;
    let mut browser = Browser::new(&server);
    let matching = "/dashboard/jobs/matching";
    let asked = browser.submit(JOBS, matching, &[("do", "cancel"), ("kind", "k")]).await.expect(200);
    assert!(asked.text.contains("Really cancel 230 jobs?"), "{}", asked.text);
    assert_eq!(number(&database, "select count(*) from faultline.job_history"), 0, "asking does nothing");
    enqueue(&database, "k", 7);
    let mut page = asked.text;
    let mut batches = 0;
    while !page.contains("<h1>Done</h1>") {
        let fields = fields(&page);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        page = browser.post(matching, &fields).await.expect(200).text;
        batches += 1;
        assert!(batches < 20, "{page}");
    }
    assert!(batches >= 3, "{batches}");
    assert!(page.contains("230 cancelled"), "{page}");
    assert_eq!(number(&database, "select count(*) from faultline.job_history where state = 'cancelled'"), 230);
    assert_eq!(number(&database, "select count(*) from faultline.jobs where kind = 'k'"), 7);
    assert_eq!(number(&database, "select count(*) from faultline.jobs where kind = 'other'"), 5);
}

#[tokio::test]
async fn without_a_filter_or_with_a_wrong_one_nothing_is_done_to_all() {
    let database = database();
    enqueue(&database, "k", 2);
    let server = Server::start(&database.url()).await;
    let mut browser = Browser::new(&server);
    let matching = "/dashboard/jobs/matching";
    for fields in [vec![], vec![("do", "cancel")], vec![("do", "cancel"), ("stat", "queued")], vec![("kind", "k")]] {
        browser.submit(JOBS, matching, &fields).await.expect(422);
    }
    let nothing = browser.submit(JOBS, matching, &[("do", "cancel"), ("kind", "none")]).await.expect(422);
    assert!(nothing.text.contains("Nothing to do"), "{}", nothing.text);
    assert_eq!(number(&database, "select count(*) from faultline.jobs"), 2);
}

#[tokio::test]
async fn a_retry_of_all_that_match_leaves_successes_alone() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let hands = crate::common::Hands::new(&database.url());
    server.enqueue(json!({"kind": "k", "queue": "q"})).await.expect(201);
    let job = hands.claim_one("q").await;
    hands.complete("q", &job, "1").await;
    psql(&database, "select faultline.cancel(faultline.enqueue('k', '{}', queue => 'q'))");
    let mut browser = Browser::new(&server);
    let asked = browser.submit(JOBS, "/dashboard/jobs/matching", &[("do", "retry"), ("kind", "k")]).await.expect(200);
    let fields = fields(&asked.text);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let done = browser.post("/dashboard/jobs/matching", &fields).await.expect(200).text;
    assert!(done.contains("1 retried, 1 left alone"), "{done}");
    assert_eq!(number(&database, "select count(*) from faultline.jobs where retry_of is not null"), 1);
}

#[tokio::test]
async fn who_may_only_look_acts_on_nothing_and_a_form_needs_its_session() {
    let database = database();
    enqueue(&database, "k", 1);
    let reader = token(&database, "r", Role::Read).await;
    let operator = token(&database, "o", Role::Operate).await;
    let server = closed(&database).await;
    let id = psql(&database, "select id from faultline.jobs").trim().to_owned();
    let paths = [
        "/dashboard/jobs/selected".to_owned(),
        "/dashboard/jobs/matching".to_owned(),
        format!("{JOBS}/{id}/retry"),
        format!("{JOBS}/{id}/cancel"),
        format!("{JOBS}/{id}/again"),
    ];
    let fields = [("do", "cancel"), ("id", id.as_str()), ("kind", "k")];
    let mut looking = Browser::new(&server);
    looking.sign_in(&reader).await.location();
    let page = looking.get(&format!("{JOBS}?kind=k")).await.expect(200).text;
    assert!(rows(&page) == 1 && !page.contains("Cancel") && !page.contains("type=\"checkbox\" name=\"id\""), "{page}");
    let job = looking.get(&format!("{JOBS}/{id}")).await.expect(200).text;
    assert!(!job.contains("Cancel") && !job.contains("Run one like it"), "{job}");
    let mut acting = Browser::new(&server);
    acting.sign_in(&operator).await.location();
    for path in &paths {
        looking.submit(JOBS, path, &fields).await.expect(403);
        acting.post(path, &fields).await.expect(403);
        Browser::new(&server).post(path, &fields).await.expect(403);
    }
    assert_eq!(
        psql(&database, "select state || ' ' || count(*) from faultline.all_jobs group by state").trim(),
        "queued 1"
    );
    assert_eq!(number(&database, "select count(*) from faultline.audit_log"), 0);
    acting.submit(JOBS, &paths[0], &fields).await.location();
    assert_eq!(psql(&database, "select actor || ' ' || action from faultline.audit_log").trim(), "o jobs.cancel");
}
