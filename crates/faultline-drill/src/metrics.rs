//! What processes count of themselves, as the checker compares it with what the database did.

use crate::history::wall_ns;
use faultline_check::witness::{MetricsSample, Sample};
use std::collections::BTreeMap;

/// Families of counters whose label `reason` is the word of the transition log.
const BY_REASON: [&str; 2] = ["faultline_attempts_ended_total", "faultline_leases_reaped_total"];
/// Families that count one transition, with its word.
const BY_NAME: [(&str, &str); 2] =
    [("faultline_jobs_enqueued_total", "enqueued"), ("faultline_jobs_claimed_total", "claimed")];
/// What every process has counted, if only to nothing.
const WORDS: [&str; 13] = [
    "enqueued",
    "claimed",
    "completed",
    "failed",
    "attempts_exhausted",
    "fatal",
    "cancelled",
    "released",
    "snoozed",
    "expired",
    "lost",
    "crash_loop",
    "worker_lost",
];

/// A sample of what `GET /metrics` of a process has answered; none: it has not.
pub(crate) fn sample(number: u32, process: &str, text: Option<&str>) -> Sample {
    Sample::Metrics(MetricsSample {
        sample: number,
        at_us: wall_ns() / 1000,
        process: process.to_owned(),
        answered: text.is_some(),
        values: text.map(counters).unwrap_or_default(),
    })
}

/// The counters of an OpenMetrics text by the words of the transition log.
fn counters(text: &str) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, f64> = WORDS.iter().map(|word| ((*word).to_owned(), 0.0)).collect();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once('{') else { continue };
        let Some((labels, value)) = rest.rsplit_once("} ") else { continue };
        let Ok(value) = value.trim().parse::<f64>() else { continue };
        let by_reason =
            || labels.split_once("reason=\"").and_then(|(_, rest)| rest.split_once('"')).map(|(word, _)| word);
        let word = if BY_REASON.contains(&name) {
            by_reason()
        } else {
            BY_NAME.iter().find(|(family, _)| *family == name).map(|(_, word)| *word)
        };
        if let Some(word) = word {
            *sums.entry(word.to_owned()).or_default() += value;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use faultline_metrics::definitions;

    #[test]
    fn counters_of_all_queues_and_kinds_are_added_up_by_their_words() {
        let text = "# TYPE faultline_jobs_claimed counter\n\
                    faultline_jobs_claimed_total{queue=\"a\",kind=\"x\"} 3\n\
                    faultline_jobs_claimed_total{queue=\"b\",kind=\"}\"} 4\n\
                    faultline_attempts_ended_total{queue=\"a\",kind=\"x\",outcome=\"retried\",reason=\"failed\"} 2\n\
                    faultline_leases_reaped_total{queue=\"a\",lease=\"lost\",reason=\"lost\"} 1\n\
                    faultline_database_up 1\n";
        let counted = counters(text);
        let of = |word: &str| counted[word];
        assert_eq!((of("claimed"), of("failed"), of("lost"), of("completed")), (7.0, 2.0, 1.0, 0.0));
    }

    #[test]
    fn the_families_are_those_of_the_engine() {
        for name in BY_REASON.iter().chain(BY_NAME.iter().map(|(name, _)| name)) {
            let family = name.trim_end_matches("_total");
            assert!(definitions::ALL.iter().any(|known| known.name == family), "{family}");
        }
    }
}
