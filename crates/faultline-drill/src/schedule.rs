//! The fault schedule and the jobs of a run, computed from the seed before anything starts: the same seed, drill, duration
//! and number of workers give the same schedule.

use crate::catalogue::{Drill, Nemesis};
use crate::work::{How, Work};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Where in a handler a worker kills itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KillPoint {
    /// The handler was called and has done nothing.
    HandlerStart,
    /// In the middle of its work.
    MidHandler,
    /// Its effect is written, its transaction is open.
    AfterEffect,
    /// The finish is done inside the transaction, which is not committed.
    FinishSent,
    /// The transaction was committed, the worker does not know yet.
    FinishAcknowledged,
}

impl KillPoint {
    const ALL: [Self; 5] =
        [Self::HandlerStart, Self::MidHandler, Self::AfterEffect, Self::FinishSent, Self::FinishAcknowledged];

    /// As it is written in files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::HandlerStart => "handler-start",
            Self::MidHandler => "mid-handler",
            Self::AfterEffect => "after-effect",
            Self::FinishSent => "finish-sent",
            Self::FinishAcknowledged => "finish-acknowledged",
        }
    }
}

/// How Postgres is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outage {
    /// Sessions are ended, then an orderly stop.
    Fast,
    /// At once, without a checkpoint.
    Immediate,
    /// SIGKILL of the postmaster.
    Kill,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// SIGKILL of a worker, replaced after a pause.
    Kill {
        /// Which.
        worker: usize,
        /// Until the next one starts.
        pause_ms: u64,
    },
    /// The worker kills itself at a point of its next handler.
    KillAt {
        /// Which.
        worker: usize,
        /// Where.
        point: KillPoint,
        /// Until the next one starts.
        pause_ms: u64,
    },
    /// Postgres is away.
    Outage {
        /// How.
        how: Outage,
        /// For how long.
        for_ms: u64,
    },
    /// SIGSTOP of a worker that holds jobs, SIGCONT afterwards.
    Stop {
        /// Which.
        worker: usize,
        /// For how long.
        for_ms: u64,
    },
    /// SIGKILL of the API, replaced after a pause.
    KillApi {
        /// Until the next one starts.
        pause_ms: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill { worker, .. } => write!(f, "kill -9 of worker {worker}"),
            Self::KillAt { worker, point, .. } => write!(f, "worker {worker} dies at {}", point.name()),
            Self::Outage { how, for_ms } => write!(f, "outage ({how:?}) for {for_ms} ms"),
            Self::Stop { worker, for_ms } => write!(f, "worker {worker} stopped for {for_ms} ms"),
            Self::KillApi { .. } => write!(f, "kill -9 of the API"),
        }
    }
}

/// A fault and its time after the start of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Milliseconds after the start of the load; later if the step before it takes longer.
    pub at_ms: u64,
    /// What is done.
    #[serde(flatten)]
    pub fault: Fault,
}

/// The faults of a run.
#[must_use]
pub fn plan(drill: &Drill, seed: u64, duration: Duration, workers: usize) -> Vec<Step> {
    let mut rng = StdRng::seed_from_u64(seed);
    let ttl_ms = u64::try_from(drill.lease_ttl.as_millis()).unwrap_or(u64::MAX);
    let faults = match drill.nemesis {
        Nemesis::KillWorker => kills(&mut rng, workers),
        Nemesis::DatabaseOutage => outages(&mut rng, ttl_ms),
        Nemesis::Zombie => stops(&mut rng, workers, ttl_ms),
        Nemesis::DuplicateSubmission => producers(&mut rng),
        Nemesis::FailingJobs => Vec::new(),
    };
    let end_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut at_ms = 1000;
    let mut steps = Vec::new();
    for (fault, lasts_ms) in faults {
        // The first fault comes in any case: a drill without one is none.
        if !steps.is_empty() && at_ms + lasts_ms > end_ms {
            continue;
        }
        steps.push(Step { at_ms, fault });
        at_ms += lasts_ms;
    }
    steps
}

/// More faults than fit, each with the time until the next one.
type Faults = Vec<(Fault, u64)>;
/// More than any duration holds.
const ENOUGH: usize = 50;

fn kills(rng: &mut StdRng, workers: usize) -> Faults {
    let mut faults = Vec::new();
    let mut points: Vec<KillPoint> = Vec::new();
    for number in 0..ENOUGH {
        let (worker, pause_ms) = (rng.random_range(0..workers), rng.random_range(200..1000));
        let fault = if number % 2 == 0 {
            Fault::Kill { worker, pause_ms }
        } else {
            if points.is_empty() {
                points = KillPoint::ALL.to_vec();
                points.shuffle(rng);
            }
            let point = points.pop().unwrap_or(KillPoint::MidHandler);
            Fault::KillAt { worker, point, pause_ms }
        };
        faults.push((fault, rng.random_range(1200..2200)));
    }
    faults
}

fn outages(rng: &mut StdRng, ttl_ms: u64) -> Faults {
    let mut how = [Outage::Fast, Outage::Immediate, Outage::Kill];
    how.shuffle(rng);
    let lengths = [ttl_ms, 10 * ttl_ms, ttl_ms * 3 / 10, 3 * ttl_ms];
    let fault = |(number, for_ms): (usize, u64)| {
        let gap_ms = 1500 + rng.random_range(0..500);
        (Fault::Outage { how: how[number % how.len()], for_ms }, for_ms + gap_ms)
    };
    lengths.into_iter().enumerate().map(fault).collect()
}

fn stops(rng: &mut StdRng, workers: usize, ttl_ms: u64) -> Faults {
    let stop = |_| {
        let for_ms = 2 * ttl_ms + rng.random_range(1500..2500);
        (Fault::Stop { worker: rng.random_range(0..workers), for_ms }, for_ms + 1500)
    };
    (0..ENOUGH).map(stop).collect()
}

fn producers(rng: &mut StdRng) -> Faults {
    let fault = |number| {
        let how = if rng.random_bool(0.5) { Outage::Immediate } else { Outage::Kill };
        let fault = if number % 2 == 0 {
            Fault::KillApi { pause_ms: rng.random_range(100..500) }
        } else {
            Fault::Outage { how, for_ms: rng.random_range(300..1200) }
        };
        (fault, rng.random_range(2000..3000))
    };
    (0..ENOUGH).map(fault).collect()
}

/// The work of job number `number`; which client enqueues it, and when, plays no part.
pub(crate) fn work(drill: &Drill, seed: u64, number: u64) -> Work {
    let mut rng = StdRng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let calm = Work { ms: rng.random_range(20..300), tx: number.is_multiple_of(2), ..Work::default() };
    match drill.nemesis {
        Nemesis::KillWorker => Work { hold_ms: 50, ..calm },
        Nemesis::DatabaseOutage => Work { ms: rng.random_range(20..1500), tx: number.is_multiple_of(4), ..calm },
        Nemesis::Zombie => {
            Work { ms: rng.random_range(200..700), hold_ms: rng.random_range(100..400), blocking: true, ..calm }
        }
        Nemesis::DuplicateSubmission => Work { ms: 20, ..calm },
        Nemesis::FailingJobs => {
            let how = [None, Some(How::Error), Some(How::Panic), Some(How::Fatal)];
            let more = [Some(How::Slow), Some(How::Huge), Some(How::Nul), Some(How::Error)];
            let at = usize::try_from(number % 8).unwrap_or(0);
            let fail = how.into_iter().chain(more).nth(at).flatten();
            // One in three fails more often than it may: it ends as failed.
            Work { ms: 20, tx: number.is_multiple_of(3), fail, times: rng.random_range(1..=5), ..calm }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::DRILLS;

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_seed_another() {
        for drill in DRILLS {
            let plan = |seed| plan(drill, seed, drill.duration, 3);
            assert_eq!(plan(7), plan(7));
            assert!(
                drill.nemesis == Nemesis::FailingJobs || (0..9).any(|seed| plan(seed) != plan(7)),
                "{}",
                drill.name
            );
        }
    }

    #[test]
    fn a_full_drill_holds_every_kind_of_its_faults() {
        let plan = |name: &str| {
            let drill = DRILLS.iter().find(|drill| drill.name == name).expect("it exists");
            plan(drill, 1, drill.duration, 3)
        };
        let outages: Vec<u64> = plan("database-outage")
            .iter()
            .filter_map(|step| if let Fault::Outage { for_ms, .. } = step.fault { Some(for_ms) } else { None })
            .collect();
        assert_eq!(outages, [1500, 15000, 450, 4500]);
        assert!(plan("kill-worker").iter().any(|step| matches!(step.fault, Fault::KillAt { .. })));
        assert!(plan("zombie").len() >= 2);
    }
}
