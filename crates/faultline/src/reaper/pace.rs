//! How often to look, by what looks cost the database.

use std::collections::VecDeque;
use std::time::Duration;

/// Between two looks; what becomes due in between is awaited by a timer. With one sign of life each five seconds an idle worker
/// stays at one statement a second.
pub(crate) const TICK: Duration = Duration::from_millis(1400);
/// A look may take one part in this many of the time of all processes together: under a snapshot that was forgotten open it has to
/// pass the entries of every job that has ended since.
const LOOK_SHARE: u32 = 20;
/// A look is dear if so many in a row were: one that waited for a busy machine, or was the first of its session, costs the
/// database nothing, and jobs of dead workers wait for the next.
const COSTS: usize = 3;
/// Between two dear looks, at most.
const LONGEST_TICK: Duration = Duration::from_secs(30);

/// The time between looks.
pub(super) struct Pace {
    /// What the last looks have cost.
    costs: VecDeque<Duration>,
    /// The least time between two looks, by that.
    pub(super) tick: Duration,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { costs: VecDeque::with_capacity(COSTS), tick: TICK }
    }

    /// A look of one of so many processes took so long.
    pub(super) fn after(&mut self, cost: Duration, workers: i64, lease_ttl: Duration) {
        if self.costs.len() == COSTS {
            self.costs.pop_front();
        }
        self.costs.push_back(cost);
        let cost = self.costs.iter().min().filter(|_| self.costs.len() == COSTS).copied().unwrap_or_default();
        let processes = u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
        // Contact that is asked for less often than once a lease time proves nothing.
        let longest = LONGEST_TICK.min(lease_ttl).max(TICK);
        self.tick = (cost * LOOK_SHARE).saturating_mul(processes).clamp(TICK, longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A first look on a busy machine took a tenth of a second, and the next one came after the jobs of a dead worker should have run.
    #[test]
    fn looks_are_rarer_only_when_several_were_dear() {
        let mut pace = Pace::new();
        let lease_ttl = Duration::from_secs(15);
        let (dear, cheap) = (Duration::from_millis(100), Duration::from_millis(2));
        for cost in [dear, cheap, dear, dear] {
            pace.after(cost, 4, lease_ttl);
            assert_eq!(pace.tick, TICK);
        }
        pace.after(dear, 4, lease_ttl);
        assert!(pace.tick > TICK && pace.tick <= lease_ttl);
    }
}
