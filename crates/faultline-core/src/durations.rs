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

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ms in 0i64..i64::from(i32::MAX) * 1000) {
            prop_assert_eq!(parse(&format_ms(ms)), Ok(Duration::from_millis(ms.unsigned_abs())));
        }
    }
}
