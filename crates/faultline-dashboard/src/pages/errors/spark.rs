//! Counts over time, small enough for a line of a table.

use crate::fields::Fields;
use crate::parts::count;
use faultline_store::dashboard::errors::ErrorCount;
use jiff::Timestamp;
use maud::{Markup, html};

/// Seconds that one count is for.
const COUNT_S: i64 = 600;
/// A drawing, in units of its view box.
const BAR: f64 = 4.0;
const HEIGHT: f64 = 24.0;

/// How far back counts are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    /// Six hours, by ten minutes.
    Hours6,
    /// A day, by half an hour.
    Day,
    /// A week, by four hours.
    Week,
}

/// The counts of one bar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) failed: i64,
    pub(super) retried: i64,
}

impl Range {
    const ALL: [Self; 3] = [Self::Hours6, Self::Day, Self::Week];

    /// What was asked for; six hours if nothing was.
    pub(super) fn asked(fields: &Fields) -> Result<Self, String> {
        let Some(word) = fields.get("range") else { return Ok(Self::Hours6) };
        Self::ALL
            .into_iter()
            .find(|range| range.word() == word)
            .ok_or_else(|| format!("range: expected one of {}", Self::ALL.map(Self::word).join(", ")))
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Hours6 => "6h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Hours6 => "Last 6 hours",
            Self::Day => "Last 24 hours",
            Self::Week => "Last 7 days",
        }
    }

    pub(super) fn hours(self) -> u32 {
        match self {
            Self::Hours6 => 6,
            Self::Day => 24,
            Self::Week => 168,
        }
    }

    /// Seconds of a bar.
    pub(super) fn bar_s(self) -> i64 {
        match self {
            Self::Hours6 => COUNT_S,
            Self::Day => 3 * COUNT_S,
            Self::Week => 24 * COUNT_S,
        }
    }

    /// The field of a form.
    pub(super) fn choice(self) -> Markup {
        html! {
            label {
                "Over"
                select name="range" {
                    @for range in Self::ALL { option value=(range.word()) selected[range == self] { (range.words()) } }
                }
            }
        }
    }

    /// The counts as bars, the last one that of now; with the second since 1970 at which the first begins.
    pub(super) fn sums(self, counts: &[ErrorCount], now: Timestamp) -> (i64, Vec<Bar>) {
        let bars = i64::from(self.hours()) * 3600 / self.bar_s();
        let first_s = (now.as_second().div_euclid(self.bar_s()) - bars + 1) * self.bar_s();
        let mut sums = vec![Bar::default(); usize::try_from(bars).unwrap_or(0)];
        for counted in counts {
            let at = (counted.at.as_second() - first_s).div_euclid(self.bar_s());
            // What lies before the first bar is not shown, and a clock that is behind has no bar for the latest.
            let at = usize::try_from(at.min(bars - 1)).ok();
            if let Some(bar) = at.and_then(|at| sums.get_mut(at)) {
                bar.failed += counted.failed;
                bar.retried += counted.retried;
            }
        }
        (first_s, sums)
    }

    /// A drawing of them; in words beside, for those who do not see it.
    pub(super) fn bars(self, counts: &[ErrorCount], now: Timestamp) -> Markup {
        let (_, sums) = self.sums(counts, now);
        let all: i64 = sums.iter().map(|bar| bar.failed + bar.retried).sum();
        let most = sums.iter().map(|bar| bar.failed + bar.retried).max().unwrap_or(0).max(1);
        #[expect(clippy::cast_precision_loss, reason = "a drawing needs no more than a float holds")]
        let (height, x) = (|count: i64| count as f64 / most as f64 * HEIGHT, |at: usize| at as f64 * BAR);
        #[expect(clippy::cast_precision_loss, reason = "at most 48 bars")]
        let width = sums.len() as f64 * BAR;
        let label = format!(
            "{} in the {}, at most {} in a bar",
            count(all, false),
            self.words().to_lowercase(),
            count(most, false)
        );
        html! {
            svg.spark viewBox={ "0 0 " (width) " " (HEIGHT) } width=(width) height=(HEIGHT) role="img" aria-label=(label) {
                title { (label) }
                line.ground x1="0" x2=(width) y1=(HEIGHT) y2=(HEIGHT) {}
                @for (at, bar) in sums.iter().enumerate().filter(|(_, bar)| bar.failed + bar.retried > 0) {
                    @let (failed, retried) = (height(bar.failed), height(bar.retried));
                    @if bar.retried > 0 {
                        rect.retried x=(x(at)) y=(format!("{:.1}", HEIGHT - failed - retried)) width=(BAR - 1.0) height=(format!("{:.1}", retried.max(1.0))) {}
                    }
                    @if bar.failed > 0 {
                        rect.failed x=(x(at)) y=(format!("{:.1}", HEIGHT - failed.max(1.0))) width=(BAR - 1.0) height=(format!("{:.1}", failed.max(1.0))) {}
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(at: &str, failed: i64, retried: i64) -> ErrorCount {
        ErrorCount { at: at.parse().expect("a time"), failed, retried }
    }

    #[test]
    fn counts_fall_into_the_bars_of_their_times() {
        let now = "2026-03-01T12:34:56Z".parse().expect("a time");
        let counts = [
            counted("2026-03-01T06:00:00Z", 100, 0),
            counted("2026-03-01T06:40:00Z", 1, 2),
            counted("2026-03-01T12:20:00Z", 3, 0),
            counted("2026-03-01T12:30:00Z", 0, 4),
            counted("2026-03-01T12:40:00Z", 0, 5),
        ];
        let (first_s, bars) = Range::Hours6.sums(&counts, now);
        assert_eq!(Timestamp::from_second(first_s).expect("a time").to_string(), "2026-03-01T06:40:00Z");
        assert_eq!(bars.len(), 36);
        assert_eq!((bars[0], bars[34]), (Bar { failed: 1, retried: 2 }, Bar { failed: 3, retried: 0 }));
        assert_eq!(bars[35], Bar { failed: 0, retried: 9 }, "what is ahead of our clock is now");
        let (_, bars) = Range::Week.sums(&counts, now);
        assert_eq!(bars.len(), 42);
        assert_eq!(bars.iter().map(|bar| bar.failed + bar.retried).sum::<i64>(), 115);
    }
}
