//! The witnesses in the order in which checks ask for them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use uuid::Uuid;

use crate::verdict::NotCheckable;
use crate::witness::{Action, Answer, Effect, Event, Fault, JobRow, Operation, Phase, Run, Sample, State, Witnesses};

/// What all checks stand on.
pub(crate) struct Ground<'a> {
    pub(crate) run: &'a Run,
    witnesses: &'a Witnesses,
    /// Jobs that have events, each with them in order.
    lives: BTreeMap<Uuid, Life<'a>>,
    by_action: HashMap<Action, Vec<&'a Operation>>,
}

/// The events of one job, in order.
pub(crate) struct Life<'a> {
    pub(crate) job: Uuid,
    pub(crate) events: Vec<&'a Event>,
}

/// A lease on a job, from its claim to the event that ended it.
pub(crate) struct Hold<'a> {
    pub(crate) claim: &'a Event,
    pub(crate) left: Option<&'a Event>,
}

impl<'a> Life<'a> {
    pub(crate) fn last(&self) -> &'a Event {
        self.events.last().expect("a life begins with its first event")
    }

    /// The event that ended the job.
    pub(crate) fn end(&self) -> Option<&'a Event> {
        self.events.iter().find(|event| event.is_terminal()).copied()
    }

    /// Each event with the one before it.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (&'a Event, &'a Event)> {
        self.events.windows(2).map(|pair| (pair[0], pair[1]))
    }

    pub(crate) fn holds(&self) -> Vec<Hold<'a>> {
        let mut holds: Vec<Hold<'a>> = Vec::new();
        for event in &self.events {
            if event.is_claim() {
                holds.push(Hold { claim: event, left: None });
            } else if event.leaves_running()
                && let Some(hold) = holds.last_mut()
            {
                hold.left.get_or_insert(event);
            }
        }
        holds
    }
}

impl<'a> Ground<'a> {
    pub(crate) fn new(witnesses: &'a Witnesses) -> Self {
        let mut lives: BTreeMap<Uuid, Life<'a>> = BTreeMap::new();
        for event in witnesses.events.iter().flatten() {
            lives.entry(event.job).or_insert_with(|| Life { job: event.job, events: Vec::new() }).events.push(event);
        }
        for life in lives.values_mut() {
            life.events.sort_by_key(|event| event.seq);
        }
        let mut by_action: HashMap<Action, Vec<&Operation>> = HashMap::new();
        for operation in witnesses.history.iter().flatten() {
            by_action.entry(operation.record.action).or_default().push(operation);
        }
        Self { run: &witnesses.run, witnesses, lives, by_action }
    }

    pub(crate) fn lives(&self) -> Result<impl Iterator<Item = &Life<'a>>, NotCheckable> {
        self.witnesses.events.as_ref().map(|_| self.lives.values()).ok_or_else(|| missing("events.jsonl"))
    }

    pub(crate) fn needs_events(&self) -> Result<(), NotCheckable> {
        self.lives().map(|_| ())
    }

    /// Every claim; none where there are no events.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &'a Event> {
        self.lives.values().flat_map(|life| life.events.iter().copied()).filter(|event| event.is_claim())
    }

    pub(crate) fn life(&self, job: Uuid) -> Option<&Life<'a>> {
        self.lives.get(&job)
    }

    pub(crate) fn operations(&self, action: Action) -> Result<&[&'a Operation], NotCheckable> {
        self.witnesses.history.as_ref().ok_or_else(|| missing("history/"))?;
        Ok(self.by_action.get(&action).map_or(&[], Vec::as_slice))
    }

    pub(crate) fn all_operations(&self) -> Result<&'a [Operation], NotCheckable> {
        self.witnesses.history.as_deref().ok_or_else(|| missing("history/"))
    }

    pub(crate) fn faults(&self) -> Result<&'a [Fault], NotCheckable> {
        self.witnesses.nemesis.as_deref().ok_or_else(|| missing("nemesis.jsonl"))
    }

    pub(crate) fn samples(&self) -> Result<&'a [Sample], NotCheckable> {
        self.witnesses.samples.as_deref().ok_or_else(|| missing("samples.jsonl"))
    }

    pub(crate) fn end(&self) -> Result<&'a [JobRow], NotCheckable> {
        self.witnesses.end.as_deref().ok_or_else(|| missing("end.jsonl"))
    }

    /// Rows of all snapshots, each with the `seq` of the last event that it can know, and of the end, which knows all.
    pub(crate) fn rows(&self) -> Result<impl Iterator<Item = (&'a JobRow, Option<i64>)>, NotCheckable> {
        if self.witnesses.samples.is_none() && self.witnesses.end.is_none() {
            return Err(missing("samples.jsonl or end.jsonl"));
        }
        let sampled = self.witnesses.samples.iter().flatten().filter_map(|sample| match sample {
            Sample::Job(row) => Some((row, row.event_seq)),
            _ => None,
        });
        Ok(sampled.chain(self.witnesses.end.iter().flatten().map(|row| (row, Some(i64::MAX)))))
    }

    pub(crate) fn effects_tx(&self) -> Result<&'a [Effect], NotCheckable> {
        self.witnesses.effects_tx.as_deref().ok_or_else(|| missing("effects_tx.jsonl"))
    }

    pub(crate) fn effects_ext(&self) -> Result<&'a [Effect], NotCheckable> {
        self.witnesses.effects_ext.as_deref().ok_or_else(|| missing("effects_ext.jsonl"))
    }

    /// What a failover left behind.
    pub(crate) fn old(&self) -> Option<Ground<'a>> {
        self.witnesses.old.as_deref().map(Ground::new)
    }

    /// Jobs that are there at the end: in the tables, or by their events where the tables were not read.
    pub(crate) fn existing(&self) -> Result<BTreeSet<Uuid>, NotCheckable> {
        if let Some(end) = &self.witnesses.end {
            return Ok(end.iter().map(|row| row.job).collect());
        }
        let lives = self.lives()?;
        Ok(lives.filter(|life| life.last().to.is_some()).map(|life| life.job).collect())
    }

    /// The event that ended this lease on this job.
    pub(crate) fn left_under(&self, job: Uuid, lease: Uuid) -> Option<&'a Event> {
        let life = self.lives.get(&job)?;
        life.events.iter().rev().find(|event| event.leaves_running() && event.lease == Some(lease)).copied()
    }

    /// Whether the job ended so.
    pub(crate) fn ended_as(&self, job: Uuid, state: State) -> bool {
        self.lives.get(&job).is_some_and(|life| life.events.iter().any(|event| event.to == Some(state)))
    }

    /// The last moment before `at_us` at which an outage lasted, if one did.
    pub(crate) fn last_outage_before(&self, at_us: i64) -> Option<i64> {
        let outages = self.witnesses.nemesis.iter().flatten().filter(|fault| fault.is_outage());
        outages
            .filter(|fault| fault.began_us <= at_us)
            .map(|fault| fault.ended_us.map_or(at_us, |ended| ended.min(at_us)))
            .max()
    }
}

impl Operation {
    pub(crate) fn is(&self, phase: Phase, answer: Answer) -> bool {
        self.record.phase == phase && self.record.answer == Some(answer)
    }
}

fn missing(witness: &str) -> NotCheckable {
    NotCheckable(format!("{witness} is missing"))
}
