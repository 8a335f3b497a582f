//! What is written about the metrics elsewhere is what the table of definitions says: the documentation lists them all, and the
//! queries of alerts and dashboards name nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use faultline_metrics::definitions::{ALL, Definition, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

/// Set to anything, the tests write what they compare otherwise.
const REFRESH: &str = "FAULTLINE_REFRESH";
const BEGIN: &str = "<!-- The table is written by the tests from crates/faultline-metrics/src/definitions.rs. -->\n";
const END: &str = "<!-- The end of the table. -->\n";

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The name as it stands in queries of counters, the family's of others.
fn shown(definition: &Definition) -> String {
    let suffix = if definition.type_ == Type::Counter { "_total" } else { "" };
    format!("{}{suffix}", definition.name)
}

fn table() -> String {
    let mut text =
        "| metric | type | labels | reported by | over processes | meaning |\n|---|---|---|---|---|---|\n".to_owned();
    for definition in ALL {
        let type_ = match definition.type_ {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram(_) => "histogram",
        };
        let unit = if definition.name.ends_with("_seconds") { ", seconds" } else { "" };
        let labels = definition.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(" ");
        let (by, merge, help) = (definition.by.words(), definition.merge.words(), definition.help);
        writeln!(text, "| `{}` | {type_}{unit} | {labels} | {by} | {merge} | {help} |", shown(definition)).unwrap();
    }
    text
}

#[test]
fn the_documentation_lists_what_the_code_has() {
    const NAME: &str = "docs/metrics.md";
    let written = read(NAME);
    let (before, rest) = written.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    if std::env::var_os(REFRESH).is_some() {
        std::fs::write(path(NAME), format!("{before}{BEGIN}\n{}\n{END}{after}", table())).unwrap();
        return;
    }
    assert!(found.trim() == table().trim(), "{NAME} is out of date; run the tests once with {REFRESH}=1");
}

#[test]
fn names_say_their_unit_and_are_there_once() {
    let names: BTreeSet<&str> = ALL.iter().map(|definition| definition.name).collect();
    assert_eq!(names.len(), ALL.len());
    for definition in ALL {
        assert!(definition.name.starts_with("faultline_"), "{definition:?}");
        assert!(!definition.name.ends_with("_total") && !definition.help.ends_with('.'), "{definition:?}");
        let is_histogram = matches!(definition.type_, Type::Histogram(_));
        assert!(!is_histogram || definition.name.ends_with("_seconds"), "{definition:?}");
        assert!(definition.labels.iter().all(|label| !label.ends_with("id")), "an id is never a label: {definition:?}");
    }
}

/// Every name that a query may use, with the labels that it has.
fn queryable() -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut names = BTreeMap::new();
    for definition in ALL {
        let labels: BTreeSet<&str> = definition.labels.iter().copied().collect();
        if let Type::Histogram(_) = definition.type_ {
            for suffix in ["bucket", "count", "sum"] {
                let le = (suffix == "bucket").then_some("le");
                names.insert(format!("{}_{suffix}", definition.name), labels.iter().copied().chain(le).collect());
            }
        } else {
            names.insert(shown(definition), labels);
        }
    }
    names
}

/// What Prometheus adds to every series.
const ADDED: [&str; 2] = ["job", "instance"];

/// Checks the names in a query and the labels in the braces behind them; answers how many names there are.
fn check(what: &str, query: &str) -> usize {
    let names = queryable();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = 0;
    let mut rest = query;
    while let Some(at) = rest.find("faultline_") {
        let from = &rest[at..];
        let (name, after) = from.split_at(from.find(|c| !is_name(c)).unwrap_or(from.len()));
        let labels = names.get(name).unwrap_or_else(|| panic!("{what}: there is no {name}, in {query}"));
        if let Some((matchers, _)) = after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            for matcher in matchers.split(',').filter(|matcher| !matcher.trim().is_empty()) {
                let label = matcher.trim().split(['=', '!', '~']).next().unwrap();
                assert!(labels.contains(label) || ADDED.contains(&label), "{what}: {name} has no {label}, in {query}");
            }
        }
        found += 1;
        rest = after;
    }
    found
}

#[test]
fn alerts_and_their_tests_name_metrics_that_exist() {
    assert!(check("alerts.yml", &read("deploy/alerts.yml")) >= 9, "the rules have queries");
    assert!(check("alerts.test.yml", &read("deploy/alerts.test.yml")) >= 9, "the tests have series");
}

fn alerts(rules: &str) -> Vec<&str> {
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
}

#[test]
fn each_alert_links_to_its_section_and_each_section_has_its_alert() {
    let (rules, operations) = (read("deploy/alerts.yml"), read("docs/operations.md"));
    let links = rules.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: "));
    let expected = alerts(&rules).into_iter().map(|alert| format!("docs/operations.md#{}", alert.to_lowercase()));
    assert_eq!(links.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    let (_, sections) = operations.split_once("\n## Alerts\n").unwrap();
    let sections = sections.lines().take_while(|line| !line.starts_with("## "));
    let headings: BTreeSet<&str> = sections.filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(headings, alerts(&rules).into_iter().collect());
}

#[test]
fn each_alert_has_a_unit_test_that_lets_it_fire() {
    let (rules, tests) = (read("deploy/alerts.yml"), read("deploy/alerts.test.yml"));
    for alert in alerts(&rules) {
        let fires = tests.split("alertname: ").skip(1).any(|test| {
            test.lines().next() == Some(alert) && test.contains("exp_alerts:\n") && !test.contains("exp_alerts: []")
        });
        assert!(fires, "no test lets {alert} fire");
    }
}

#[test]
fn the_dashboard_queries_metrics_that_exist() {
    // A query has its quotation marks escaped in the file.
    let dashboard = read("deploy/grafana/dashboards/faultline.json").replace("\\\"", "\"");
    let queries: Vec<&str> = dashboard.lines().filter_map(|line| line.trim().strip_prefix("\"expr\": \"")).collect();
    assert!(queries.len() >= 20, "{}", queries.len());
    for query in queries {
        assert!(check("faultline.json", query) > 0, "{query}");
    }
}
