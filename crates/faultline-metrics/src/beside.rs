//! One page for two processes: what another process says is put in with ours, family by family as the format demands, its
//! series told apart by the label `process`.

use std::collections::BTreeMap;
use std::fmt::Write;

const END: &str = "# EOF\n";

/// A family: its descriptor, and its samples.
#[derive(Default)]
struct Family<'a> {
    descriptor: Vec<&'a str>,
    samples: Vec<&'a str>,
}

/// Adds the families of `other`, an OpenMetrics text, to those of `own`.
pub(crate) fn merge(own: &str, process: &str, other: &str) -> String {
    let mut others: BTreeMap<&str, Family<'_>> = families(other).into_iter().collect();
    let mut text = String::with_capacity(own.len() + other.len());
    for (name, family) in families(own) {
        family.descriptor.iter().chain(&family.samples).for_each(|line| push(&mut text, line));
        let same = others.remove(name).unwrap_or_default();
        same.samples.iter().for_each(|line| push(&mut text, &labelled(line, process)));
    }
    for family in others.values() {
        family.descriptor.iter().for_each(|line| push(&mut text, line));
        family.samples.iter().for_each(|line| push(&mut text, &labelled(line, process)));
    }
    text.push_str(END);
    text
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn families(text: &str) -> Vec<(&str, Family<'_>)> {
    let mut found: Vec<(&str, Family<'_>)> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && *line != END.trim_end()) {
        if let Some(help) = line.strip_prefix("# HELP ") {
            found.push((help.split(' ').next().unwrap_or_default(), Family::default()));
        }
        let Some((_, family)) = found.last_mut() else { continue };
        if line.starts_with('#') { family.descriptor.push(line) } else { family.samples.push(line) }
    }
    found
}

fn labelled(sample: &str, process: &str) -> String {
    let mut line = String::with_capacity(sample.len() + 32);
    let (name, rest) = sample.split_at(sample.find(['{', ' ']).unwrap_or(sample.len()));
    let _ = match rest.strip_prefix('{') {
        Some(labels) => write!(line, "{name}{{process=\"{process}\",{labels}"),
        None => write!(line, "{name}{{process=\"{process}\"}}{rest}"),
    };
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Enqueue, Metrics};

    #[test]
    fn several_processes_are_shown_until_they_end() {
        let (own, other) = (Metrics::new(), Metrics::new());
        own.show_beside("worker", Some(other.encode()));
        own.show_beside("demo", Some(other.encode()));
        let up = |process| format!("faultline_database_up{{process=\"{process}\"}} 0\n");
        let all = own.encode();
        assert!(all.contains(&up("worker")) && all.contains(&up("demo")), "{all}");
        assert_eq!(all.matches("# TYPE faultline_database_up ").count(), 1);
        own.show_beside("worker", None);
        let left = own.encode();
        assert!(!left.contains(&up("worker")) && left.contains(&up("demo")), "{left}");
    }

    #[test]
    fn families_stay_together_and_series_stay_apart() {
        let (own, other) = (Metrics::new(), Metrics::new());
        own.engine().enqueued("q", "k", Enqueue::Created);
        other.engine().enqueued("q", "k", Enqueue::Created);
        other.workers().queue("q").refused.inc();
        let merged = merge(&own.encode(), "worker", &other.encode());
        let lines: Vec<&str> = merged.lines().collect();
        let own_series = r#"faultline_jobs_enqueued_total{queue="q",kind="k"} 1"#;
        let at = lines.iter().position(|line| *line == own_series).unwrap();
        assert_eq!(lines[at + 1], r#"faultline_jobs_enqueued_total{process="worker",queue="q",kind="k"} 1"#);
        assert!(lines.contains(&r#"faultline_stale_writes_refused_total{process="worker",queue="q"} 1"#));
        assert!(lines.contains(&"faultline_database_up{process=\"worker\"} 0"));
        let mut headers: Vec<&&str> = lines.iter().filter(|line| line.starts_with("# TYPE")).collect();
        let all = headers.len();
        headers.sort_unstable();
        headers.dedup();
        assert_eq!(headers.len(), all, "a family is there once");
        assert_eq!(merged.matches("# EOF").count(), 1);
        assert!(merged.ends_with(END));
    }
}
