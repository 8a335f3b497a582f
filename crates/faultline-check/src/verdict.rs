//! What the checker says.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use uuid::Uuid;

use crate::recovery::Recovery;
use crate::witness::Required;

/// Violations of one invariant that are kept; more are counted only, since the first few tell the story.
pub const MAX_VIOLATIONS_KEPT: usize = 100;

/// One breach of an invariant, in words for whoever runs the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The job, where it is about one.
    pub job: Option<Uuid>,
    /// What is wrong.
    pub what: String,
    /// The lines of the witnesses that show it.
    pub evidence: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(job) = self.job {
            write!(f, "job {job}: ")?;
        }
        f.write_str(&self.what)?;
        for line in &self.evidence {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

/// Whether an invariant held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// There was something to examine, and it held in all of it.
    Passed,
    /// It did not hold.
    Violated {
        /// How often.
        count: u64,
        /// The first of them.
        violations: Vec<Violation>,
    },
    /// It was not judged; this is never a pass.
    NotChecked {
        /// Why.
        reason: String,
    },
}

/// One invariant's result.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Its number in the catalogue.
    pub number: u8,
    /// What it says.
    pub title: &'static str,
    /// How many things were examined.
    pub examined: u64,
    /// Whether it held.
    #[serde(flatten)]
    pub status: Status,
}

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// The drill.
    pub drill: String,
    /// Its seed.
    pub seed: u64,
    /// All invariants, by number.
    pub outcomes: Vec<Outcome>,
    /// How long the jobs of killed workers waited.
    pub recovery: Option<Recovery>,
    /// How often each thing that may be required happened.
    pub seen: BTreeMap<Required, u64>,
    /// Acknowledged jobs that are gone; only after an asynchronous failover is that not a violation.
    pub lost_acks: Vec<Uuid>,
    /// The same of the primary that a failover left behind, by what happened there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Box<Verdict>>,
}

impl Verdict {
    /// Whether nothing was violated. What was not checked does not count against it.
    pub fn holds(&self) -> bool {
        self.violated().next().is_none() && self.old.as_ref().is_none_or(|old| old.holds())
    }

    /// The invariants that did not hold; those of the old primary are in its own verdict.
    pub fn violated(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| matches!(outcome.status, Status::Violated { .. }))
    }

    /// How many passed, were violated and were not checked.
    pub fn counts(&self) -> (usize, usize, usize) {
        let passed = self.outcomes.iter().filter(|outcome| outcome.status == Status::Passed).count();
        let violated = self.violated().count();
        (passed, violated, self.outcomes.len() - passed - violated)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in &self.outcomes {
            let (number, title) = (outcome.number, outcome.title);
            match &outcome.status {
                Status::Passed => writeln!(f, "{number:>2} passed       {title} ({} examined)", outcome.examined)?,
                Status::NotChecked { reason } => writeln!(f, "{number:>2} not checked  {title}: {reason}")?,
                Status::Violated { count, violations } => {
                    writeln!(f, "{number:>2} VIOLATED     {title} ({count} of {} examined)", outcome.examined)?;
                    for violation in violations {
                        writeln!(f, "  - {violation}")?;
                    }
                }
            }
        }
        let (passed, violated, unchecked) = self.counts();
        write!(f, "{passed} passed, {violated} violated, {unchecked} not checked")?;
        if let Some(old) = &self.old {
            write!(f, "\n\nThe primary that was left behind:\n{old}")?;
        }
        Ok(())
    }
}

/// Why an invariant cannot be judged from these witnesses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotCheckable(pub(crate) String);

/// What a check has found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) examined: u64,
    pub(crate) count: u64,
    pub(crate) kept: Vec<Violation>,
}

impl Findings {
    /// One more thing was looked at.
    pub(crate) fn examine(&mut self) {
        self.examined += 1;
    }

    /// What was looked at is wrong. The evidence is only written out while it will be kept.
    pub(crate) fn violated(&mut self, job: Option<Uuid>, what: impl Into<String>, evidence: &[&dyn fmt::Display]) {
        self.count += 1;
        if self.kept.len() < MAX_VIOLATIONS_KEPT {
            let evidence = evidence.iter().map(ToString::to_string).collect();
            self.kept.push(Violation { job, what: what.into(), evidence });
        }
    }
}

pub(crate) type Found = Result<Findings, NotCheckable>;
