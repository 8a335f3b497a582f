//! Traces of a real server and real workers, as a collector gets them, and the fields of the log lines.

use crate::collector::{Collector, Seen};
use crate::common::{Background, database, ended, enqueue, faultline, http, program, until};
use faultline_cluster::testing::{TestDatabase, cluster};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::process::Command;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The program with traces that are sent soon.
fn traced(args: &[&str], database: &TestDatabase, endpoint: &str) -> Command {
    let mut command = program(args);
    command.env("DATABASE_URL", database.url()).env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    command.env("OTEL_BSP_SCHEDULE_DELAY", "50");
    command
}

fn serve(database: &TestDatabase, collector: &Collector) -> (Background, String) {
    let mut server = Background::start(&mut traced(&["serve", "--port", "0"], database, &collector.endpoint));
    let address = server.line("ready http://").trim_start_matches("ready http://").to_owned();
    (server, address)
}

fn work(database: &TestDatabase, endpoint: &str, args: &[&str]) -> Background {
    let mut worker = Background::start(&mut traced(&[&["work"], args].concat(), database, endpoint));
    worker.line("the worker has started");
    worker
}

/// Enqueues over HTTP, with headers of the request's own; answers the status and the job.
fn post(address: &str, headers: &str, job: &Value) -> (u16, Value) {
    let (status, body) = http(address, &format!("POST /v1/jobs HTTP/1.1\r\n{headers}x:"), &job.to_string());
    (status, serde_json::from_str(&body).unwrap())
}

#[track_caller]
fn assert_kind(seen: &Seen, kind: SpanKind) {
    assert_eq!(seen.span.kind, i32::from(kind), "{seen:#?}");
}

fn is_error(seen: &Seen) -> bool {
    seen.span.status.as_ref().is_some_and(|status| status.code == i32::from(StatusCode::Error))
}

#[test]
fn one_trace_leads_from_the_request_through_both_attempts() {
    let (database, collector) = (database(), Collector::start());
    let (mut server, address) = serve(&database, &collector);
    let mut worker = work(&database, &collector.endpoint, &["--demo"]);
    let headers = format!("traceparent: {TRACEPARENT}\r\ntracestate: vendor=1\r\n");
    let job =
        json!({"kind": "demo.fail", "payload": {"times": 1}, "backoff": {"base": "10ms"}, "headers": {"tag": "x"}});
    let (status, job) = post(&address, &headers, &job);
    assert_eq!(status, 201, "{job}");
    let id = job["id"].as_str().unwrap();
    let job = ended(&database, id);
    assert_eq!((&job["state"], &job["attempts"]), (&json!("succeeded"), &json!(2)), "{job}");

    let [request] = collector.wait("POST /v1/jobs");
    assert_kind(&request, SpanKind::Server);
    assert_eq!((request.trace(), request.parent()), (TRACE.to_owned(), CALLER.to_owned()));
    assert_eq!(
        (request.attribute("http.route"), request.attribute("http.response.status_code")),
        ("/v1/jobs".into(), "201".into())
    );
    assert_eq!(request.service, "faultline-api");

    let [sent] = collector.wait("enqueue default");
    assert_kind(&sent, SpanKind::Producer);
    assert_eq!((sent.trace(), sent.parent()), (TRACE.to_owned(), request.id()));
    for (name, value) in [
        ("messaging.system", "faultline"),
        ("messaging.operation.type", "send"),
        ("messaging.destination.name", "default"),
        ("messaging.message.id", id),
        ("kind", "demo.fail"),
        ("outcome", "created"),
    ] {
        assert_eq!(sent.attribute(name), value, "{name} of {sent:#?}");
    }
    assert_eq!(job["headers"], json!({"tag": "x", "traceparent": sent.context(), "tracestate": "vendor=1"}));

    let attempts: [Seen; 2] = collector.wait("attempt default");
    for (attempt, number) in attempts.iter().zip(["1", "2"]) {
        assert_kind(attempt, SpanKind::Consumer);
        assert_eq!((attempt.trace(), attempt.parent()), (TRACE.to_owned(), sent.id()), "{attempt:#?}");
        assert_eq!(attempt.links(), [sent.id()], "the conventions ask for a link as well");
        assert_eq!((attempt.span.trace_state.as_str(), attempt.service.as_str()), ("vendor=1", "faultline-worker"));
        for (name, value) in [
            ("messaging.operation.type", "process"),
            ("messaging.destination.name", "default"),
            ("messaging.message.id", id),
            ("job", id),
            ("attempt", number),
            ("queue", "default"),
            ("kind", "demo.fail"),
        ] {
            assert_eq!(attempt.attribute(name), value, "{name} of {attempt:#?}");
        }
        assert_eq!((attempt.attribute("lease").len(), attempt.attribute("worker").len()), (36, 36));
        assert_eq!(attempt.attribute("worker"), attempt.attribute("messaging.client.id"));
    }
    let [failed, succeeded] = attempts;
    assert_ne!(failed.attribute("lease"), succeeded.attribute("lease"));
    assert_eq!((failed.attribute("outcome"), failed.attribute("error.type")), ("retried".into(), "error".into()));
    assert_eq!(failed.span.status.as_ref().unwrap().message, "attempt 1 was asked to fail");
    assert_eq!(succeeded.attribute("outcome"), "succeeded");
    assert!(is_error(&failed) && !is_error(&succeeded));

    // A claim and a finish of one job alone are in its trace.
    let claims: [Seen; 2] = collector.wait("claim default");
    let finishes: [Seen; 2] = collector.wait("finish default");
    for claim in &claims {
        assert_kind(claim, SpanKind::Client);
        assert_eq!((claim.parent(), claim.links()), (sent.id(), vec![sent.id()]), "{claim:#?}");
        assert_eq!(claim.attribute("messaging.operation.type"), "receive");
        assert_eq!(claim.attribute("messaging.batch.message_count"), "1");
    }
    assert_eq!(finishes.map(|finish| finish.parent()), [failed.id(), succeeded.id()]);
    assert_eq!((server.stop(), worker.stop()), (0, 0));
}

#[test]
fn a_request_with_another_traceparent_is_still_the_same_request() {
    let (database, collector) = (database(), Collector::start());
    let (_server, address) = serve(&database, &collector);
    let job = json!({"kind": "k", "key": "order-42"});
    let (status, first) = post(&address, "", &job);
    assert_eq!((status, &first["created"]), (201, &json!(true)));
    let (status, second) = post(&address, &format!("traceparent: {TRACEPARENT}\r\n"), &job);
    assert_eq!((status, &second["created"], &second["id"]), (200, &json!(false), &first["id"]));
    let sent: [Seen; 2] = collector.wait("enqueue default");
    assert_eq!(sent.each_ref().map(|sent| sent.attribute("outcome")), ["created", "duplicate"]);
    // The server began a trace for the first one, and the job stays in it.
    assert_eq!(second["headers"]["traceparent"], json!(sent[0].context()));
    assert_eq!(sent[1].trace(), TRACE);
}

#[test]
fn a_batch_is_one_span_and_each_job_may_bring_a_context_of_its_own() {
    let (database, collector) = (database(), Collector::start());
    let (_server, address) = serve(&database, &collector);
    let own = json!({"kind": "k", "headers": {"traceparent": TRACEPARENT}});
    let batch = json!({"jobs": [{"kind": "k"}, own, {"kind": "k", "queue": "other"}]});
    let (status, answer) = http(&address, "POST /v1/jobs/batch", &batch.to_string());
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let [sent] = collector.wait("enqueue");
    assert_eq!(sent.attribute("messaging.batch.message_count"), "3");
    assert_eq!(sent.links(), [CALLER]);
    let parents = [0, 1, 2].map(|at| {
        let id = answer["jobs"][at]["id"].as_str().unwrap();
        crate::common::job(&database, id)["headers"]["traceparent"].clone()
    });
    assert_eq!(parents, [json!(sent.context()), json!(TRACEPARENT), json!(sent.context())]);
}

#[test]
fn a_command_and_what_it_enqueues_are_below_the_attempt() {
    let (database, collector) = (database(), Collector::start());
    let sql = format!(
        "select faultline.enqueue(kind => 'outer', headers => '{{\"traceparent\": \"{TRACEPARENT}\", \"tag\": 1}}')"
    );
    let outer = cluster().psql(database.name(), &sql).unwrap();
    let program = env!("CARGO_BIN_EXE_faultline");
    let script = format!(
        "if [ $FAULTLINE_KIND = outer ]; then '{program}' job enqueue inner --headers '{{\"tag\":2}}' -o json; fi; \
         printf %s \"$TRACEPARENT\" >&2"
    );
    let _worker = work(&database, &collector.endpoint, &["--exec", "sh", "-c", &script]);
    let outer = ended(&database, outer.trim());
    assert_eq!(outer["headers"], json!({"traceparent": TRACEPARENT, "tag": 1}));
    let inner = ended(&database, outer["result"]["id"].as_str().unwrap());
    let [first, second] = collector.wait("attempt default");
    assert_eq!((first.trace(), first.parent(), first.attribute("kind")), (TRACE.into(), CALLER.into(), "outer".into()));
    assert_eq!(inner["headers"], json!({"traceparent": first.context(), "tag": 2}));
    assert_eq!((second.trace(), second.parent(), second.attribute("kind")), (TRACE.into(), first.id(), "inner".into()));
}

#[test]
fn a_job_without_a_context_begins_a_trace_with_its_attempt() {
    let (database, collector) = (database(), Collector::start());
    let id = enqueue(&database, &["demo.echo"]);
    let _worker = work(&database, &collector.endpoint, &["--demo"]);
    assert_eq!(ended(&database, &id)["headers"], Value::Null);
    let [attempt] = collector.wait("attempt default");
    assert_eq!((attempt.parent(), attempt.links()), (String::new(), Vec::new()));
}

#[test]
fn what_the_caller_did_not_sample_is_not_sent() {
    let (database, collector) = (database(), Collector::start());
    let (mut server, address) = serve(&database, &collector);
    let mut worker = work(&database, &collector.endpoint, &["--demo"]);
    let unsampled = TRACEPARENT.replace("-01", "-00");
    let (_, job) = post(&address, &format!("traceparent: {unsampled}\r\n"), &json!({"kind": "demo.echo"}));
    let job = ended(&database, job["id"].as_str().unwrap());
    let parent = job["headers"]["traceparent"].as_str().unwrap();
    assert!(parent.starts_with(&format!("00-{TRACE}-")) && parent.ends_with("-00"), "{parent}");
    // Another job, which is sampled, comes after it.
    let (_, job) = post(&address, "", &json!({"kind": "demo.echo"}));
    ended(&database, job["id"].as_str().unwrap());
    assert_eq!((server.stop(), worker.stop()), (0, 0));
    let names = ["POST /v1/jobs", "enqueue default", "attempt default", "claim default", "finish default"];
    for name in names {
        let [seen] = collector.wait(name);
        assert_ne!(seen.trace(), TRACE, "{seen:#?}");
    }
}

/// A collector that is away or never answers: the jobs don't notice, the log says so once, and the end comes soon.
#[track_caller]
fn jobs_do_not_notice(endpoint: &str) {
    const JOBS: usize = 300;
    let database = database();
    let sql = format!("select count(faultline.enqueue(kind => 'demo.echo')) from generate_series(1, {JOBS})");
    cluster().psql(database.name(), &sql).unwrap();
    let mut command = traced(&["work", "--demo"], &database, endpoint);
    // A queue that is full at once, and batches that fail one after the other.
    command.env("OTEL_BSP_MAX_QUEUE_SIZE", "16").env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8");
    let mut worker = Background::start(command.env("OTEL_EXPORTER_OTLP_TIMEOUT", "200"));
    let left = || cluster().psql(database.name(), "select count(*) from faultline.jobs").unwrap().trim().to_owned();
    until("every job to end", || (left() == "0").then_some(()));
    worker.line("traces can't be sent to the collector");
    assert_eq!(worker.stop(), 0);
    let printed = worker.printed();
    assert_eq!(printed.matches("traces can't be sent to the collector").count(), 1, "{printed}");
    let succeeded = "select count(*) from faultline.job_history where state = 'succeeded' and attempts = 1";
    assert_eq!(cluster().psql(database.name(), succeeded).unwrap().trim(), JOBS.to_string());
}

#[test]
fn a_collector_that_refuses_does_not_hurt_jobs() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    jobs_do_not_notice(&format!("http://{closed}"));
}

#[test]
fn a_collector_that_never_answers_does_not_hurt_jobs() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    jobs_do_not_notice(&format!("http://{}", silent.local_addr().unwrap()));
}

#[test]
fn an_endpoint_that_makes_no_sense_is_said_and_nothing_else() {
    let database = database();
    let id = enqueue(&database, &["demo.echo"]);
    let mut worker = work(&database, "no such thing", &["--demo"]);
    worker.line("there are no traces: the endpoint is not a URL");
    assert_eq!(ended(&database, &id)["state"], "succeeded");
}

#[test]
fn a_line_logged_inside_of_an_attempt_says_of_which() {
    let database = database();
    let job = enqueue(&database, &["demo.crash", "--headers", &format!("{{\"traceparent\":\"{TRACEPARENT}\"}}")]);
    // However little is logged.
    let mut worker = program(&["work", "--demo", "--log-format", "json", "--log", "warn"]);
    let mut worker = Background::start(worker.env("DATABASE_URL", database.url()));
    let line: Value = serde_json::from_str(&worker.line("demo.crash kills")).unwrap();
    for (name, value) in [
        ("level", json!("WARN")),
        ("message", json!("demo.crash kills this process")),
        ("job", json!(job)),
        ("attempt", json!(1)),
        ("queue", json!("default")),
        ("kind", json!("demo.crash")),
        ("trace_id", json!(TRACE)),
    ] {
        assert_eq!(line[name], value, "{name} of {line}");
    }
    assert!(line["lease"].as_str().unwrap().len() == 36 && line["worker"].as_str().unwrap().len() == 36, "{line}");
    let timestamp = line["timestamp"].as_str().unwrap();
    assert!(timestamp.ends_with('Z') && timestamp.parse::<jiff::Timestamp>().is_ok(), "RFC 3339: {timestamp}");
    // The same as text, with the job's second life.
    let id = enqueue(&database, &["demo.crash"]);
    let mut worker = program(&["work", "--demo", "--log", "warn"]);
    let mut worker = Background::start(worker.env("DATABASE_URL", database.url()));
    let line = worker.line(&format!("job={id} attempt=1 lease="));
    assert!(line.contains("kind=\"demo.crash\"") && line.ends_with(": demo.crash kills this process"), "{line}");
    assert!(!line.contains("otel."), "{line}");
}

#[test]
fn no_line_holds_a_secret() {
    const SECRETS: [&str; 5] =
        ["password-7f2c", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "collector-key-91ab", "payload-55de", "idempotency-08aa"];
    let database = database();
    let token = faultline(&database, &["token", "create", "ci", "--role", "operate"]).ok().out.trim().to_owned();
    let url = database.url().replacen('@', ":password-7f2c@", 1);
    assert!(url.contains(SECRETS[0]), "{url}");
    // The port of somebody who has gone: errors are logged, too.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let start = |args: &[&str]| {
        let mut command = traced(
            &[args, &["--log", "debug,faultline=trace", "--log-format", "json"]].concat(),
            &database,
            &format!("http://{closed}"),
        );
        command.env("DATABASE_URL", &url).env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=collector-key-91ab");
        command.env("FAULTLINE_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        Background::start(&mut command)
    };
    let mut server = start(&["serve", "--port", "0"]);
    let address = server.line("ready http://").trim_start_matches("ready http://").to_owned();
    let mut worker = start(&["work", "--http", &format!("http://user:password-7f2c@{closed}/jobs")]);
    let headers = format!("authorization: Bearer {token}\r\n");
    let job = json!({"kind": "k", "payload": "payload-55de", "key": "idempotency-08aa", "max_attempts": 1});
    let (status, job) = post(&address, &headers, &job);
    assert_eq!(status, 201, "{job}");
    let (status, _) = http(&address, "GET /v1/jobs HTTP/1.1\r\nauthorization: Bearer wrong\r\nx:", "");
    assert_eq!(status, 401);
    assert_eq!(ended(&database, job["id"].as_str().unwrap())["state"], "failed");
    worker.line("traces can't be sent");
    assert_eq!((server.stop(), worker.stop()), (0, 0));
    let printed = [server.printed(), worker.printed()].concat();
    for of_each in ["traces can't be sent", "the finish was answered"] {
        assert!(printed.contains(of_each), "{of_each} was logged: {printed}");
    }
    for secret in SECRETS.into_iter().chain([token.as_str()]) {
        let lines: Vec<&str> = printed.lines().filter(|line| line.contains(secret)).collect();
        assert!(lines.is_empty(), "{secret}: {lines:#?}");
    }
}

#[test]
fn every_line_of_json_is_an_object_with_a_time_and_a_level() {
    let database = database();
    let id = enqueue(&database, &["demo.fail", "--max-attempts", "1"]);
    let mut command = program(&["work", "--demo", "--log", "debug", "--log-format", "json"]);
    let mut worker = Background::start(command.env("DATABASE_URL", database.url()));
    ended(&database, &id);
    assert_eq!(worker.stop(), 0);
    let printed = worker.printed();
    let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for line in &lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{field} of {line}");
        }
    }
    let answered = lines.iter().find(|line| line["message"] == "the finish was answered").expect("it was answered");
    assert_eq!((&answered["job"], &answered["attempt"], &answered["state"]), (&json!(id), &json!(1), &json!("failed")));
}
