//! Who may look and act: tokens, roles, forms of other sites, a proxy's path.

use crate::chromium::{Browser, Tab};
use crate::common::{program, run};
use crate::site::{Site, navigation, no_complaints};
use serde_json::json;
use std::cell::RefCell;

/// Makes a token; answers it.
fn token(url: &str, name: &str, role: &str) -> String {
    let answer = run(program(&["token", "create", name, "--role", role, "-o", "json"]).env("DATABASE_URL", url)).json();
    answer["token"].as_str().expect("a token").to_owned()
}

fn sign_in(tab: &Tab, token: &str) {
    tab.click("#token");
    tab.write(token);
    tab.follow(|tab| tab.press("Enter"));
}

#[test]
fn tokens_are_demanded_and_their_roles_apply() {
    let Some(browser) = Browser::start() else { return };
    let tokens = RefCell::new(Vec::new());
    let site = Site::prepared(&[], |url| {
        tokens.borrow_mut().extend(["read", "operate", "enqueue"].map(|role| token(url, &format!("ann-{role}"), role)));
    });
    let [reader, operator, enqueuer] = &tokens.borrow()[..] else { panic!("three tokens") };
    site.enqueue(&["demo.echo", "--queue", "mail"]);

    let tab = browser.tab();
    tab.open(&site.page("/queues"));
    assert!(tab.eval("location.pathname").as_str().unwrap().ends_with("/login"), "{}", tab.text());
    assert!(!tab.text().contains("mail"));
    no_complaints(&tab);
    sign_in(&tab, "flt_wrong");
    tab.until_text("not known");
    tab.complaints(); // that the answer was 403
    sign_in(&tab, reader);
    tab.until_text("mail");
    assert!(tab.eval("location.pathname").as_str().unwrap().ends_with("/queues"), "one goes on where one wanted to");
    tab.until_text("ann-read");
    assert!(!tab.text().contains("Pause"), "{}", tab.text());
    assert_eq!(tab.eval("document.cookie"), "", "no script may read the session");
    // Who makes up the form is refused all the same.
    let status = tab.eval(&post("/queues/pause", "document.querySelector('input[name=csrf]').value"));
    assert_eq!(status, 403);
    tab.complaints();
    assert!(!site.faultline(&["queue", "list", "-o", "json"]).out.contains("\"paused\":true"));

    let tab = browser.tab();
    tab.open(&site.page("/queues"));
    sign_in(&tab, operator);
    tab.click("summary.button");
    tab.click("details[open] input[name=reason]");
    tab.write("too many letters");
    tab.follow(|tab| tab.press("Enter"));
    tab.until_text("too many letters");
    let listed = site.faultline(&["queue", "list", "-o", "json"]).out;
    assert!(listed.contains("too many letters"), "{listed}");
    no_complaints(&tab);
    // Without the token of its own form, nothing is done.
    let status = tab.eval(&post("/queues/resume", "'00'"));
    assert_eq!(status, 403);
    tab.complaints();
    assert!(site.faultline(&["queue", "list", "-o", "json"]).out.contains("too many letters"));
    tab.follow(|tab| tab.click("form[action$='/logout'] button"));
    assert!(tab.eval("location.pathname").as_str().unwrap().ends_with("/login"));
    tab.open(&site.page("/queues"));
    assert!(tab.eval("location.pathname").as_str().unwrap().ends_with("/login"), "signed out");

    let tab = browser.tab();
    tab.open(&site.page(""));
    sign_in(&tab, enqueuer);
    tab.until_text("may not");
    assert!(!tab.text().contains("mail"), "{}", tab.text());
}

/// Sends a form from a script of the page; gives the status.
fn post(path: &str, csrf: &str) -> String {
    format!(
        "fetch(document.body.dataset.base + {}, {{method: 'POST', body: new URLSearchParams({{csrf: {csrf}, queue: 'mail'}}),
         redirect: 'manual'}}).then(answer => answer.status)",
        json!(path)
    )
}

#[test]
fn a_revoked_token_ends_its_session_on_the_open_page() {
    let Some(browser) = Browser::start() else { return };
    let tokens = RefCell::new(Vec::new());
    let site = Site::prepared(&[], |url| tokens.borrow_mut().push(token(url, "ann", "read")));
    let tab = browser.tab();
    tab.open(&site.page("/queues"));
    sign_in(&tab, &tokens.borrow()[0]);
    tab.until_text("Queues");
    site.faultline(&["token", "revoke", "ann"]);
    tab.until_text("session has ended");
}

#[test]
fn under_a_proxys_path_every_address_stays_below_it() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::prepared(&["--base-path", "/tools/jobs"], |_| ());
    site.enqueue(&["demo.echo", "--queue", "mail"]);
    let tab = browser.tab();
    let below = format!("{}/tools/jobs/dashboard", site.url);
    tab.open(&format!("{below}/"));
    for link in navigation(&tab) {
        assert!(link.starts_with(&below), "{link}");
        tab.open(&link);
        let outside = tab.eval(&format!(
            "[...document.querySelectorAll('[href], [src], [action]')].map(e => e.href?.baseVal ?? e.action ?? e.href ?? e.src)
             .concat(performance.getEntriesByType('resource').map(entry => entry.name))
             .filter(url => !url.startsWith('data:') && !url.startsWith({}))",
            json!(below)
        ));
        assert_eq!(outside, json!([]), "{link}");
        crate::site::until_live(&tab);
        no_complaints(&tab);
    }
    tab.open(&format!("{below}/queues"));
    tab.click("summary.button");
    tab.follow(|tab| tab.click("details[open] button[type=submit]"));
    assert_eq!(tab.eval("location.href"), format!("{below}/queues"));
    tab.until_text("paused");
}
