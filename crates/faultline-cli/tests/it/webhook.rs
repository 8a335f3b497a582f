//! `faultline work --http`, against a small server of our own.

use crate::common::{Background, database, ended, enqueue, program};
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

/// A request as it came in.
struct Request {
    head: String,
    body: String,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Answers one request after the other with these; hands out what came in.
fn server(answers: &'static [&'static str]) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jobs?x=1", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = sender.send(read(&stream));
            let (status, body) = answer.split_once('|').unwrap();
            let length = body.len();
            let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            stream.write_all(text.as_bytes()).unwrap();
        }
    });
    (url, requests)
}

fn read(stream: &TcpStream) -> Request {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0);
    }
    let mut request = Request { head, body: String::new() };
    let length: usize = request.header("content-length").unwrap().trim().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    request.body = String::from_utf8(body).unwrap();
    request
}

#[test]
fn a_job_is_posted_signed_and_its_answer_is_the_result() {
    let (url, requests) = server(&["200 OK|{\"ok\": true}"]);
    let database = database();
    let id = enqueue(&database, &["mail", "{\"to\":\"ann\"}", "--key", "k1"]);
    let mut command = program(&["work", "--http", &url]);
    command.env("DATABASE_URL", database.url());
    let _worker = Background::start(command.env("FAULTLINE_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    let job = ended(&database, &id);
    assert_eq!((&job["state"], &job["result"]), (&json!("succeeded"), &json!({"ok": true})));
    let request = requests.recv().unwrap();
    assert!(request.head.starts_with("POST /jobs?x=1 HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&request.body).unwrap(), json!({"to": "ann"}));
    for (name, value) in [
        ("content-type", "application/json"),
        ("faultline-job-id", &id),
        ("webhook-id", &id),
        ("faultline-kind", "mail"),
        ("faultline-attempt", "1"),
        ("faultline-key", "k1"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    assert!(request.header("webhook-signature").unwrap().starts_with("v1,"));
    assert!(request.header("webhook-timestamp").unwrap().parse::<i64>().unwrap() > 1_700_000_000);
}

#[test]
fn an_answer_that_asks_for_time_gets_it_and_one_that_says_gone_ends_the_job() {
    let (url, _requests) = server(&["503 Busy\r\nretry-after: 0|later", "410 Gone|no such mailbox"]);
    let database = database();
    // A back-off of a day would outlast the test.
    let id = enqueue(&database, &["mail", "--backoff-base", "1d", "--backoff-cap", "1d"]);
    let mut worker = Background::worker(&database, &["--http", &url]);
    worker.line("requests are not signed");
    let job = ended(&database, &id);
    let facts = ["state", "attempts", "reason", "last_error"].map(|name| job[name].clone());
    assert_eq!(json!(facts), json!(["failed", 2, "fatal", "answered 410 Gone: no such mailbox"]));
}

#[test]
fn a_server_that_is_not_there_is_a_failed_attempt() {
    let database = database();
    let id = enqueue(&database, &["mail", "--max-attempts", "1"]);
    let _worker = Background::worker(&database, &["--http", "http://127.0.0.1:9/jobs"]);
    let job = ended(&database, &id);
    let error = job["last_error"].as_str().unwrap();
    assert!(error.starts_with("http://127.0.0.1:9/jobs: ") && error.contains("refused"), "{error}");
}
