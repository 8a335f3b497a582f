//! JSON for people to read and to copy.
//!
//! Both work on the text as the database gives it and never on parsed values: a number with more digits than a double holds
//! stays what it is.

/// Breaks a valid document into indented lines. What stands in strings, and every number, is left as it is.
pub(crate) fn pretty(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                out.push(c);
                copy_string(&mut chars, &mut out);
            }
            '{' | '[' => {
                out.push(c);
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(end) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

fn copy_string(chars: &mut impl Iterator<Item = char>, out: &mut String) {
    let mut is_escaped = false;
    for c in chars {
        out.push(c);
        match c {
            '"' if !is_escaped => return,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// The same document, in which characters that terminals obey or that turn the direction of text are written as escapes:
/// what is pasted is what was seen. Outside of strings a valid document has none of them.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_deceptive(c) {
            // All of them are below U+10000, where one escape is one character.
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a character drives terminals or turns the direction of what follows.
pub(crate) fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::{plain, pretty};

    #[test]
    fn a_document_is_indented_and_its_numbers_and_strings_are_left_alone() {
        let text = r#"{"a":12345678901234567890.10,"b": [1e5, "x: {[,\"\\"], "c": {}, "d":[ ]}"#;
        let expected = "{\n  \"a\": 12345678901234567890.10,\n  \"b\": [\n    1e5,\n    \"x: {[,\\\"\\\\\"\n  ],\n  \"c\": {},\n  \"d\": []\n}";
        assert_eq!(pretty(text), expected);
        for scalar in ["1", "null", "\"a, b\"", "[]", "{}"] {
            assert_eq!(pretty(scalar), scalar);
        }
    }

    #[test]
    fn what_is_indented_is_the_same_document() {
        for text in [r#"{"a":[{"b":"\\\""},[],[[1]]]}"#, r#"["\\", {"}": "]"}]"#] {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::from_str::<serde_json::Value>(&pretty(text)).unwrap(), value);
        }
    }

    #[test]
    fn deceptive_characters_are_escaped_without_changing_the_document() {
        let text = "{\"a\u{202e}b\": \"\u{7f}\u{9b}31m\u{feff}é\"}";
        let safe = plain(text);
        assert_eq!(safe, "{\"a\\u202eb\": \"\\u007f\\u009b31m\\ufeffé\"}");
        let value = |text| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(text), value(&safe));
    }
}
