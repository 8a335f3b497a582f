//! The way to OpenTelemetry, by the layer of `tracing-opentelemetry` that the program has installed or not. Nothing at all without the
//! feature `otel`.

#[cfg(not(feature = "otel"))]
pub(crate) use off::{context_of, current};
#[cfg(feature = "otel")]
pub(crate) use on::{begin, context_of, current, link, read, set, status};

#[cfg(feature = "otel")]
mod on {
    use crate::TraceContext;
    use opentelemetry::trace::{SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState};
    use opentelemetry::{Context, Value};
    use std::str::FromStr;
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    pub(crate) fn current() -> Option<TraceContext> {
        context_of(&Span::current()).or_else(|| written(Context::current().span().span_context()))
    }

    pub(crate) fn context_of(span: &Span) -> Option<TraceContext> {
        written(span.context().span().span_context())
    }

    /// Makes a new span the child of `parent`, or the root of a trace. False if no layer of OpenTelemetry hears of it.
    pub(crate) fn begin(span: &Span, parent: Option<&TraceContext>) -> bool {
        let parent = parent.and_then(read).map_or_else(Context::new, |p| Context::new().with_remote_span_context(p));
        span.set_parent(parent).is_ok()
    }

    pub(crate) fn link(span: &Span, to: &TraceContext) {
        if let Some(to) = read(to) {
            span.add_link(to);
        }
    }

    pub(crate) fn set(span: &Span, name: &'static str, value: impl Into<Value>) {
        span.set_attribute(name, value);
    }

    /// The span failed, and why.
    pub(crate) fn status(span: &Span, error: &str) {
        span.set_status(Status::error(error.to_owned()));
    }

    /// The form in which OpenTelemetry knows a context.
    pub(crate) fn read(context: &TraceContext) -> Option<SpanContext> {
        let [_, trace_id, span_id, flags] = context.traceparent().split('-').collect::<Vec<_>>()[..] else {
            return None;
        };
        let state = context.tracestate().and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default();
        let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
        Some(SpanContext::new(TraceId::from_hex(trace_id).ok()?, SpanId::from_hex(span_id).ok()?, flags, true, state))
    }

    /// The form in which it travels.
    fn written(context: &SpanContext) -> Option<TraceContext> {
        if !context.is_valid() {
            return None;
        }
        let flags = u8::from(context.is_sampled());
        let parent = format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id());
        TraceContext::parse(&parent, Some(&context.trace_state().header()))
    }
}

#[cfg(not(feature = "otel"))]
mod off {
    use crate::TraceContext;
    use tracing::Span;

    pub(crate) fn current() -> Option<TraceContext> {
        None
    }

    pub(crate) fn context_of(_: &Span) -> Option<TraceContext> {
        None
    }
}
