//! Reports that drills have left in a directory, and the drill that can be run from here.
//!
//! What is shown is read from `report.json`, which `faultline drill run --report` writes; the rest of a report is a page
//! of its own. Somebody who can write into the directory can show a false report, and nothing else: names never lead out
//! of it, and the page runs no script.

use jiff::Timestamp;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Reports that are shown, the newest first.
const MAX_REPORTS: usize = 100;
/// Entries of the directory that are looked at.
const MAX_ENTRIES: usize = 2_000;
/// Bytes of a `report.json`; one is some 20 kB.
const MAX_JSON_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of a `report.html`; one is some 150 kB.
const MAX_HTML_BYTES: u64 = 16 * 1024 * 1024;

/// Drills, as the dashboard shows them.
#[derive(Debug, Clone, Default)]
pub struct DrillSettings {
    /// Where reports are: the directory of `faultline drill run --report`.
    pub reports: Option<PathBuf>,
    /// Runs a drill for whoever presses the button; without it there is none.
    pub runner: Option<Arc<dyn DrillRunner>>,
}

/// Runs one drill, again and again, one at a time.
pub trait DrillRunner: Debug + Send + Sync + 'static {
    /// Starts it.
    ///
    /// # Errors
    /// When one is under way, or it does not start: in words for whoever pressed the button.
    fn start(&self) -> Result<(), String>;

    /// The one that is under way, or else the last.
    fn run(&self) -> Option<DrillRun>;
}

/// A drill that was begun from here.
#[derive(Debug, Clone)]
pub struct DrillRun {
    /// When.
    pub began: Timestamp,
    /// What it has told, a line each.
    pub lines: Vec<Arc<str>>,
    /// Once it is over: its name among the reports, or how it failed.
    pub ended: Option<Result<String, String>>,
}

/// A report.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    /// Its directory's name.
    pub(crate) name: String,
    pub(crate) at: Timestamp,
    pub(crate) summary: Summary,
}

/// What is shown of a `report.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Summary {
    pub(crate) drill: String,
    pub(crate) seed: u64,
    pub(crate) duration_s: f64,
    pub(crate) workers: u64,
    pub(crate) passed: bool,
    pub(crate) jobs: u64,
    pub(crate) faults: BTreeMap<String, u64>,
    pub(crate) lost: u64,
    pub(crate) duplicated_effects: u64,
    pub(crate) stale_writes_refused: u64,
    pub(crate) recovery: Option<Spread>,
    /// Held, violated, not checked.
    pub(crate) invariants: (u64, u64, u64),
}

/// How long recoveries took.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Spread {
    pub(crate) count: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// What the directory holds.
#[derive(Debug, Default, Clone)]
pub(crate) struct Reports {
    /// The newest first.
    pub(crate) shown: Vec<Report>,
    /// Whether there are more.
    pub(crate) has_more: bool,
    /// The names of those that can't be read.
    pub(crate) unreadable: Vec<String>,
}

/// The drills of this dashboard.
#[derive(Debug, Default)]
pub(crate) struct Drills {
    settings: DrillSettings,
    /// Reports never change once they are written, so that each is read once. By name, with the time of its file.
    read: Mutex<HashMap<String, (Timestamp, Option<Summary>)>>,
}

impl Drills {
    pub(crate) fn new(settings: DrillSettings) -> Self {
        Self { settings, read: Mutex::default() }
    }

    pub(crate) fn runner(&self) -> Option<&Arc<dyn DrillRunner>> {
        self.settings.runner.as_ref()
    }

    pub(crate) fn dir(&self) -> Option<&PathBuf> {
        self.settings.reports.as_ref()
    }

    /// What the directory holds; nothing where it is not there yet. Blocks.
    pub(crate) fn reports(&self) -> io::Result<Reports> {
        let Some(dir) = self.dir() else { return Ok(Reports::default()) };
        let entries = match std::fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Reports::default()),
            entries => entries?,
        };
        let mut found: Vec<(Timestamp, String)> = entries
            .take(MAX_ENTRIES)
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok().filter(|name| is_plain(name))?;
                let written = std::fs::metadata(dir.join(&name).join("report.json")).ok()?.modified().ok()?;
                Some((Timestamp::try_from(written).ok()?, name))
            })
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        let has_more = found.len() > MAX_REPORTS;
        found.truncate(MAX_REPORTS);
        let mut reports = Reports { has_more, ..Reports::default() };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.retain(|known, _| found.iter().any(|(_, name)| name == known));
        for (at, name) in found {
            let summary = match read.get(&name) {
                Some((when, summary)) if *when == at => summary.clone(),
                _ => {
                    let json = content(&dir.join(&name).join("report.json"), MAX_JSON_BYTES).unwrap_or_default();
                    let summary: Option<Summary> = serde_json::from_slice(&json).ok();
                    read.insert(name.clone(), (at, summary.clone()));
                    summary
                }
            };
            match summary {
                Some(summary) => reports.shown.push(Report { name, at, summary }),
                None => reports.unreadable.push(name),
            }
        }
        Ok(reports)
    }

    /// The page of a report. Blocks.
    pub(crate) fn page(&self, name: &str) -> Option<Vec<u8>> {
        let dir = self.dir().filter(|_| is_plain(name))?;
        content(&dir.join(name).join("report.html"), MAX_HTML_BYTES).ok()
    }
}

/// Whether it is the name of an entry, as drills name their directories, and leads nowhere else.
fn is_plain(name: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name.bytes().all(is_known)
}

fn content(path: &std::path::Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"drill":"kill-worker","seed":3,"duration_s":14.0,"workers":3,"passed":true,"jobs":427,
        "faults":{"kill":10},"points":{"after-claim":1},"lost":0,"duplicated_effects":0,"stale_writes_refused":1,
        "attempts_charged":42,"recovery":{"count":46,"p50_ms":2685,"p99_ms":3083,"max_ms":3083},
        "invariants":[29,0,11],"required":[],"schedule":[],"verdict":{},"evidence":"/x"}"#;

    fn drills(dir: &std::path::Path) -> Drills {
        Drills::new(DrillSettings { reports: Some(dir.to_owned()), runner: None })
    }

    fn write(dir: &std::path::Path, name: &str, json: &str) {
        std::fs::create_dir_all(dir.join(name)).expect("a directory");
        std::fs::write(dir.join(name).join("report.json"), json).expect("a file");
        std::fs::write(dir.join(name).join("report.html"), "<h1>a page</h1>").expect("a file");
    }

    #[test]
    fn reports_are_read_and_what_is_none_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let drills = drills(dir.path());
        write(dir.path(), "kill-worker-3", JSON);
        write(dir.path(), "broken-1", "{");
        std::fs::create_dir(dir.path().join("under-way")).expect("a directory");
        let reports = drills.reports().expect("readable");
        assert_eq!(reports.unreadable, ["broken-1"]);
        let [report] = &reports.shown[..] else { panic!("{reports:?}") };
        assert_eq!((report.name.as_str(), report.summary.invariants), ("kill-worker-3", (29, 0, 11)));
        assert_eq!(drills.page("kill-worker-3").as_deref(), Some(&b"<h1>a page</h1>"[..]));
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        let dir = tempfile::tempdir().expect("a directory");
        write(dir.path(), "inside", JSON);
        let drills = drills(&dir.path().join("inside"));
        write(dir.path(), "outside", JSON);
        for name in ["../outside", "..", ".", "", "/etc", "a/../../outside", "..%2foutside", "a\\b"] {
            assert!(drills.page(name).is_none(), "{name}");
        }
    }

    #[test]
    fn a_directory_that_is_not_there_yet_holds_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let reports = drills(&dir.path().join("later")).reports().expect("no error");
        assert!(reports.shown.is_empty() && reports.unreadable.is_empty());
    }
}
