//! `faultline serve` and `faultline health`.

use crate::common::{Background, database, empty_database, faultline, http, program, run, until};
use faultline_cluster::{Cluster, Mode, Programs};
use std::net::TcpListener;

fn serve(url: &str, args: &[&str]) -> (Background, String) {
    let mut server = Background::start(program(&[&["serve", "--port", "0"], args].concat()).env("DATABASE_URL", url));
    let ready = server.line("ready http://");
    let address = ready.trim_start_matches("ready http://").replace("0.0.0.0", "127.0.0.1");
    (server, address)
}

#[test]
fn on_the_loopback_address_without_tokens_it_is_open_and_healthy() {
    let database = database();
    let (mut server, address) = serve(&database.url(), &[]);
    let (status, body) = http(&address, "POST /v1/jobs", "{\"kind\":\"k\",\"payload\":{}}");
    assert_eq!(status, 201, "{body}");
    let health = run(&mut program(&["health", "--url", &format!("http://{address}/health")])).ok();
    assert!(health.out.starts_with("200 {"), "{health:?}");
    assert_eq!(server.stop(), 0);
    let gone = run(&mut program(&["health", "--url", &format!("http://{address}/health")])).error(1);
    assert!(gone.contains("no answer from http://127.0.0.1") && gone.contains("refused"), "{gone}");
}

#[test]
fn an_address_that_others_reach_needs_tokens_or_insistence() {
    let database = database();
    let refused = faultline(&database, &["serve", "--port", "0", "--host", "0.0.0.0"]).error(1);
    assert!(refused.contains("refusing to listen on 0.0.0.0") && refused.contains("token create"), "{refused}");
    let (mut insisting, address) = serve(&database.url(), &["--host", "0.0.0.0", "--insecure-no-auth"]);
    assert_eq!(http(&address, "GET /v1/queues", "").0, 200);
    assert_eq!(insisting.stop(), 0);
    let token = faultline(&database, &["token", "create", "ci", "--role", "read"]).ok().out;
    let (_server, address) = serve(&database.url(), &["--host", "0.0.0.0"]);
    assert_eq!(http(&address, "GET /v1/queues", "").0, 401);
    let with_token = format!("GET /v1/queues HTTP/1.1\r\nauthorization: Bearer {}\r\nx:", token.trim());
    assert_eq!(http(&address, &with_token, "").0, 200);
    let (_local, address) = serve(&database.url(), &["--insecure-no-auth"]);
    assert_eq!(http(&address, "GET /v1/queues", "").0, 401, "tokens that exist are demanded everywhere");
}

#[test]
fn a_database_that_is_not_migrated_is_reported_until_it_is() {
    let database = empty_database();
    let (_server, address) = serve(&database.url(), &[]);
    let (status, body) = http(&address, "GET /health", "");
    assert!(status == 503 && body.contains("migrate"), "{status} {body}");
    let health = run(&mut program(&["health", "--url", &format!("http://{address}/health")]));
    assert!(health.code == 1 && health.err.starts_with("503 "), "{health:?}");
    faultline(&database, &["migrate"]).ok();
    until("the API to work", || (http(&address, "POST /v1/jobs", "{\"kind\":\"k\"}").0 == 201).then_some(()));
}

#[test]
fn a_server_that_starts_during_an_outage_is_closed_until_the_database_has_no_tokens() {
    let mut cluster = Cluster::builder(Programs::find().unwrap()).durable(false).start().unwrap();
    let url = cluster.url("postgres");
    run(program(&["migrate"]).env("DATABASE_URL", &url)).ok();
    cluster.stop(Mode::Fast).unwrap();
    let (mut server, address) = serve(&url, &[]);
    server.line("tokens are demanded");
    assert_eq!(http(&address, "GET /health/live", "").0, 200);
    assert_ne!(http(&address, "GET /v1/queues", "").0, 200);
    cluster.start_again().unwrap();
    server.line("there are no tokens");
    until("the API to open", || (http(&address, "GET /v1/queues", "").0 == 200).then_some(()));
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let database = database();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let error = faultline(&database, &["serve", "--port", &port]).error(1);
    assert!(error.contains(&format!("port {port} on 127.0.0.1 is in use")) && error.contains("--port"), "{error}");
}
