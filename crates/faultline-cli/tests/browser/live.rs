//! Pages that are left open: they tell what happens without being loaded again, and leave alone what somebody is doing.

use crate::chromium::Browser;
use crate::site::{Site, is_same_document, mark, no_complaints, until_live};
use rustix::process::Signal;

#[test]
fn a_job_goes_through_its_states_on_an_open_page() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::start();
    let id = site.enqueue(&["demo.sleep", "{\"ms\": 1500}"]);
    let tab = browser.tab();
    tab.open(&site.page(&format!("/jobs/{id}")));
    mark(&tab);
    tab.until_text("queued");
    let _worker = site.worker("default");
    tab.until_text("running");
    tab.until_text("succeeded");
    tab.until_text("slept_ms");
    is_same_document(&tab);
    no_complaints(&tab);
}

#[test]
fn a_killed_worker_shows_on_the_overview_and_on_its_job() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::start();
    let victim = site.worker("default");
    let id = site.enqueue(&["demo.sleep", "{\"ms\": 60000}"]);
    let (job, overview) = (browser.tab(), browser.tab());
    job.open(&site.page(&format!("/jobs/{id}")));
    job.until_text("running");
    overview.open(&site.page(""));
    mark(&job);
    mark(&overview);
    let _heir = site.worker("default");
    victim.signal(Signal::KILL);
    overview
        .until("the recovery", "document.querySelector('[data-region=recoveries]')?.innerText.includes('demo.sleep')");
    job.until_text("attempt 2");
    job.until_text("running");
    is_same_document(&job);
    is_same_document(&overview);
    no_complaints(&job);
    no_complaints(&overview);
}

#[test]
fn a_stopped_database_is_said_and_recovered_from_without_loading_again() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::breakable();
    site.enqueue(&["demo.echo"]);
    let (tab, late) = (browser.tab(), browser.tab());
    tab.open(&site.page("/queues"));
    mark(&tab);
    until_live(&tab);
    no_complaints(&tab);
    site.stop_database();
    tab.until_text("The database does not answer");
    tab.until("that what is shown is of the past", "document.querySelector('main').hasAttribute('data-stale')");
    assert!(tab.text().contains("data of the past") || tab.eval(PAST).as_bool().unwrap(), "{}", tab.text());
    // A page that is opened now has nothing to show and says so.
    late.open(&site.page("/queues"));
    late.until_text("The database does not answer");
    assert!(!late.text().contains("default"), "{}", late.text());
    mark(&late);
    site.start_database();
    for tab in [&tab, &late] {
        tab.until_text("The database answers");
        tab.until_text("default");
        tab.until("that it is fresh again", "!document.querySelector('main').hasAttribute('data-stale')");
        is_same_document(tab);
    }
    site.enqueue(&["demo.echo", "--queue", "fresh"]);
    tab.until_text("fresh");
    is_same_document(&tab);
}

/// Whether the words stand beside the time, where a style puts them.
const PAST: &str =
    "getComputedStyle(document.querySelector('.strip-time'), '::before').content.includes('data of the past')";

#[test]
fn selected_text_and_the_focus_survive_updates() {
    let Some(browser) = Browser::start() else { return };
    let site = Site::start();
    for queue in ["alpha", "beta"] {
        site.enqueue(&["demo.echo", "--queue", queue]);
    }
    let tab = browser.tab();
    tab.open(&site.page("/queues"));
    tab.until_text("alpha");
    until_live(&tab);
    // Somebody is about to pause a queue, and is typing why.
    tab.click("summary.button");
    tab.click("details[open] input[name=reason]");
    tab.write("the disk is ");
    site.enqueue(&["demo.echo", "--queue", "aaa-first"]);
    tab.until_text("aaa-first");
    tab.write("full");
    assert_eq!(tab.eval("document.activeElement.name"), "reason");
    assert_eq!(tab.eval("document.activeElement.value"), "the disk is full");
    assert_eq!(tab.eval("document.activeElement.closest('form').querySelector('[name=queue]').value"), "alpha");
    tab.eval("document.querySelector('details[open]').open = false");
    // Somebody has marked a name, to copy it.
    let select = "(() => { const cell = [...document.querySelectorAll('th')].find(cell => cell.innerText === 'beta');
        getSelection().selectAllChildren(cell); return getSelection().toString(); })()";
    assert_eq!(tab.eval(select), "beta");
    site.enqueue(&["demo.echo", "--queue", "aab-second"]);
    until_live(&tab);
    until_live(&tab);
    assert_eq!(tab.eval("getSelection().toString()"), "beta");
    tab.eval("getSelection().removeAllRanges()");
    tab.until_text("aab-second");
    no_complaints(&tab);
}
