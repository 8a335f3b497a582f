//! What pages are made of: numbers, times, words for states, empty places.

use faultline_store::dashboard::queues::{Count, Precision};
use jiff::Timestamp;
use maud::{Markup, html};

/// How something is, for its colour; the words beside it say it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Somebody must look.
    Bad,
    /// Under way.
    Busy,
    /// Nothing to say.
    Calm,
}

impl Tone {
    /// The name of its style, and the sign that stands for it.
    fn style(self) -> (&'static str, &'static str) {
        match self {
            Self::Good => ("good", "✓"),
            Self::Warn => ("warn", "!"),
            Self::Bad => ("bad", "✕"),
            Self::Busy => ("busy", "▸"),
            Self::Calm => ("calm", "·"),
        }
    }
}

/// A word for a state, with a sign, so that colour is not all that tells.
pub(crate) fn badge(tone: Tone, word: &str) -> Markup {
    let (style, sign) = tone.style();
    html! { span class={ "badge " (style) } { span.sign aria-hidden="true" { (sign) } (word) } }
}

/// A whole number with groups: `1,234,567`, and `10,000+` where counting has ended early.
pub(crate) fn count(number: i64, is_bounded: bool) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{}{text}{}", if number < 0 { "-" } else { "" }, if is_bounded { "+" } else { "" })
}

/// A number of jobs as exactly as it is known: `1,234`, `2,500+`, `≈ 29,800`.
pub(crate) fn jobs(count: Count) -> String {
    match count.precision {
        Precision::Exact => self::count(count.jobs, false),
        Precision::AtLeast => self::count(count.jobs, true),
        // What statistics say is not known to the last job.
        Precision::About => format!("≈ {}", self::count(count.jobs / 100 * 100, false)),
    }
}

/// `1 job`, `2 jobs`.
pub(crate) fn of_them(number: i64, one: &str, many: &str) -> String {
    format!("{} {}", count(number, false), if number == 1 { one } else { many })
}

/// A duration in the unit that fits: `250 ms`, `12 s`, `3 min`, `5 h`, `2 d`. The browser writes ages the same way.
pub(crate) fn span(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s < 1.0 => (s * 1000.0, "ms"),
        s if s < 120.0 => (s, "s"),
        s if s < 7200.0 => (s / 60.0, "min"),
        s if s < 172_800.0 => (s / 3600.0, "h"),
        s => (s / 86_400.0, "d"),
    };
    format!("{} {unit}", value.floor())
}

/// A number of bytes in the unit that fits, of 1,000: `512 B`, `12.0 MB`.
pub(crate) fn bytes(bytes: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "it is rounded anyway")]
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in ["kB", "MB", "GB", "TB"] {
        if value.abs() < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    if unit == "B" { format!("{value} B") } else { format!("{value:.1} {unit}") }
}

/// The time of day, UTC: `12:03:05`.
pub(crate) fn clock(at: Timestamp) -> String {
    at.strftime("%T").to_string()
}

/// What stands where there is nothing yet, and what to do about it.
pub(crate) fn empty(title: &str, text: &Markup) -> Markup {
    html! { div.empty { h2 { (title) } (text) } }
}

/// A number with its name.
pub(crate) fn figure(name: &str, value: &Markup, note: &Markup) -> Markup {
    html! { div.figure { dt { (name) } dd { span.value { (value) } span.note { (note) } } } }
}

/// A button that opens a small form in its place, without a script: what is done there needs a second press.
pub(crate) fn opens(label: &str, content: &Markup) -> Markup {
    html! { details.opens { summary.button { (label) } div.pop { (content) } } }
}

#[cfg(test)]
mod tests {
    use super::{count, span};

    #[test]
    fn numbers_are_grouped_and_bounded_ones_say_so() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567"), (-1000, "-1,000")];
        for (number, text) in cases {
            assert_eq!(count(number, false), text);
        }
        assert_eq!(count(10_000, true), "10,000+");
    }

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        for (number, text) in
            [(0, "0 B"), (999, "999 B"), (8192, "8.2 kB"), (12_000_000, "12.0 MB"), (-5_000_000_000, "-5.0 GB")]
        {
            assert_eq!(super::bytes(number), text);
        }
    }

    #[test]
    fn a_span_is_told_in_the_unit_that_fits() {
        let cases =
            [(0.25, "250 ms"), (1.9, "1 s"), (119.0, "119 s"), (180.0, "3 min"), (7200.0, "2 h"), (200_000.0, "2 d")];
        for (seconds, text) in cases {
            assert_eq!(span(seconds), text);
        }
    }
}
