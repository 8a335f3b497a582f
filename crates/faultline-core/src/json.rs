//! What a payload, headers or a result may hold.
//!
//! `jsonb` refuses some JSON that is well-formed: `\u0000`, lone surrogates, numbers with too many digits. And some that
//! it takes, common languages can't read back: numbers beyond a double, deep nesting, repeated keys of which one
//! silently wins. All of that is refused at the edge, so that it can never make a job that nobody is able to finish.

use crate::limits;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

/// Checks JSON text against the rules of this module and a limit in bytes, and returns it as a value.
///
/// # Errors
/// As [`check`].
pub fn parse(text: &str, max_bytes: usize) -> Result<Box<RawValue>, String> {
    check(text, max_bytes)?;
    RawValue::from_string(text.to_owned()).map_err(|e| describe(&e))
}

/// Checks JSON text against the rules of this module and a limit in bytes.
///
/// # Errors
/// A text for people, lower-case and without the field's name.
pub fn check(text: &str, max_bytes: usize) -> Result<(), String> {
    if text.len() > max_bytes {
        return Err(format!("must be at most {max_bytes} bytes, is {}", text.len()));
    }
    let has_floats = Cell::new(false);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Checked { depth: 0, has_floats: &has_floats }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|e| describe(&e))?;
    // Whatever fits 64 bits is short, and has no exponent.
    if has_floats.get() { check_numbers(text, max_bytes) } else { Ok(()) }
}

/// Makes any result storable: one that breaks a rule is replaced by an object that says so and holds the beginning of
/// it. The job has succeeded, whatever it returned.
pub fn storable_result(text: &str) -> Box<RawValue> {
    parse(text, limits::MAX_RESULT_BYTES).unwrap_or_else(|problem| {
        let head: String = text.chars().take(256).map(|c| if c == '\0' { '\u{fffd}' } else { c }).collect();
        let mark = serde_json::json!({"faultline_result_not_stored": problem, "bytes": text.len(), "head": head});
        serde_json::value::to_raw_value(&mark).expect("a map of strings and numbers is JSON")
    })
}

fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.contains("surrogate") || text.contains("unexpected end of hex escape") {
        return "must not contain a lone surrogate (\\ud800 to \\udfff)".into();
    }
    if text.contains("number out of range") {
        return "must not contain a number beyond the range of a double".into();
    }
    if text.contains("recursion limit") {
        return format!("must not nest deeper than {} levels", limits::MAX_JSON_DEPTH);
    }
    text.rsplit_once(" at line ").map_or(text.clone(), |(what, place)| {
        if error.is_data() { what.to_owned() } else { format!("is not JSON: {what} at line {place}") }
    })
}

/// Walks a value without keeping it.
#[derive(Clone, Copy)]
struct Checked<'a> {
    depth: usize,
    has_floats: &'a Cell<bool>,
}

impl Checked<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth >= limits::MAX_JSON_DEPTH {
            return Err(E::custom(format!("must not nest deeper than {} levels", limits::MAX_JSON_DEPTH)));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Checked<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.has_floats.set(true);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if text.contains('\0') { Err(E::custom("must not contain the character NUL (\\u0000)")) } else { Ok(()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut names = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            self.visit_str(&name)?;
            map.next_value_seed(inner)?;
            names.push(name);
        }
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(A::Error::custom(format!("must not repeat the key {:?} in one object", pair[0]))),
            None => Ok(()),
        }
    }
}

/// Borrowed from the text, unless it is written with escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}

/// Looks at the numbers of well-formed JSON as they are written: `jsonb` keeps every digit and writes an exponent out,
/// so that `1e308` of five characters comes back as 309.
fn check_numbers(json: &str, max_bytes: usize) -> Result<(), String> {
    let bytes = json.as_bytes();
    let mut written_out = json.len();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = end_of_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let rest = &json[at..];
                let length =
                    rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(rest.len());
                written_out += exponent_of(&rest[..length])?;
                at += length;
            }
            _ => at += 1,
        }
    }
    if written_out > max_bytes {
        return Err(format!("must be at most {max_bytes} bytes with its exponents written out, is {written_out}"));
    }
    Ok(())
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

fn exponent_of(number: &str) -> Result<usize, String> {
    if number.len() > limits::MAX_NUMBER_CHARS {
        return Err(format!("must not contain a number of more than {} characters", limits::MAX_NUMBER_CHARS));
    }
    let Some((_, exponent)) = number.split_once(['e', 'E']) else { return Ok(0) };
    exponent
        .parse::<i32>()
        .ok()
        .filter(|e| e.abs() <= limits::MAX_NUMBER_EXPONENT)
        .map(|e| e.unsigned_abs() as usize)
        .ok_or_else(|| "must not contain a number beyond the range of a double".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(text: &str) -> String {
        check(text, 10_000).expect_err(text)
    }

    #[test]
    fn ordinary_json_passes_unchanged() {
        for text in
            [r#"{"a":[1,2.5,-3e10,"x\"\\u0000 is fine when escaped twice: \\u0000",null,true]}"#, "0", "\"ü\"", "{}"]
        {
            assert_eq!(parse(text, 10_000).unwrap().get(), text);
        }
    }

    #[test]
    fn what_jsonb_or_a_reader_cannot_hold_is_refused() {
        assert!(refused(r#""\u0000""#).contains("NUL"));
        assert!(refused(r#"{"\u0000":1}"#).contains("NUL"));
        assert!(refused(r#""\ud800""#).contains("lone surrogate"));
        assert!(refused(r#""\ud800\u0041""#).contains("lone surrogate"));
        assert!(refused(r#""\udc00""#).contains("lone surrogate"));
        assert!(refused("1e400").contains("range of a double"));
        assert!(refused("1e-400").contains("range of a double"));
        assert!(refused("1e99999999999").contains("range of a double"));
        assert!(refused(&"9".repeat(500)).contains("number"));
        assert!(refused(&format!("{}{}", "[".repeat(101), "]".repeat(101))).contains("nest deeper"));
        assert!(refused(&"[".repeat(5000)).contains("nest deeper"));
        assert!(refused(r#"{"a":1,"a":2}"#).contains("repeat the key"));
        assert!(refused(r#"{"b":1,"a":[],"\u0062":2}"#).contains(r#"repeat the key "b""#));
        assert!(refused("{").contains("is not JSON"));
        assert!(refused("1 2").contains("is not JSON"));
        assert!(refused(&format!("[{}1e308]", "1e308,".repeat(500))).contains("written out"));
        assert!(check("\"abcdef\"", 4).unwrap_err().contains("at most 4 bytes"));
    }

    #[test]
    fn a_result_that_cannot_be_stored_is_replaced_by_a_mark() {
        assert_eq!(storable_result("[1]").get(), "[1]");
        for text in [r#""\u0000""#, "nonsense", &format!("\"{}\"", "x".repeat(limits::MAX_RESULT_BYTES))] {
            let stored = storable_result(text);
            assert!(stored.get().contains("faultline_result_not_stored"));
            check(stored.get(), limits::MAX_RESULT_BYTES).unwrap();
        }
    }

    proptest! {
        #[test]
        fn any_text_makes_a_storable_result(text in "\\PC{0,50}|[\\x00-\\x7f]{0,50}") {
            check(storable_result(&text).get(), limits::MAX_RESULT_BYTES).unwrap();
        }
    }
}
