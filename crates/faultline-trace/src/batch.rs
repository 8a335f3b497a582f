//! The spans of statements that claim or finish jobs: one a statement, however many jobs it is about, and none for one that found
//! nothing to do, which is known only afterwards.

use crate::TraceContext;
use faultline_core::WorkerId;
#[cfg(feature = "otel")]
use std::time::SystemTime;

/// A statement on its way.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    #[cfg(feature = "otel")]
    began: SystemTime,
}

/// What a statement did.
#[derive(Debug, Clone, Copy)]
pub enum Deed {
    /// It claimed jobs.
    Claim,
    /// It ended attempts.
    Finish,
}

#[cfg(feature = "otel")]
impl Deed {
    /// Its own name, and its sort by the conventions for messaging.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Claim => ("claim", "receive"),
            Self::Finish => ("finish", "settle"),
        }
    }
}

impl Batch {
    /// It is sent now.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            #[cfg(feature = "otel")]
            began: SystemTime::now(),
        }
    }

    /// It was answered, and was about that many jobs: more than none. Their contexts are only asked for if somebody will see them.
    pub fn done(
        self,
        deed: Deed,
        queue: &str,
        worker: WorkerId,
        count: usize,
        contexts: impl Iterator<Item = Option<TraceContext>>,
    ) {
        #[cfg(feature = "otel")]
        self.tell(deed, queue, worker, count, contexts.flatten());
        #[cfg(not(feature = "otel"))]
        let _ = (deed, queue, worker, count, contexts);
    }

    #[cfg(feature = "otel")]
    fn tell(
        self,
        deed: Deed,
        queue: &str,
        worker: WorkerId,
        count: usize,
        contexts: impl Iterator<Item = TraceContext>,
    ) {
        use crate::otel::read;
        use crate::spans::{MAX_LINKS, messaging};
        use opentelemetry::trace::{Span as _, SpanKind, TraceContextExt, Tracer};
        use opentelemetry::{Context, KeyValue, global};

        let mut contexts = contexts.filter_map(|context| read(&context)).take(MAX_LINKS);
        // That of one job alone is in its trace; more than one can't be.
        let only = if count == 1 { contexts.next() } else { None };
        let parent = only.clone().map_or_else(Context::new, |only| Context::new().with_remote_span_context(only));
        let tracer = global::tracer("faultline");
        let (name, sort) = deed.names();
        let mut span = tracer
            .span_builder(format!("{name} {queue}"))
            .with_kind(SpanKind::Client)
            .with_start_time(self.began)
            .start_with_context(&tracer, &parent);
        if !span.is_recording() {
            return;
        }
        span.set_attributes(messaging(name, sort, queue).into_iter().map(|(name, value)| KeyValue::new(name, value)));
        span.set_attribute(KeyValue::new("messaging.client.id", worker.to_string()));
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        span.set_attribute(KeyValue::new("messaging.batch.message_count", count));
        for context in only.into_iter().chain(contexts) {
            span.add_link(context, Vec::new());
        }
        span.end();
    }
}
