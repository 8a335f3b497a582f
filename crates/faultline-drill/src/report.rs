//! What a drill has shown: the table, `report.json` and `report.html`.

use crate::DrillError;
use crate::catalogue::Drill;
use crate::run::{SAME_VERSION, write_json};
use crate::schedule::Step;
use crate::timeline;
use faultline_check::witness::{Action, Answer, Event, FaultKind, Operation, Phase, Reason, Required, Witnesses};
use faultline_check::{Verdict, check, read_dir};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;

/// How long something took, over all times that it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// How often.
    pub count: usize,
    /// Half of them took no longer, ms.
    pub p50_ms: i64,
    /// All but a hundredth took no longer, ms.
    pub p99_ms: i64,
    /// The longest, ms.
    pub max_ms: i64,
}

impl Spread {
    fn of_us(mut waits: Vec<i64>) -> Option<Self> {
        waits.sort_unstable();
        let last = waits.len().checked_sub(1)?;
        // Nearest rank.
        let at = |percent: usize| waits[(waits.len() * percent).div_ceil(100).saturating_sub(1).min(last)] / 1000;
        Some(Self { count: waits.len(), p50_ms: at(50), p99_ms: at(99), max_ms: at(100) })
    }
}

/// Something that had to happen.
#[derive(Debug, Clone, Serialize)]
pub struct Needed {
    /// What.
    pub what: Required,
    /// How often at least.
    pub at_least: u64,
    /// How often it did.
    pub seen: u64,
}

/// What a drill has shown.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The drill.
    pub drill: &'static str,
    /// The seed of its schedule.
    pub seed: u64,
    /// How long load and faults lasted, seconds.
    pub duration_s: f64,
    /// Worker processes.
    pub workers: usize,
    /// Whether every invariant held and everything required happened.
    pub passed: bool,
    /// Jobs that were enqueued.
    pub jobs: usize,
    /// Faults by kind.
    pub faults: BTreeMap<String, usize>,
    /// Points at which workers were killed or stopped, and how often.
    pub points: BTreeMap<String, usize>,
    /// Acknowledged jobs that are gone.
    pub lost: usize,
    /// Effects beyond one in the transactions of a job's success.
    pub duplicated_effects: usize,
    /// Finishes that were refused because another holds, or held, the job.
    pub stale_writes_refused: usize,
    /// Attempts that did not end their job and were charged to it.
    pub attempts_charged: i64,
    /// From a kill, a stop or the return of the database to the next claim of each job that was held then.
    pub recovery: Option<Spread>,
    /// Invariants that held, were violated and were not checked.
    pub invariants: (usize, usize, usize),
    /// What had to happen.
    pub required: Vec<Needed>,
    /// The schedule.
    pub schedule: Vec<Step>,
    /// The checker's words on each invariant.
    pub verdict: Verdict,
    /// What this run cannot have shown, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caveat: Option<&'static str>,
    /// Where the witnesses are.
    pub evidence: PathBuf,
}

/// Without an older program there is nothing to upgrade from.
const ONE_VERSION: &str = "one version only: rolling restarts, no upgrade (name an older program with --old)";

impl Report {
    /// Judges the witnesses in `dir`; writes `report.json` and `report.html` beside them.
    pub(crate) fn of(
        drill: &Drill,
        seed: u64,
        duration: Duration,
        workers: usize,
        steps: &[Step],
        dir: &Path,
    ) -> Result<Self, DrillError> {
        let witnesses = read_dir(dir).map_err(|error| DrillError::Witness(error.to_string()))?;
        let verdict = check(&witnesses);
        let seen = |what| verdict.seen.get(&what).copied().unwrap_or(0);
        let required: Vec<Needed> =
            drill.required.iter().map(|&(what, at_least)| Needed { what, at_least, seen: seen(what) }).collect();
        let happened = required.iter().all(|needed| needed.seen >= needed.at_least);
        let end = witnesses.end.as_deref().unwrap_or_default();
        let (mut faults, mut points) = (BTreeMap::new(), BTreeMap::new());
        for fault in witnesses.nemesis.iter().flatten() {
            if let Some(at) = fault.at.as_ref().filter(|_| fault.kind != FaultKind::RenewalsHeld) {
                *points.entry(at.point.clone()).or_insert(0) += 1;
            }
            *faults.entry(kind(fault.kind)).or_insert(0) += 1;
        }
        let mut effects: HashMap<Uuid, usize> = HashMap::new();
        for effect in witnesses.effects_tx.iter().flatten() {
            *effects.entry(effect.job).or_insert(0) += 1;
        }
        let report = Self {
            drill: drill.name,
            seed,
            duration_s: duration.as_secs_f64(),
            workers,
            passed: verdict.holds() && happened,
            jobs: end.len(),
            faults,
            points,
            lost: verdict.lost_acks.len(),
            duplicated_effects: effects.values().map(|count| count - 1).sum(),
            stale_writes_refused: witnesses.history.iter().flatten().filter(|op| is_stale(op)).count(),
            attempts_charged: end.iter().map(|row| i64::from(row.attempts.max(1)) - 1).sum(),
            recovery: Spread::of_us(recoveries(&witnesses)),
            invariants: verdict.counts(),
            required,
            schedule: steps.to_vec(),
            verdict,
            caveat: dir.join(SAME_VERSION).exists().then_some(ONE_VERSION),
            evidence: dir.to_owned(),
        };
        write_json(&dir.join("report.json"), &report)?;
        let html = timeline::html(&report, &witnesses);
        std::fs::write(dir.join("report.html"), html).map_err(DrillError::io("write the report"))?;
        Ok(report)
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let list = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
        let points = list(self.points.iter().map(|(point, count)| format!("{count} {point}")).collect());
        let faults = list(self.faults.iter().map(|(kind, count)| format!("{count} {kind}")).collect());
        let needed = |n: &Needed| format!("{} {} (of {})", n.seen, name(&n.what), n.at_least);
        let recovery = self.recovery.map_or("-".to_owned(), |r| {
            format!("p50 {} ms, p99 {} ms, max {} ms over {}", r.p50_ms, r.p99_ms, r.max_ms, r.count)
        });
        let (held, violated, unchecked) = self.invariants;
        let old = self.verdict.old.as_ref().map_or(String::new(), |old| {
            let (held, violated, _) = old.counts();
            format!("; on the old primary {held} held, {violated} violated")
        });
        let rows = [
            ("jobs", self.jobs.to_string()),
            ("faults", faults),
            ("points", points),
            ("lost", self.lost.to_string()),
            ("duplicated effects", self.duplicated_effects.to_string()),
            ("stale writes refused", self.stale_writes_refused.to_string()),
            ("attempts charged", self.attempts_charged.to_string()),
            ("recovery", recovery),
            ("invariants", format!("{held} held, {violated} violated, {unchecked} not checked{old}")),
            ("required events", list(self.required.iter().map(needed).collect())),
            ("verdict", if self.passed { "passed".into() } else { "FAILED".into() }),
        ];
        let mut text =
            format!("{}, seed {}, {:.0} s, {} workers\n", self.drill, self.seed, self.duration_s, self.workers);
        for (name, value) in rows {
            let _ = writeln!(text, "  {name:<22}{value}");
        }
        if let Some(caveat) = self.caveat {
            let _ = writeln!(text, "  {:<22}{caveat}", "but");
        }
        let old =
            self.verdict.old.iter().flat_map(|old| old.violated().map(|outcome| ("on the old primary: ", outcome)));
        for (place, outcome) in self.verdict.violated().map(|outcome| ("", outcome)).chain(old) {
            let _ = writeln!(text, "  violated: {place}{} {}", outcome.number, outcome.title);
            if let faultline_check::Status::Violated { violations, .. } = &outcome.status {
                for violation in violations.iter().take(3) {
                    let _ = writeln!(text, "    - {violation}");
                }
            }
        }
        text.trim_end().to_owned()
    }
}

/// A finish that the fence refused.
fn is_stale(op: &Operation) -> bool {
    op.record.action == Action::Finish && op.record.phase == Phase::Fail && op.record.answer == Some(Answer::LeaseLost)
}

/// How a kind is written in the witnesses.
fn kind(kind: FaultKind) -> String {
    name(&kind)
}

fn name(value: &impl Serialize) -> String {
    let text = serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned));
    text.unwrap_or_default().replace('_', " ")
}

/// For each fault and job that was held when it began: how long until the next claim; after an outage, from its end to the
/// first success.
fn recoveries(witnesses: &Witnesses) -> Vec<i64> {
    let events = witnesses.events.as_deref().unwrap_or_default();
    let mut waits = Vec::new();
    for fault in witnesses.nemesis.iter().flatten() {
        match (fault.kind, fault.owner) {
            (FaultKind::Kill | FaultKind::Stop, Some(owner)) => waits.extend(takeovers(events, owner, fault.began_us)),
            (FaultKind::DatabaseDown | FaultKind::Failover, _) => {
                let Some(back) = fault.ended_us else { continue };
                let first = events.iter().filter(|e| e.reason == Reason::Completed && e.at_us >= back).map(|e| e.at_us);
                waits.extend(first.min().map(|at| at - back));
            }
            _ => {}
        }
    }
    waits
}

/// The waits of the jobs that `owner` held at a time and that were reaped from it, until their next claim.
fn takeovers(events: &[Event], owner: Uuid, since_us: i64) -> Vec<i64> {
    let held: HashSet<_> = events
        .iter()
        .filter(|e| e.is_claim() && e.owner == Some(owner) && e.at_us <= since_us)
        .map(|e| (e.job, e.lease))
        .collect();
    let reaped =
        events.iter().filter(|e| e.reason.is_reap() && e.at_us >= since_us && held.contains(&(e.job, e.lease)));
    let again = |reaped: &Event| {
        let next = events.iter().filter(|e| e.job == reaped.job && e.seq > reaped.seq && e.is_claim()).map(|e| e.at_us);
        next.min().map(|at| at - since_us)
    };
    reaped.filter_map(again).collect()
}
