//! Any faults at once, in windows that shift against each other: single faults miss what combinations find.
//!
//! The seed first picks which kinds of faults come at all. Then the time is cut into acts; a quarter of them are quiet, so that the
//! system also has to come back to rest, and each of the others has up to three faults on different victims.

use crate::catalogue::{Drill, Load, Scene};
use crate::faults::{Database, Fault, Network, Outage, Process, Strike, Who};
use crate::orders::Point;
use crate::proxy::Way;
use crate::schedule::{FIRST_MS, Frame, Step};
use crate::work::{How, Work};
use faultline_check::witness::Required;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt};
use std::time::Duration;

pub(crate) const DRILL: Drill = Drill {
    name: "random",
    summary: "any of the faults, several at once, in windows that the seed shifts",
    duration: Duration::from_secs(24),
    required: &[(Required::Success, 10)],
    scene: Scene { proxied: true, ..Drill::CALM.scene },
    load: Load { clients: 4, ..Drill::CALM.load },
    plan,
    work,
    // Whoever has seen that a worker is gone may be killed before it acts on it; the next one starts to count anew.
    settle: |run| run.recovery_bound_us = 12_000_000,
    ..Drill::CALM
};

/// Faults of one act at most.
const AT_ONCE: usize = 3;
/// Between an act's end and the next one's first fault.
const BREATH_MS: u64 = 300;

/// Kinds of faults; what they act on and how is drawn for each act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kill,
    KillAt,
    Stop,
    KillApi,
    Outage,
    Storm,
    Partition,
    Refuse,
    Deaf,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Kill,
        Self::KillAt,
        Self::Stop,
        Self::KillApi,
        Self::Outage,
        Self::Storm,
        Self::Partition,
        Self::Refuse,
        Self::Deaf,
    ];

    /// A fault on `worker`, or on what there is one of.
    fn draw(self, rng: &mut impl Rng, worker: usize) -> Fault {
        match self {
            Self::Kill => Fault::Process(Process::Kill { worker }),
            Self::KillAt => {
                let point = Point::ALL.choose(rng).copied().unwrap_or(Point::MidHandler);
                Fault::Process(Process::KillAt { worker, point })
            }
            Self::Stop => Fault::Process(Process::Stop { worker }),
            Self::KillApi => Fault::Process(Process::KillApi),
            Self::Outage => {
                let how = [Outage::Fast, Outage::Immediate, Outage::Kill].choose(rng).copied();
                Fault::Database(Database::Outage { how: how.unwrap_or(Outage::Fast) })
            }
            Self::Storm => {
                let (every_ms, seed) = (rng.random_range(150..400), rng.random());
                Fault::Database(Database::Storm { strike: Strike::Either, every_ms, seed })
            }
            Self::Partition => {
                let way = [Way::ToDatabase, Way::FromDatabase, Way::Both].choose(rng).copied();
                Fault::Network(Network::Partition { who: Who::Worker(worker), way: way.unwrap_or(Way::Both) })
            }
            Self::Refuse => Fault::Network(Network::Refuse { who: Who::Worker(worker) }),
            Self::Deaf => Fault::Network(Network::Deaf { who: Who::All }),
        }
    }

    /// What two faults cannot both act on at once.
    fn victim(self, worker: usize) -> (u8, usize) {
        match self {
            Self::Kill | Self::KillAt | Self::Stop | Self::Partition | Self::Refuse => (0, worker),
            Self::KillApi => (1, 0),
            // A storm needs a session of its own.
            Self::Outage | Self::Storm => (2, 0),
            Self::Deaf => (3, 0),
        }
    }
}

fn plan(rng: &mut StdRng, frame: &Frame) -> Vec<Step> {
    let mut kinds = Kind::ALL.to_vec();
    kinds.shuffle(rng);
    kinds.truncate(rng.random_range(2..=Kind::ALL.len()));
    let mut steps = Vec::new();
    let mut act_ms = FIRST_MS;
    while act_ms < frame.end_ms {
        let length_ms = rng.random_range(2 * frame.ttl_ms..4 * frame.ttl_ms);
        // The first act is never quiet: a drill without a fault is none.
        if steps.is_empty() || rng.random_range(0..4) > 0 {
            act(rng, frame, &kinds, act_ms, length_ms, &mut steps);
        }
        act_ms += length_ms + BREATH_MS;
    }
    steps
}

fn act(rng: &mut StdRng, frame: &Frame, kinds: &[Kind], act_ms: u64, length_ms: u64, steps: &mut Vec<Step>) {
    let mut hit = Vec::new();
    for _ in 0..rng.random_range(1..=AT_ONCE) {
        let kind = kinds.choose(rng).copied().unwrap_or(Kind::Kill);
        let worker = rng.random_range(0..frame.workers);
        let fault = kind.draw(rng, worker);
        let late_ms = rng.random_range(0..length_ms / 2);
        let for_ms = rng.random_range(length_ms / 10..length_ms - late_ms);
        if !hit.contains(&kind.victim(worker)) {
            hit.push(kind.victim(worker));
            steps.push(Step { at_ms: act_ms + late_ms, for_ms, fault });
        }
    }
}

fn work(rng: &mut StdRng, number: u64) -> Work {
    let calm = Work::calm(rng, number);
    let fail = [How::Error, How::Panic, How::Nul].choose(rng).copied().filter(|_| number.is_multiple_of(7));
    let (ms, hold_ms) = (rng.random_range(20..900), rng.random_range(0..200));
    Work { ms, hold_ms, fail, times: 1, blocking: number.is_multiple_of(5), ..calm }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn faults_overlap_across_seeds_and_never_hit_one_victim_twice_at_once() {
        let frame = Frame { workers: 3, ttl_ms: 1500, end_ms: 24_000 };
        let mut overlaps = 0;
        for seed in 0..50 {
            let steps = plan(&mut StdRng::seed_from_u64(seed), &frame);
            assert!(!steps.is_empty());
            for (number, a) in steps.iter().enumerate() {
                assert!(a.for_ms > 0, "it ends");
                for b in &steps[number + 1..] {
                    let both = a.at_ms < b.at_ms + b.for_ms && b.at_ms < a.at_ms + a.for_ms;
                    overlaps += u32::from(both);
                    assert!(!(both && a.fault == b.fault), "{a:?} {b:?}");
                }
            }
        }
        assert!(overlaps > 50, "{overlaps}");
    }
}
