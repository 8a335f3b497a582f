//! The delay before the next attempt of a failed job.

use crate::limits;

/// Exponential back-off with full jitter: a uniform delay between zero and
/// `min(cap, base * 2^(attempt - 1))`, after "Exponential Backoff And Jitter" of the AWS Architecture
/// Blog (2015), which found full jitter to finish a contended workload with the fewest calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The envelope of the first retry, ms.
    pub base_ms: i32,
    /// The largest envelope, ms.
    pub cap_ms: i32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base_ms: limits::DEFAULT_BACKOFF_BASE_MS, cap_ms: limits::DEFAULT_BACKOFF_CAP_MS }
    }
}

impl Backoff {
    /// The largest delay after failed attempt number `attempt` (1 is the first), ms.
    pub fn envelope_ms(self, attempt: i32) -> i64 {
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(62);
        i64::from(self.base_ms.max(0)).saturating_mul(1i64 << doublings).min(i64::from(self.cap_ms.max(0)))
    }

    /// The delay after failed attempt number `attempt`, ms. `fraction` is a uniform random number in `[0, 1)`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "an envelope is below 2^53")]
    pub fn delay_ms(self, attempt: i32, fraction: f64) -> i64 {
        (self.envelope_ms(attempt) as f64 * fraction.clamp(0.0, 1.0)) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_envelope_doubles_until_the_cap() {
        let backoff = Backoff { base_ms: 1000, cap_ms: 5000 };
        let envelopes: Vec<i64> = (1..=5).map(|n| backoff.envelope_ms(n)).collect();
        assert_eq!(envelopes, [1000, 2000, 4000, 5000, 5000]);
    }

    proptest! {
        #[test]
        fn a_delay_stays_inside_its_envelope_for_any_attempt(
            base_ms in 0..=limits::MAX_BACKOFF_BASE_MS, cap_ms in 0..=limits::MAX_BACKOFF_CAP_MS,
            attempt in 0..=i32::MAX, fraction in 0.0..1.0,
        ) {
            let backoff = Backoff { base_ms, cap_ms };
            let delay = backoff.delay_ms(attempt, fraction);
            prop_assert!((0..=backoff.envelope_ms(attempt)).contains(&delay));
            prop_assert!(backoff.envelope_ms(attempt) <= i64::from(cap_ms));
        }

        #[test]
        fn the_envelope_never_shrinks(attempt in 1..1_000_000) {
            let backoff = Backoff::default();
            prop_assert!(backoff.envelope_ms(attempt) <= backoff.envelope_ms(attempt + 1));
        }
    }
}
