//! Error texts on their way into the database.

use crate::limits;

/// What a cut text ends with.
pub const CUT_MARK: &str = " … [cut]";

/// Makes any text storable: NUL, which Postgres text can't hold, becomes U+FFFD, and a text longer than
/// [`limits::MAX_ERROR_BYTES`] is cut at a character boundary and marked. The result is never longer than the limit.
pub fn storable(text: &str) -> String {
    cut(&text.replace('\0', "\u{fffd}"), limits::MAX_ERROR_BYTES)
}

/// The same for bytes of unknown encoding, such as a program's output: what is not UTF-8 becomes U+FFFD.
pub fn storable_bytes(bytes: &[u8]) -> String {
    storable(&String::from_utf8_lossy(bytes))
}

fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit.saturating_sub(CUT_MARK.len()));
    format!("{}{CUT_MARK}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_long_text_is_cut_and_marked() {
        let text = storable(&"ä".repeat(limits::MAX_ERROR_BYTES));
        assert!(text.ends_with(CUT_MARK) && text.len() <= limits::MAX_ERROR_BYTES);
    }

    proptest! {
        #[test]
        fn any_bytes_become_storable(bytes in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            let text = storable_bytes(&bytes);
            prop_assert!(!text.contains('\0'));
            prop_assert!(text.len() <= limits::MAX_ERROR_BYTES);
        }
    }
}
