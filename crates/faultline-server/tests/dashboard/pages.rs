//! What pages say, and what every answer says to browsers.

use crate::browser::{Browser, Page};
use crate::common::{self, Server, database, psql};
use hyper::Method;
use serde_json::Value;

fn check_headers(page: &Page, path: &str) {
    let header = |name: &str| page.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
    let policy = header("content-security-policy");
    for part in
        ["default-src 'none'", "script-src 'self';", "style-src 'self';", "frame-ancestors 'none'", "base-uri 'none'"]
    {
        assert!(policy.contains(part), "{path}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{path}: {policy}");
    assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
    assert_eq!(header("referrer-policy"), "same-origin", "{path}");
}

/// Nothing that the policy would forbid is in the page.
fn check_inline(page: &Page, path: &str) {
    assert!(!page.text.contains("<style") && !page.text.contains(" style="), "{path} has a style of its own");
    for script in page.text.split("<script").skip(1) {
        assert!(script.contains("src=\"/") || script.starts_with(" type=\"application/json\""), "{path}: {script}");
    }
    for handler in [" onclick=", " onload=", " onerror=", " onsubmit=", " onchange=", "javascript:"] {
        assert!(!page.text.contains(handler), "{path}: {}", page.text);
    }
}

#[tokio::test]
async fn every_answer_tells_the_browser_what_pages_may_do() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let mut browser = Browser::new(&server);
    for path in ["", "/queues", "/workers", "/jobs", "/drills", "/login", "/nothing", "/assets/nothing.js", "/logout"] {
        let path = format!("/dashboard{path}");
        let page = browser.get(&path).await;
        check_headers(&page, &path);
        if page.status == 200 {
            assert_eq!(page.headers["cache-control"], "no-store", "{path}");
        }
    }
    browser.get("/dashboard/logout").await.expect(405);
    check_headers(&browser.post("/dashboard/queues/pause", &[]).await.expect(403), "a refused form");
    assert_eq!(browser.get("/dashboard/").await.location(), "/dashboard");
}

#[tokio::test]
async fn browsers_are_led_to_the_dashboard_and_programs_are_not() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let mut browser = Browser::new(&server);
    browser.headers = vec![("accept", "text/html,application/xhtml+xml,*/*;q=0.8".into())];
    assert_eq!(browser.get("/").await.location(), "/dashboard");
    for accept in ["*/*", "application/json"] {
        let json = server.send(Method::GET, "/", &[("accept", accept)], "").await.expect(200);
        assert_eq!(json["dashboard"], "/dashboard");
    }
}

#[tokio::test]
async fn assets_are_kept_for_ever_under_names_that_change_with_them() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let mut browser = Browser::new(&server);
    let page = browser.get("/dashboard").await.expect(200);
    let names: Vec<&str> =
        page.text.split("/dashboard/assets/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(names.len() >= 2, "{}", page.text);
    for name in names {
        let asset = browser.get(&format!("/dashboard/assets/{name}")).await.expect(200);
        assert_eq!(asset.headers["cache-control"], "public, max-age=31536000, immutable");
        assert!(asset.text.len() > 500);
        let other = name.replace('-', "-0");
        browser.get(&format!("/dashboard/assets/{other}")).await.expect(404);
    }
}

const EVIL: &str = "<script>alert(1)</script>\"'";

#[tokio::test]
async fn what_others_wrote_is_shown_and_never_run() {
    let database = database();
    let evil = EVIL.replace('\'', "''");
    psql(
        &database,
        &format!(
            "insert into faultline.queues (name, paused_at, paused_reason) values ('{evil}', now(), '{evil}');
             insert into faultline.workers (id, pid, slots, lease_ttl_ms, host, version, queues, kinds)
             values (gen_random_uuid(), 1, 1, 15000, '{evil}', '{evil}', array['{evil}'], array['{evil}']);"
        ),
    );
    let server = Server::start(&database.url()).await;
    let mut browser = Browser::new(&server);
    for path in ["", "/queues", "/workers"] {
        let page = browser.get(&format!("/dashboard{path}")).await.expect(200);
        assert!(!page.text.contains(EVIL) && !page.text.contains("<script>alert"), "{}", page.text);
        check_inline(&page, path);
        if !path.is_empty() {
            assert!(page.text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{}", page.text);
        }
    }
    let answer = browser.submit("/dashboard/queues", "/dashboard/queues/pause", &[("queue", EVIL)]).await.expect(422);
    assert!(!answer.text.contains("<script>alert"), "{}", answer.text);
    // A notice is shown once, as text.
    let done =
        browser.submit("/dashboard/queues", "/dashboard/queues/pause", &[("queue", "q"), ("reason", EVIL)]).await;
    assert_eq!(done.location(), "/dashboard/queues");
    let page = browser.get("/dashboard/queues").await.expect(200);
    assert!(page.text.contains("Paused q: no job of it starts"), "{}", page.text);
    assert!(!browser.get("/dashboard/queues").await.expect(200).text.contains("Paused q: no job"));
}

#[tokio::test]
async fn under_a_sub_path_every_address_has_it() {
    let database = database();
    let server =
        Server::start_with(&database.url(), |config| config.base_path = "/ops/faultline".parse().unwrap()).await;
    // With a proxy that takes the path away, and with one that leaves it.
    for seen_as in ["", "/ops/faultline"] {
        let mut browser = Browser::new(&server);
        let page = browser.get(&format!("{seen_as}/dashboard/queues")).await.expect(200);
        for (attribute, rest) in ["href=\"/", "src=\"/", "action=\"/"]
            .iter()
            .flat_map(|a| page.text.split(a).skip(1).map(move |rest| (a, rest)))
        {
            assert!(rest.starts_with("ops/faultline/dashboard"), "{attribute}{}", &rest[..60.min(rest.len())]);
        }
        let cookie = page.headers["set-cookie"].to_str().unwrap();
        assert!(cookie.contains("; Path=/ops/faultline/dashboard;"), "{cookie}");
        let csrf = page.csrf();
        let paused =
            browser.post(&format!("{seen_as}/dashboard/queues/pause"), &[("csrf", &csrf), ("queue", "q")]).await;
        assert_eq!(paused.location(), "/ops/faultline/dashboard/queues");
        browser.watch(&format!("{seen_as}/dashboard/live/queues")).await.until(|m| m["as_of"].is_string()).await;
    }
}

#[tokio::test]
async fn a_change_is_sent_to_whoever_watches_and_nothing_else_is() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let browser = Browser::new(&server);
    let mut one = browser.watch("/dashboard/live/queues").await;
    let mut other = browser.watch("/dashboard/live/queues").await;
    let first = one.until(|message| !message["regions"]["queues"].is_null()).await;
    assert!(first["regions"]["queues"].as_str().unwrap().contains("No queues yet"), "{first}");
    other.until(|message| !message["regions"]["queues"].is_null()).await;
    let quiet = one.until(|message| message["as_of"] != first["as_of"]).await;
    assert_eq!(quiet["regions"], serde_json::json!({}), "what has not changed is not sent again");
    psql(&database, "insert into faultline.queues (name) values ('fresh')");
    for stream in [&mut one, &mut other] {
        let shows = |message: &Value| message["regions"]["queues"].as_str().is_some_and(|html| html.contains("fresh"));
        stream.until(shows).await;
    }
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams() {
    let database = database();
    let server = Server::start(&database.url()).await;
    let mut stream = Browser::new(&server).watch("/dashboard/live/queues").await;
    stream.until(|message| message["as_of"].is_string()).await;
    let began = std::time::Instant::now();
    server.stop().await;
    while stream.event().await.is_some() {}
    // Well below the drain time, after which it would have been cut off.
    assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_away_pages_say_so_and_fill_themselves_when_it_is_back() {
    use faultline_cluster::{Cluster, Mode, Programs};
    let mut cluster = Cluster::builder(Programs::find().unwrap()).durable(false).start().unwrap();
    let url = cluster.url("postgres");
    let own_url = url.clone();
    std::thread::spawn(move || common::migrated(&own_url)).join().unwrap();
    let server = Server::start(&url).await;
    let mut browser = Browser::new(&server);
    let mut early = browser.watch("/dashboard/live/queues").await;
    let before = early.until(|message| message["failure"].is_null() && message["as_of"].is_string()).await;
    cluster.stop(Mode::Fast).unwrap();
    let failed = early.until(|message| message["failure"].is_string()).await;
    assert!(failed["failure"].as_str().unwrap().starts_with("The database does not answer"), "{failed}");
    assert_eq!(failed["regions"], serde_json::json!({}), "what was shown stays, as of its time");
    assert!(failed["as_of"].as_str() >= before["as_of"].as_str());
    for path in ["", "/queues", "/workers"] {
        let page = browser.get(&format!("/dashboard{path}")).await.expect(503);
        assert!(page.text.contains("The database does not answer"), "{}", page.text);
        assert!(page.text.contains("as of <time id=\"strip-time\">never"), "{}", page.text);
        check_headers(&page, path);
    }
    let paused = browser.submit("/dashboard/queues", "/dashboard/queues/pause", &[("queue", "q")]).await.expect(503);
    assert!(paused.text.contains("Nothing was done"), "{}", paused.text);
    let mut late = browser.watch("/dashboard/live/queues?_whole=1").await;
    late.until(|message| message["failure"].is_string()).await;
    cluster.start_again().unwrap();
    let back = early.until(|message| message["failure"].is_null()).await;
    assert!(back["as_of"].is_string());
    let whole = late.until(|message| message["whole"].is_string()).await;
    let whole = whole["whole"].as_str().unwrap();
    assert!(whole.contains("<h1>Queues</h1>") && whole.contains("data-region=\"queues\""), "{whole}");
}

#[tokio::test]
async fn without_a_schema_pages_say_what_to_run() {
    let cluster_database = faultline_cluster::testing::database(|_| {});
    let server = Server::start(&cluster_database.url()).await;
    let page = Browser::new(&server).get("/dashboard").await.expect(503);
    assert!(page.text.contains("run `faultline migrate`"), "{}", page.text);
}
