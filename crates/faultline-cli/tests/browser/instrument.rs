//! The browser itself: that it notices what must not be, and that nothing of it stays behind.

use crate::chromium::Browser;
use crate::common::{alive, until_gone};
use std::io::{Read, Write};
use std::net::TcpListener;

/// Serves one page to whoever asks, with a policy as strict as the dashboard's.
fn page(html: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            let Ok(count) = stream.read(&mut request) else { continue };
            let is_page = request[..count].starts_with(b"GET / ");
            let (status, body) = if is_page { ("200 OK", html) } else { ("404 Not Found", "") };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\
                 content-security-policy: default-src 'none'; script-src 'self'; img-src 'self' data:\r\n\r\n{body}",
                body.len()
            );
        }
    });
    format!("http://{address}/")
}

#[test]
fn it_notices_errors_violations_and_what_is_missing() {
    let Some(browser) = Browser::start() else { return };
    let tab = browser.tab();
    tab.open(&page("<!doctype html><title>well</title><link rel=icon href=data:,><h1>All is well</h1>"));
    assert_eq!(tab.complaints(), Vec::<String>::new());
    tab.open(&page("<!doctype html><script>document.title = 'run'</script><p style='color:red'>styled"));
    let complaints = tab.complaints();
    assert!(complaints.iter().filter(|text| text.contains("Content Security Policy")).count() >= 2, "{complaints:?}");
    assert_ne!(tab.eval("document.title"), "run");
    tab.open(&page("<!doctype html><link rel=icon href=data:,><img src=missing.png>"));
    assert!(tab.complaints().iter().any(|text| text.contains("404")));
    tab.eval("setTimeout(() => { throw new Error('out of order') }, 0)");
    tab.eval("console.error('said', 7)");
    tab.eval("new Promise(done => setTimeout(done, 20))");
    let complaints = tab.complaints();
    assert!(complaints.iter().any(|text| text.contains("out of order")), "{complaints:?}");
    assert!(complaints.iter().any(|text| text.contains("said")), "{complaints:?}");
    assert_eq!(tab.complaints(), Vec::<String>::new(), "each is told once");
}

#[test]
fn nothing_of_it_stays_behind() {
    let Some(browser) = Browser::start() else { return };
    let tab = browser.tab();
    tab.open(&page("<!doctype html><title>well</title>"));
    let processes = browser.processes();
    assert!(processes.len() >= 3, "{processes:?}");
    assert!(processes.iter().all(|pid| alive(*pid)));
    drop(browser);
    processes.iter().for_each(|pid| until_gone(*pid));
}
