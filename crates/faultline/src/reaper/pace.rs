//! How often to look, and how often from the head, by what looks cost the database.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks; what becomes due in between is awaited by a timer. With one sign of life each five seconds an idle worker
/// stays at one statement a second.
pub(crate) const TICK: Duration = Duration::from_millis(1400);
/// A look may take one part in this many of the time of all processes together.
const LOOK_SHARE: u32 = 20;
/// And one from the head only so much: under a snapshot that was forgotten open it has to pass the entries of every job that has
/// ended since, while others see from their floors on what waits, runs or has expired there.
const HEAD_SHARE: u32 = 50;
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
    /// When a look begins at the head again.
    head_at: Option<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { costs: VecDeque::with_capacity(COSTS), tick: TICK, head_at: None }
    }

    /// Whether the next look is one from the head.
    pub(super) fn is_head_due(&self, now: Instant) -> bool {
        self.head_at.is_none_or(|at| at <= now)
    }

    /// A look of one of so many processes took so long.
    pub(super) fn after(&mut self, cost: Duration, workers: i64, lease_ttl: Duration) {
        if self.costs.len() == COSTS {
            self.costs.pop_front();
        }
        self.costs.push_back(cost);
        let cost = self.costs.iter().min().filter(|_| self.costs.len() == COSTS).copied().unwrap_or_default();
        self.tick = (cost * LOOK_SHARE).saturating_mul(processes(workers)).clamp(TICK, longest(lease_ttl));
    }

    /// A look from the head took so long, until now.
    pub(super) fn after_head(&mut self, cost: Duration, workers: i64, lease_ttl: Duration, now: Instant) {
        self.head_at = Some(now + (cost * HEAD_SHARE).saturating_mul(processes(workers)).min(longest(lease_ttl)));
    }
}

/// Contact that is asked for less often than once a lease time proves nothing.
fn longest(lease_ttl: Duration) -> Duration {
    LONGEST_TICK.min(lease_ttl).max(TICK)
}

fn processes(workers: i64) -> u32 {
    u32::try_from(workers.max(1)).unwrap_or(u32::MAX)
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

    #[test]
    fn a_dear_look_from_the_head_is_followed_by_others_that_are_not() {
        let (mut pace, now, lease_ttl) = (Pace::new(), Instant::now(), Duration::from_secs(15));
        assert!(pace.is_head_due(now), "the first");
        pace.after_head(Duration::from_millis(20), 1, lease_ttl, now);
        assert!(pace.is_head_due(now + TICK), "a cheap one is followed by the next");
        pace.after_head(Duration::from_millis(100), 2, lease_ttl, now);
        assert!(!pace.is_head_due(now + Duration::from_secs(9)) && pace.is_head_due(now + Duration::from_secs(10)));
        pace.after_head(Duration::from_secs(10), 2, lease_ttl, now);
        assert!(pace.is_head_due(now + lease_ttl), "it comes in the end");
    }
}
