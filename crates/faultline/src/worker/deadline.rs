//! Until when a lease lasts for certain, as far as this process can know.
//!
//! The database's clock decides when a lease ends, and it starts to count when the statement that claims or renews it runs: after that
//! was sent. Counted from before it was sent, on this machine, a lease so ends here before it ends there. The boot clock goes on while the
//! machine or the process is suspended and nobody can set it, so that neither a pause nor a skewed clock lengthens a lease.

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A moment on the boot clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BootTime {
    ns: u64,
}

impl BootTime {
    pub(crate) fn now() -> Self {
        #[cfg(feature = "simulation")]
        if let Some(ns) = crate::chance::simulated_ns() {
            return Self { ns };
        }
        #[cfg(target_os = "linux")]
        const CLOCK: ClockId = ClockId::Boottime;
        // Elsewhere this one goes on during a suspension, or there is none that does.
        #[cfg(not(target_os = "linux"))]
        const CLOCK: ClockId = ClockId::Monotonic;
        let Timespec { tv_sec, tv_nsec } = clock_gettime(CLOCK);
        Self { ns: tv_sec.unsigned_abs() * 1_000_000_000 + tv_nsec.unsigned_abs() }
    }

    pub(crate) fn elapsed(self) -> Duration {
        Duration::from_nanos(Self::now().ns.saturating_sub(self.ns))
    }
}

/// The local deadline of one lease, shared between its handler and the renewals.
#[derive(Debug)]
pub(crate) struct Deadline {
    /// Moved by renewals, never back.
    ns: AtomicU64,
}

impl Deadline {
    /// Of a lease of this length that was asked for then.
    pub(crate) fn new(asked: BootTime, ttl: Duration) -> Self {
        Self { ns: AtomicU64::new(end_ns(asked, ttl)) }
    }

    /// The same moment for a lease that is renewed apart from this one.
    pub(crate) fn apart(&self) -> Self {
        Self { ns: AtomicU64::new(self.ns.load(Ordering::Acquire)) }
    }

    /// The lease was renewed, as it was asked for then.
    pub(crate) fn renewed(&self, asked: BootTime, ttl: Duration) {
        self.ns.fetch_max(end_ns(asked, ttl), Ordering::AcqRel);
    }

    /// How long it still lasts; nothing once it is over.
    pub(crate) fn left(&self) -> Duration {
        Duration::from_nanos(self.ns.load(Ordering::Acquire).saturating_sub(BootTime::now().ns))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left().is_zero()
    }
}

fn end_ns(asked: BootTime, ttl: Duration) -> u64 {
    asked.ns.saturating_add(u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_counts_from_the_question_and_never_moves_back() {
        let asked = BootTime::now();
        let deadline = Deadline::new(asked, Duration::from_secs(3600));
        assert!(deadline.left() <= Duration::from_secs(3600) && !deadline.is_over());
        deadline.renewed(asked, Duration::ZERO);
        assert!(!deadline.is_over());
        assert!(Deadline::new(asked, Duration::ZERO).is_over());
    }
}
