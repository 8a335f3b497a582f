//! Durations as people write them in JSON and on the command line: `"250ms"`, `"5s"`, `"10m"`, `"2h"`, `"7d"`.

use std::time::Duration;

/// Reads a whole number with a unit (`ms`, `s`, `m`, `h`, `d`), or several in a row (`"1h30m"`).
///
/// # Errors
/// A text that says what was expected, for anything else: an empty or negative value, a missing unit, an overflow.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a duration such as \"250ms\", \"5s\", \"10m\" or \"2h\", got {text:?}");
    let mut rest = text.trim();
    let mut total_ms: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let after = &rest[digits..];
        let unit_len = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let unit_ms = match &after[..unit_len] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        total_ms = number.checked_mul(unit_ms).and_then(|ms| total_ms.checked_add(ms)).ok_or_else(wrong)?;
        rest = &after[unit_len..];
    }
    Ok(Duration::from_millis(total_ms))
}

/// Writes a duration in the largest unit that holds it exactly; [`parse`] reads it back.
pub fn format_ms(ms: i64) -> String {
    let unit = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")]
        .into_iter()
        .find(|(size, _)| ms != 0 && ms % size == 0);
    match unit {
        Some((size, name)) => format!("{}{name}", ms / size),
        None => format!("{ms}ms"),
    }
}

/// Writes a duration for people, with the digits that matter: `250 ms`, `1.2 s`, `45 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`.
/// What is cut off is cut, not rounded: a minute is not over before it is.
pub fn rough(ms: i64) -> String {
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        _ => format!("{big} {big_unit} {small} {small_unit}"),
    };
    let s = ms / 1000;
    match ms {
        ..1000 => format!("{ms} ms"),
        1000..10_000 => format!("{s}.{} s", ms % 1000 / 100),
        10_000..60_000 => format!("{s} s"),
        60_000..3_600_000 => two(s / 60, "min", s % 60, "s"),
        3_600_000..86_400_000 => two(s / 3600, "h", s % 3600 / 60, "min"),
        _ => two(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_written() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5400)));
        for wrong in ["", "5", "-5s", "5 s", "s", "5x", "1.5s", "99999999999999999999s"] {
            assert!(parse(wrong).is_err(), "{wrong:?} should be refused");
        }
    }

    #[test]
    fn a_rough_duration_has_the_digits_that_matter() {
        let cases = [
            (0, "0 ms"),
            (999, "999 ms"),
            (1234, "1.2 s"),
            (59_999, "59 s"),
            (185_000, "3 min 5 s"),
            (7_200_000, "2 h"),
            (270_000_000, "3 d 3 h"),
        ];
        for (ms, text) in cases {
            assert_eq!(rough(ms), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ms in 0i64..i64::from(i32::MAX) * 1000) {
            prop_assert_eq!(parse(&format_ms(ms)), Ok(Duration::from_millis(ms.unsigned_abs())));
        }
    }
}
