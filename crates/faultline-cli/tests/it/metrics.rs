//! `/metrics` of the programs: what a killed worker leaves behind shows where others recover it.

use crate::common::{Background, database, ended, enqueue, http, program, until};
use faultline_cluster::testing::TestDatabase;
use rustix::process::Signal;

fn metrics_of(program: &mut Background) -> String {
    let line = program.line("metrics http://");
    line.trim_start_matches("metrics http://").trim_end_matches("/metrics").to_owned()
}

fn scrape(address: &str) -> String {
    let (status, text) = http(address, "GET /metrics", "");
    assert_eq!(status, 200, "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    text
}

/// The sum of a metric over the series that have these labels.
fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    let is_it =
        |series: &str| series.split('{').next() == Some(name) && labels.iter().all(|label| series.contains(label));
    let samples = text.lines().filter_map(|line| line.rsplit_once(' ')).filter(|(series, _)| is_it(series));
    samples.map(|(_, value)| value.parse::<f64>().unwrap()).sum()
}

fn worker(database: &TestDatabase) -> (Background, String) {
    let mut worker = Background::worker(database, &["--demo", "--metrics", "0"]);
    let address = metrics_of(&mut worker);
    (worker, address)
}

#[test]
fn a_killed_worker_shows_in_the_metrics_of_those_who_recover_its_jobs() {
    let database = database();
    let (victim, address) = worker(&database);
    let id = enqueue(&database, &["demo.sleep", "{\"ms\":3000}"]);
    until("the job to be claimed", || {
        (sum(&scrape(&address), "faultline_jobs_claimed_total", &["kind=\"demo.sleep\""]) == 1.0).then_some(())
    });
    assert_eq!(sum(&scrape(&address), "faultline_worker_slots_used", &[]), 1.0);
    assert!(sum(&scrape(&address), "faultline_renewal_margin_seconds", &[]) > 5.0);
    let mut api = Background::start(program(&["serve", "--port", "0"]).env("DATABASE_URL", database.url()));
    let api_address = api.line("ready http://").trim_start_matches("ready http://").to_owned();
    let (mut heir, heir_address) = worker(&database);
    victim.signal(Signal::KILL);
    assert_eq!(ended(&database, &id)["attempts"], 2);

    let reaped = |text: &str| sum(text, "faultline_leases_reaped_total", &["lease=\"lost\"", "reason=\"lost\""]);
    let (of_heir, of_api) = (scrape(&heir_address), scrape(&api_address));
    assert_eq!(reaped(&of_heir) + reaped(&of_api), 1.0, "exactly one process did it");
    let recoveries = "faultline_recovery_delay_seconds_count";
    assert_eq!(sum(&of_heir, recoveries, &[]) + sum(&of_api, recoveries, &[]), 1.0);
    until("the end to be counted", || {
        let text = scrape(&heir_address);
        (sum(&text, "faultline_attempts_ended_total", &["reason=\"completed\""]) == 1.0).then_some(())
    });
    until("the observer to see one worker", || {
        (sum(&scrape(&api_address), "faultline_workers_alive", &[]) == 1.0).then_some(())
    });
    assert_eq!((heir.stop(), api.stop()), (0, 0));
}

#[test]
fn dev_shows_its_worker_beside_the_api() {
    let dir = tempfile::tempdir().unwrap();
    let mut dev = Background::start(program(&["dev", "--no-demo-load", "--port", "0", "--data-dir"]).arg(dir.path()));
    let address = dev.line("ready http://").trim_start_matches("ready http://").to_owned();
    assert_eq!(http(&address, "POST /v1/jobs", "{\"kind\":\"demo.echo\"}").0, 201);
    let worker = "process=\"worker\"";
    until("the worker's counters", || {
        let text = scrape(&address);
        (sum(&text, "faultline_attempts_ended_total", &[worker, "reason=\"completed\""]) == 1.0).then_some(())
    });
    assert_eq!(sum(&scrape(&address), "faultline_jobs_enqueued_total", &[]), 1.0);
    assert_eq!(dev.stop(), 0);
}
