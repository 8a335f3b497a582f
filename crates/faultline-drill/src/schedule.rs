//! The fault schedule and the jobs of a run, computed from the seed before anything starts: the same seed, drill, duration
//! and number of workers give the same schedule.

use crate::catalogue::Drill;
use crate::faults::Fault;
use crate::work::Work;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;
use std::time::Duration;

/// More faults than any duration holds.
pub(crate) const ENOUGH: usize = 50;
/// Before the first fault, ms: time to claim something.
pub(crate) const FIRST_MS: u64 = 1000;

/// A fault and its time after the start of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Milliseconds after the start of the load; later if something else takes longer.
    pub at_ms: u64,
    /// How long it lasts, milliseconds; 0: it has no end.
    pub for_ms: u64,
    /// What is done.
    #[serde(flatten)]
    pub fault: Fault,
}

/// What a schedule is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    /// Worker processes.
    pub(crate) workers: usize,
    /// The lease time, ms.
    pub(crate) ttl_ms: u64,
    /// When load and faults end, ms.
    pub(crate) end_ms: u64,
}

/// A fault that waits for the one before it to end.
pub(crate) struct Turn {
    pub(crate) fault: Fault,
    pub(crate) for_ms: u64,
    /// Quiet after its end.
    pub(crate) rest_ms: u64,
}

/// As many faults, one after the other, as the frame holds; the first in any case: a drill without one is none.
pub(crate) fn in_turn(frame: &Frame, turns: impl IntoIterator<Item = Turn>) -> Vec<Step> {
    at_least(1, frame, turns)
}

/// The same with so many of the first in any case, where a drill proves nothing with less.
pub(crate) fn at_least(count: usize, frame: &Frame, turns: impl IntoIterator<Item = Turn>) -> Vec<Step> {
    let mut at_ms = FIRST_MS;
    let mut steps = Vec::new();
    for Turn { fault, for_ms, rest_ms } in turns {
        if steps.len() < count || at_ms + for_ms + rest_ms <= frame.end_ms {
            steps.push(Step { at_ms, for_ms, fault });
            at_ms += for_ms + rest_ms;
        }
    }
    steps
}

/// The faults of a run.
#[must_use]
pub fn plan(drill: &Drill, seed: u64, duration: Duration, workers: usize) -> Vec<Step> {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let frame = Frame { workers, ttl_ms: ms(drill.lease_ttl), end_ms: ms(duration) };
    let mut steps = (drill.plan)(&mut StdRng::seed_from_u64(seed), &frame);
    steps.sort_by_key(|step| step.at_ms);
    steps
}

/// The work of job number `number`; which client enqueues it, and when, plays no part.
pub(crate) fn work(drill: &Drill, seed: u64, number: u64) -> Work {
    let mut rng = StdRng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (drill.work)(&mut rng, number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::DRILLS;
    use crate::faults::{Database, Process};
    use crate::orders::Point;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_seed_another() {
        for drill in DRILLS {
            let plan = |seed| plan(drill, seed, drill.duration, 3);
            assert_eq!(plan(7), plan(7));
            assert!(plan(7).is_empty() || (0..9).any(|seed| plan(seed) != plan(7)), "{}", drill.name);
        }
    }

    #[test]
    fn a_full_drill_holds_every_kind_of_its_faults() {
        let plan = |name: &str| {
            let drill = DRILLS.iter().find(|drill| drill.name == name).expect("it exists");
            plan(drill, 1, drill.duration, 3)
        };
        let outage =
            |step: &Step| matches!(step.fault, Fault::Database(Database::Outage { .. })).then_some(step.for_ms);
        let outages: Vec<u64> = plan("database-outage").iter().filter_map(outage).collect();
        assert_eq!(outages, [1500, 1500, 4500, 450, 30000]);
        let killed_at = |step: &Step| match step.fault {
            Fault::Process(Process::KillAt { point, .. }) => Some(point.name()),
            _ => None,
        };
        let points: BTreeSet<&str> = plan("kill-worker").iter().filter_map(killed_at).collect();
        assert_eq!(points.len(), Point::ALL.len());
        let stopped_at = |step: &Step| match step.fault {
            Fault::Process(Process::StopAt { point, .. }) => Some(point.name()),
            _ => None,
        };
        let points: BTreeSet<&str> = plan("zombie").iter().filter_map(stopped_at).collect();
        assert_eq!(points.len(), 4);
    }
}
