//! How a handler may end badly.

use std::time::Duration;

/// The error of a handler. Any error turns into one by `?` and is then tried again with the job's back-off.
///
/// It does not implement [`std::error::Error`] itself, so that every error can be converted.
///
/// ```
/// use faultline::Failure;
/// use std::time::Duration;
///
/// fn charge(card: &str) -> Result<(), Failure> {
///     let digits: u64 = card.parse()?; // tried again with back-off
///     if digits == 0 {
///         return Err(Failure::fatal("the card does not exist")); // never tried again
///     }
///     Err(Failure::retry_in(Duration::from_secs(60), "the bank is closed"))
/// }
/// assert!(charge("0").is_err());
/// ```
#[derive(Debug)]
pub struct Failure {
    pub(crate) error: Box<dyn std::error::Error + Send + Sync>,
    pub(crate) then: Then,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    BackOff,
    RetryIn(Duration),
    GiveUp,
    Snooze(Duration),
}

impl Failure {
    /// Tried again with the job's back-off while attempts are left: what `?` makes of an error.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { error: error.into(), then: Then::BackOff }
    }

    /// Never tried again: the job ends as failed with the reason `fatal`.
    pub fn fatal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { error: error.into(), then: Then::GiveUp }
    }

    /// Tried again after `delay` while attempts are left.
    pub fn retry_in(delay: Duration, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { error: error.into(), then: Then::RetryIn(delay) }
    }

    /// The error and its sources in one text.
    pub(crate) fn text(&self) -> String {
        let mut text = self.error.to_string();
        let mut source = self.error.source();
        while let Some(inner) = source {
            let inner_text = inner.to_string();
            if !text.contains(&inner_text) {
                text = format!("{text}: {inner_text}");
            }
            source = inner.source();
        }
        text
    }
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let then = error.downcast_ref::<Snooze>().map_or(Then::BackOff, |snooze| Then::Snooze(snooze.0));
        Self { error, then }
    }
}

/// Not now: call the handler again after this long. Not a failed attempt. Return it as an error.
///
/// ```
/// use faultline::{Failure, Snooze};
/// use std::time::Duration;
///
/// fn wait_for_morning(hour: u64) -> Result<(), Failure> {
///     if hour < 6 {
///         return Err(Snooze(Duration::from_secs((6 - hour) * 3600)).into());
///     }
///     Ok(())
/// }
/// assert!(wait_for_morning(7).is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("snoozed for {0:?}")]
pub struct Snooze(
    /// How long.
    pub Duration,
);
