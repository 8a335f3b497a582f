//! What errors that say the same have in common: their text without numbers, ids and quoted parts, and a short name of it.
//!
//! ```
//! use faultline_core::fingerprint::pattern;
//! assert_eq!(pattern("user 17: no route to \"db-3\" after 250ms"), "user N: no route to ? after Nms");
//! ```

use uuid::Uuid;

/// Characters of a pattern at most: what differs behind them makes no other group. A stack trace begins within.
pub const MAX_PATTERN_CHARS: usize = 300;
/// Characters of an error that are looked at.
pub const MAX_LOOK_CHARS: usize = 1000;
/// A quote that is not closed within so many characters is an apostrophe.
const MAX_QUOTED_CHARS: usize = 200;
/// Hexadecimal digits in a row that are an id and not a word.
const MIN_HEX_CHARS: usize = 8;
/// Where the dashes of a UUID stand.
const UUID_DASHES: [usize; 4] = [8, 13, 18, 23];
const UUID_CHARS: usize = 36;

/// The text with `N` for each run of digits, `<id>` for UUIDs and long hexadecimal numbers, `?` for what is quoted, and one space for
/// each run of white space; cut to [`MAX_PATTERN_CHARS`].
pub fn pattern(error: &str) -> String {
    let text: Vec<char> = error.chars().take(MAX_LOOK_CHARS).collect();
    let mut pattern = String::new();
    let (mut at, mut chars) = (0, 0);
    while at < text.len() && chars < MAX_PATTERN_CHARS {
        let (replacement, length) = token(&text, at);
        match replacement {
            Some(" ") if pattern.is_empty() || pattern.ends_with(' ') => {}
            Some(replacement) => {
                pattern += replacement;
                chars += replacement.len();
            }
            None => {
                pattern.push(text[at]);
                chars += 1;
            }
        }
        at += length;
    }
    pattern.truncate(pattern.trim_end().len());
    pattern
}

/// A name for the errors of this pattern: 128 bits of FNV-1a (Fowler, Noll, Vo). Stable for ever, since it is stored; not meant to
/// withstand somebody who looks for two patterns of one name.
pub fn fingerprint(pattern: &str) -> Uuid {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = pattern.bytes().fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    Uuid::from_u128(hash)
}

/// What stands for the characters from `at` on, and how many these are; none: the character itself.
fn token(text: &[char], at: usize) -> (Option<&'static str>, usize) {
    let rest = &text[at..];
    let starts_word = at == 0 || !text[at - 1].is_alphanumeric();
    match rest[0] {
        c if c.is_whitespace() => (Some(" "), run(rest, char::is_whitespace)),
        quote @ ('"' | '\'' | '`') if starts_word => match quoted(rest, quote) {
            Some(length) => (Some("?"), length),
            None => (None, 1),
        },
        '0' if starts_word && rest.get(1) == Some(&'x') && rest.get(2).is_some_and(char::is_ascii_hexdigit) => {
            (Some("<id>"), 2 + run(&rest[2..], |c| c.is_ascii_hexdigit()))
        }
        c if starts_word && c.is_ascii_hexdigit() => match id(rest) {
            Some(length) => (Some("<id>"), length),
            None => digits(rest),
        },
        _ => digits(rest),
    }
}

fn digits(rest: &[char]) -> (Option<&'static str>, usize) {
    match run(rest, |c| c.is_ascii_digit()) {
        0 => (None, 1),
        length => (Some("N"), length),
    }
}

/// The length of a UUID, or of a long hexadecimal word with a digit in it, that the text begins with.
fn id(rest: &[char]) -> Option<usize> {
    let ends_word = |length: usize| rest.get(length).is_none_or(|c| !c.is_alphanumeric());
    let is_uuid = rest.len() >= UUID_CHARS
        && rest[..UUID_CHARS]
            .iter()
            .enumerate()
            .all(|(at, c)| if UUID_DASHES.contains(&at) { *c == '-' } else { c.is_ascii_hexdigit() });
    if is_uuid && ends_word(UUID_CHARS) {
        return Some(UUID_CHARS);
    }
    let length = run(rest, |c| c.is_ascii_hexdigit());
    let has_digit = rest[..length].iter().any(char::is_ascii_digit);
    let has_letter = rest[..length].iter().any(char::is_ascii_alphabetic);
    (length >= MIN_HEX_CHARS && has_digit && has_letter && ends_word(length)).then_some(length)
}

/// The length of what is quoted, its quotes included; it ends on its own line.
fn quoted(rest: &[char], quote: char) -> Option<usize> {
    let inside = rest.iter().skip(1).take(MAX_QUOTED_CHARS).take_while(|c| **c != '\n');
    let closed = inside.enumerate().find(|(_, c)| **c == quote)?.0;
    Some(closed + 2)
}

fn run(rest: &[char], is: impl Fn(char) -> bool) -> usize {
    rest.iter().take_while(|c| is(**c)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn errors_that_differ_in_numbers_ids_and_names_have_one_pattern() {
        for (errors, common) in [
            (["timeout after 250ms", "timeout after 9ms"], "timeout after Nms"),
            (["connect to 10.0.0.1:5432", "connect to 10.2.33.4:80"], "connect to N.N.N.N:N"),
            (
                ["no user 0190163d-8694-739b-aea5-966c26f8ad90!", "no user ffffffff-FFFF-4000-8000-000000000000!"],
                "no user <id>!",
            ),
            (["bad key 'a b'", "bad key \"it's\""], "bad key ?"),
            (["at 0x7ffee4", "at 0x0"], "at <id>"),
            (["commit 9fceb02d0ae598e9", "commit deadbeef1"], "commit <id>"),
            (["a\n  b", " a b "], "a b"),
        ] {
            assert_eq!(errors.map(pattern), [common, common]);
        }
    }

    #[test]
    fn words_stay_what_they_are() {
        for text in
            ["can't connect, won't try", "defaced facade", "the worker's lease", "é: 'unfinished", "deadbeefdeadbeef"]
        {
            assert_eq!(pattern(text), text);
        }
    }

    #[test]
    fn other_words_make_other_groups() {
        assert_ne!(fingerprint(&pattern("no such user 1")), fingerprint(&pattern("no such file 1")));
        assert_eq!(fingerprint(&pattern("no such user 1")), fingerprint(&pattern("no such user 22")));
    }

    /// It is stored: another name for the same pattern would split every group.
    #[test]
    fn the_name_of_a_pattern_never_changes() {
        assert_eq!(fingerprint("").to_string(), "6c62272e-07bb-0142-62b8-21756295c58d");
        assert_eq!(fingerprint("a").to_string(), "d228cb69-6f1a-8caf-7891-2b704e4a8964");
    }

    proptest! {
        #[test]
        fn any_text_has_a_short_pattern_without_digits(text in ".{0,1500}") {
            let pattern = pattern(&text);
            prop_assert!(pattern.chars().count() <= MAX_PATTERN_CHARS + "<id>".len());
            prop_assert!(!pattern.contains(|c: char| c.is_ascii_digit()));
        }

        #[test]
        fn numbers_do_not_matter(a in 0u64.., b in 0u64.., words in "[a-z ]{0,30}") {
            prop_assert_eq!(pattern(&format!("{words} {a} x{b}")), pattern(&format!("{words} {b} x{a}")));
        }
    }
}
