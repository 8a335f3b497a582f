//! Who gets in, and what they may do.

use crate::browser::Browser;
use crate::common::{DEADLINE, Server, database, psql};
use faultline_cluster::testing::TestDatabase;
use faultline_server::{Auth, new_token};
use faultline_store::Database;
use faultline_store::tokens::{self, Role};

const QUEUES: &str = "/dashboard/queues";
const PAUSE: &str = "/dashboard/queues/pause";

pub(crate) async fn token(database: &TestDatabase, name: &str, role: Role) -> String {
    let (token, hash) = new_token();
    let store = Database::new(&database.url(), "tokens", 1).unwrap();
    assert!(store.run(async |client| tokens::create(client, name, role, &hash).await).await.unwrap());
    token
}

pub(crate) async fn closed(database: &TestDatabase) -> Server {
    Server::start_with(&database.url(), |config| config.auth = Auth::Tokens).await
}

#[tokio::test]
async fn without_a_session_one_is_led_to_sign_in_and_back() {
    let database = database();
    let operator = token(&database, "ada", Role::Operate).await;
    let server = closed(&database).await;
    let mut browser = Browser::new(&server);
    let asked = browser.get("/dashboard/queues?a=b").await;
    assert_eq!(asked.location(), "/dashboard/login?next=%2Fqueues%3Fa%3Db");
    let form = browser.get("/dashboard/login?next=%2Fqueues%3Fa%3Db").await.expect(200);
    assert!(form.text.contains("name=\"next\" value=\"/queues?a=b\""), "{}", form.text);
    let csrf = form.csrf();
    let fields = [("csrf", csrf.as_str()), ("next", "/queues?a=b"), ("token", &operator)];
    assert_eq!(browser.post("/dashboard/login", &fields).await.location(), "/dashboard/queues?a=b");
    let page = browser.get(QUEUES).await.expect(200);
    assert!(page.text.contains("ada · operate"), "{}", page.text);
    // What the browser keeps is not the token, nor any part of it.
    let kept = format!("{:?}", browser.cookies);
    assert!(!kept.contains(&operator) && !kept.contains(&operator[4..]), "{kept}");
}

#[tokio::test]
async fn a_wrong_token_is_not_let_in() {
    let database = database();
    let right = token(&database, "ada", Role::Operate).await;
    let server = closed(&database).await;
    for wrong in ["", "flt_0", &right[1..], &format!("{right}0")] {
        let mut browser = Browser::new(&server);
        let answer = browser.sign_in(wrong).await.expect(403);
        assert!(answer.text.contains("is not known, or was revoked"), "{}", answer.text);
        browser.get(QUEUES).await.location();
    }
}

#[tokio::test]
async fn each_role_sees_and_does_its_part() {
    let database = database();
    let tokens = [
        (token(&database, "r", Role::Read).await, 200, 403),
        (token(&database, "e", Role::Enqueue).await, 403, 403),
        (token(&database, "w", Role::Work).await, 403, 403),
        (token(&database, "o", Role::Operate).await, 200, 303),
    ];
    let server = closed(&database).await;
    server.send(hyper::Method::GET, "/health", &[], "").await.expect(200);
    for (token, look, act) in tokens {
        let mut browser = Browser::new(&server);
        assert_eq!(browser.sign_in(&token).await.location(), "/dashboard");
        let page = browser.get(QUEUES).await.expect(look);
        assert!(page.text.contains("Sign out"), "whoever signed in may sign out");
        let sent = browser.post(PAUSE, &[("csrf", &page.csrf()), ("queue", "q"), ("reason", "because")]).await;
        sent.expect(act);
    }
    let done =
        "select string_agg(actor || ' ' || action || ' ' || subject || ' ' || detail, ',') from faultline.audit_log";
    assert_eq!(psql(&database, done), "o queue.pause q because");
}

#[tokio::test]
async fn whoever_may_only_look_is_not_offered_what_they_may_not_do() {
    let database = database();
    let (reader, operator) = (token(&database, "r", Role::Read).await, token(&database, "o", Role::Operate).await);
    let server = closed(&database).await;
    psql(&database, "insert into faultline.queues (name) values ('q')");
    for (token, is_offered) in [(reader, false), (operator, true)] {
        let mut browser = Browser::new(&server);
        browser.sign_in(&token).await.location();
        let page = browser.get(QUEUES).await.expect(200);
        assert_eq!(page.text.contains("/queues/pause"), is_offered, "{}", page.text);
        let message = browser.watch("/dashboard/live/queues").await.until(|m| !m["regions"]["queues"].is_null()).await;
        let region = message["regions"]["queues"].as_str().unwrap();
        assert_eq!(region.contains("/queues/pause"), is_offered, "{region}");
        // What is rendered once for all holds the form of each.
        assert_eq!(region.contains(&page.csrf()), is_offered, "{region}");
    }
}

#[tokio::test]
async fn a_form_that_is_not_of_this_session_is_refused() {
    for auth in [Auth::None, Auth::Tokens] {
        let database = database();
        let operator = token(&database, "o", Role::Operate).await;
        let server = Server::start_with(&database.url(), |config| config.auth = auth).await;
        let mut browser = Browser::new(&server);
        let mut other = Browser::new(&server);
        if auth == Auth::Tokens {
            browser.sign_in(&operator).await.location();
            other.sign_in(&operator).await.location();
        }
        let csrf = browser.get(QUEUES).await.expect(200).csrf();
        let others = other.get(QUEUES).await.expect(200).csrf();
        for wrong in ["", "00", &others, &csrf[1..]] {
            let refused = browser.post(PAUSE, &[("csrf", wrong), ("queue", "q")]).await.expect(403);
            assert!(refused.text.contains("Nothing was done"), "{}", refused.text);
        }
        // Without the cookie the token is of no use either.
        let cookies = std::mem::take(&mut browser.cookies);
        browser.post(PAUSE, &[("csrf", &csrf), ("queue", "q")]).await.expect(403);
        browser.cookies = cookies;
        // Nor from a page of another site.
        browser.headers = vec![("origin", "https://evil.example".into())];
        browser.post(PAUSE, &[("csrf", &csrf), ("queue", "q")]).await.expect(403);
        browser.headers = vec![("origin", "null".into())];
        browser.post(PAUSE, &[("csrf", &csrf), ("queue", "q")]).await.expect(403);
        assert_eq!(psql(&database, "select count(*) from faultline.queues"), "0");
        browser.headers = vec![("origin", format!("http://{}", server.address))];
        browser.post(PAUSE, &[("csrf", &csrf), ("queue", "q")]).await.location();
        assert_eq!(psql(&database, "select count(*) from faultline.queues"), "1");
    }
}

#[tokio::test]
async fn a_revoked_token_ends_its_sessions_and_their_streams() {
    let database = database();
    let operator = token(&database, "o", Role::Operate).await;
    let server = closed(&database).await;
    let mut browser = Browser::new(&server);
    browser.sign_in(&operator).await.location();
    browser.get(QUEUES).await.expect(200);
    let mut stream = browser.watch("/dashboard/live/queues").await;
    stream.until(|message| message["as_of"].is_string()).await;
    let store = Database::new(&database.url(), "tokens", 1).unwrap();
    assert!(store.run(async |client| tokens::revoke(client, "o").await).await.unwrap());
    let ended = async { while stream.event().await.is_some_and(|event| !event.starts_with("event: ended")) {} };
    tokio::time::timeout(DEADLINE, ended).await.expect("the stream ends");
    assert_eq!(stream.event().await, None);
    assert!(browser.get(QUEUES).await.location().starts_with("/dashboard/login"));
    let mut stream = browser.watch("/dashboard/live/queues").await;
    assert!(stream.event().await.unwrap().starts_with("event: ended"));
}

#[tokio::test]
async fn signing_out_ends_the_session_and_not_only_its_cookie() {
    let database = database();
    let operator = token(&database, "o", Role::Operate).await;
    let server = closed(&database).await;
    let mut browser = Browser::new(&server);
    browser.sign_in(&operator).await.location();
    let stolen = browser.cookies.clone();
    assert_eq!(browser.submit(QUEUES, "/dashboard/logout", &[]).await.location(), "/dashboard/login");
    assert!(browser.get(QUEUES).await.location().starts_with("/dashboard/login"));
    browser.cookies = stolen;
    assert!(browser.get(QUEUES).await.location().starts_with("/dashboard/login"));
}

#[tokio::test]
async fn servers_that_share_a_key_share_sessions() {
    let database = database();
    let operator = token(&database, "o", Role::Operate).await;
    let with_key = |key: &str| {
        let (url, key) = (database.url(), key.to_owned());
        async move { Server::start_with(&url, |config| (config.auth, config.session_key) = (Auth::Tokens, Some(key))).await }
    };
    let (one, two, other) = (with_key("k").await, with_key("k").await, with_key("other").await);
    let mut browser = Browser::new(&one);
    browser.sign_in(&operator).await.location();
    // As behind a balancer, whose name has no port.
    let session = browser.cookies.into_values().next().unwrap();
    for (server, status) in [(&one, 200), (&two, 200), (&other, 303)] {
        let mut browser = Browser::new(server);
        browser.cookies.insert(format!("faultline_session_{}", server.address.port()), session.clone());
        browser.get(QUEUES).await.expect(status);
    }
}

#[tokio::test]
async fn behind_https_cookies_are_for_https_only() {
    let database = database();
    let server = Server::start(&database.url()).await;
    for (proto, is_secure) in [(None, false), (Some("http"), false), (Some("https"), true)] {
        let mut browser = Browser::new(&server);
        browser.headers = proto.map(|proto| ("x-forwarded-proto", proto.to_owned())).into_iter().collect();
        let page = browser.get(QUEUES).await.expect(200);
        let cookie = page.headers["set-cookie"].to_str().unwrap();
        assert_eq!(cookie.contains("; Secure"), is_secure, "{cookie}");
        assert!(cookie.contains("; Path=/dashboard;"), "{cookie}");
    }
}
