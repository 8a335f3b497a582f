//! W3C Trace Context in the headers of a job.

use crate::otel;
use faultline_core::limits;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use tracing::Span;

/// The names in a job's headers, in HTTP and, in capitals, in the environment of a command.
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// The longest `tracestate` that is passed on: what W3C Trace Context, section 3.3.1.5, asks for at least.
const MAX_TRACESTATE_BYTES: usize = 512;

/// A position in a trace, in the form in which it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    traceparent: String,
    tracestate: Option<String>,
}

/// What is looked for in headers. They are whatever the user has put there.
#[derive(Deserialize)]
struct InHeaders {
    traceparent: Option<serde_json::Value>,
    tracestate: Option<serde_json::Value>,
}

impl TraceContext {
    /// Reads the two fields. `None` for a `traceparent` that is not of the form of W3C Trace Context, section 3.2; a `tracestate` that is
    /// too long or holds other than printable ASCII stays away.
    ///
    /// ```
    /// use faultline_trace::TraceContext;
    ///
    /// let context = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None);
    /// assert_eq!(context.unwrap().trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    /// assert_eq!(TraceContext::parse("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None), None);
    /// ```
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let parts: Vec<&str> = traceparent.split('-').collect();
        let is_hex = |part: &&str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let is_zero = |part: &str| part.bytes().all(|b| b == b'0');
        let [version, trace_id, parent_id, flags] = parts[..] else { return None };
        let has_form =
            [version, trace_id, parent_id, flags].map(str::len) == [2, 32, 16, 2] && parts.iter().all(is_hex);
        if !has_form || version == "ff" || is_zero(trace_id) || is_zero(parent_id) {
            return None;
        }
        let is_storable = |state: &&str| {
            !state.is_empty()
                && state.len() <= MAX_TRACESTATE_BYTES
                && state.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b))
        };
        Some(Self {
            traceparent: traceparent.to_owned(),
            tracestate: tracestate.filter(is_storable).map(str::to_owned),
        })
    }

    /// The context in the headers of a job.
    pub fn of_headers(headers: Option<&RawValue>) -> Option<Self> {
        let found: InHeaders = serde_json::from_str(headers?.get()).ok()?;
        let state = found.tracestate.as_ref().and_then(serde_json::Value::as_str);
        Self::parse(found.traceparent?.as_str()?, state)
    }

    /// That of the caller's span, or else of its OpenTelemetry context. Never any without the feature `otel`.
    pub fn current() -> Option<Self> {
        otel::current()
    }

    /// That of a span which OpenTelemetry knows.
    pub fn of_span(span: &Span) -> Option<Self> {
        otel::context_of(span)
    }

    /// The field `traceparent`.
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// The field `tracestate`.
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    /// The trace's id, 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        &self.traceparent[3..35]
    }

    /// Adds the context to checked headers that have none. What would grow too large stays as it is.
    pub fn add_to(&self, headers: Option<Box<RawValue>>) -> Option<Box<RawValue>> {
        let text = headers.as_deref().map_or("{}", RawValue::get);
        let Ok(mut fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) else { return headers };
        if fields.contains_key(TRACEPARENT) {
            return headers;
        }
        let parent = to_raw_value(&self.traceparent).ok();
        let state = self.tracestate.as_ref().and_then(|state| to_raw_value(state).ok());
        // One of another context means nothing with this one.
        fields.remove(TRACESTATE);
        fields.extend(parent.as_deref().map(|parent| (TRACEPARENT.to_owned(), parent)));
        fields.extend(state.as_deref().map(|state| (TRACESTATE.to_owned(), state)));
        let with = to_raw_value(&fields).ok().filter(|with| with.get().len() <= limits::MAX_HEADERS_BYTES);
        with.or(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).expect("JSON")
    }

    fn added(context: &TraceContext, headers: Option<&str>) -> String {
        context.add_to(headers.map(raw)).expect("headers").get().to_owned()
    }

    #[test]
    fn what_is_not_of_the_form_is_nobody_s() {
        assert!(TraceContext::parse(PARENT, None).is_some());
        for wrong in [
            "",
            "nonsense",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-00",
        ] {
            assert_eq!(TraceContext::parse(wrong, None), None, "{wrong}");
        }
    }

    #[test]
    fn a_state_that_cannot_be_passed_on_stays_away() {
        let state = |state: &str| TraceContext::parse(PARENT, Some(state)).expect("a context").tracestate;
        assert_eq!(state("a=1,b=2").as_deref(), Some("a=1,b=2"));
        for wrong in ["", "a=\r\nx: 1", "a=\u{e4}", &"x".repeat(513)] {
            assert_eq!(state(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn tags_stay_beside_the_context_and_a_context_of_the_user_s_own_stays() {
        let context = TraceContext::parse(PARENT, Some("a=1")).expect("a context");
        let both = format!(r#""traceparent":"{PARENT}","tracestate":"a=1""#);
        assert_eq!(added(&context, None), format!("{{{both}}}"));
        assert_eq!(
            added(&context, Some(r#"{"tag":[1, 2],"tracestate":"b=2"}"#)),
            format!(r#"{{"tag":[1, 2],{both}}}"#)
        );
        assert_eq!(added(&context, Some(r#"{"traceparent":null}"#)), r#"{"traceparent":null}"#);
        let full = format!(r#"{{"tag":"{}"}}"#, "x".repeat(limits::MAX_HEADERS_BYTES - 10));
        assert_eq!(added(&context, Some(&full)), full);
    }

    #[test]
    fn headers_that_hold_anything_are_read_without_trouble() {
        let of = |text: &str| TraceContext::of_headers(Some(&raw(text)));
        assert_eq!(
            of(&format!(r#"{{"tag":{{}},"traceparent":"{PARENT}","tracestate":7}}"#)),
            TraceContext::parse(PARENT, None)
        );
        assert_eq!(TraceContext::of_headers(None), None);
        for wrong in ["{}", "[]", "7", r#"{"traceparent":7}"#, r#"{"traceparent":"x"}"#] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
