//! How long the jobs of killed workers waited to run elsewhere.

use serde::Serialize;
use uuid::Uuid;

use crate::ground::{Ground, Hold};
use crate::witness::{Event, Fault, FaultKind};

/// The waits of all jobs that a killed worker held, from the kill to the next claim, or to the end where no attempt was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// Jobs that were recovered.
    pub jobs: u64,
    /// Half of them waited no longer, microseconds.
    pub p50_us: i64,
    /// All but a hundredth waited no longer, microseconds.
    pub p99_us: i64,
    /// The longest wait, microseconds.
    pub max_us: i64,
}

/// A job that a killed worker held, and what ended its wait.
pub(crate) struct Recovered<'a> {
    pub(crate) job: Uuid,
    pub(crate) kill: &'a Fault,
    pub(crate) held: &'a Event,
    pub(crate) next: Option<&'a Event>,
}

impl Recovered<'_> {
    pub(crate) fn wait_us(&self) -> Option<i64> {
        self.next.map(|next| next.at_us - self.kill.began_us)
    }
}

/// Every job that a worker held when it was killed and did not end itself.
pub(crate) fn of_killed<'a>(ground: &Ground<'a>) -> Vec<Recovered<'a>> {
    let (Ok(faults), Ok(lives)) = (ground.faults(), ground.lives()) else { return Vec::new() };
    let kills: Vec<(&Fault, Uuid)> =
        faults.iter().filter(|f| f.kind == FaultKind::Kill).filter_map(|f| Some((f, f.owner?))).collect();
    let mut found = Vec::new();
    for life in lives {
        let holds = life.holds();
        for (n, Hold { claim, left }) in holds.iter().enumerate() {
            let held_at = |kill: &Fault| {
                claim.at_us <= kill.began_us
                    && left.is_none_or(|left| left.reason.is_reap() && left.at_us >= kill.began_us)
            };
            let Some((kill, _)) = kills.iter().find(|(kill, owner)| claim.owner == Some(*owner) && held_at(kill))
            else {
                continue;
            };
            let next = holds.get(n + 1).map(|hold| hold.claim).or(left.filter(|left| left.is_terminal()));
            found.push(Recovered { job: life.job, kill, held: claim, next });
        }
    }
    found
}

pub(crate) fn measure(ground: &Ground<'_>) -> Option<Recovery> {
    let mut waits: Vec<i64> = of_killed(ground).iter().filter_map(Recovered::wait_us).collect();
    waits.sort_unstable();
    let last = waits.len().checked_sub(1)?;
    Some(Recovery {
        jobs: waits.len() as u64,
        p50_us: percentile(&waits, 50),
        p99_us: percentile(&waits, 99),
        max_us: waits[last],
    })
}

/// The nearest-rank percentile of sorted values, which must not be empty.
pub(crate) fn percentile(sorted: &[i64], percent: usize) -> i64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted[rank.saturating_sub(1).min(sorted.len() - 1)]
}
