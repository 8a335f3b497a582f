//! Traces of a program of the user's own: what it enqueues is below its spans, and so is what a handler does.
#![cfg(feature = "otel")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{DEADLINE, Running, client, database, wait_for};
use faultline::{Client, Failure, State, Worker};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use serde_json::Value;
use std::time::Instant;
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// A program that traces, for the whole process.
fn traced() -> (SdkTracerProvider, InMemorySpanExporter) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    opentelemetry::global::set_tracer_provider(provider.clone());
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("program"));
    tracing_subscriber::registry().with(layer).init();
    (provider, exporter)
}

/// Waits for a span, by its name and by what it has as an attribute.
async fn span(exporter: &InMemorySpanExporter, name: &str, kind: &str) -> SpanData {
    let is_of = |span: &SpanData| {
        let attribute = span.attributes.iter().find(|attribute| attribute.key.as_str() == "kind");
        span.name == name && attribute.is_none_or(|found| found.value.as_str() == kind)
    };
    let began = Instant::now();
    loop {
        let spans = exporter.get_finished_spans().unwrap();
        if let Some(found) = spans.iter().find(|span| is_of(span)) {
            return found.clone();
        }
        assert!(began.elapsed() < DEADLINE, "no {name} of {kind:?} in {spans:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

fn context(span: &SpanData) -> String {
    format!("00-{}-{}-01", span.span_context.trace_id(), span.span_context.span_id())
}

async fn headers(client: &Client, id: faultline::JobId) -> Value {
    let job = client.get(id).await.unwrap().unwrap();
    job.headers.map_or(Value::Null, |headers| serde_json::from_str(headers.get()).unwrap())
}

#[tokio::test]
async fn what_is_enqueued_is_below_the_caller_s_span_and_so_is_what_its_handler_enqueues() {
    let (_provider, exporter) = traced();
    let database = database();
    let client = client(&database);
    let inner = client.clone();
    let worker = Worker::new(&client)
        .on_kind("outer", move |_, _| {
            let client = inner.clone();
            async move {
                let id = client.enqueue_raw("inner", ()).await?.id();
                tracing::warn!("half-way");
                Ok::<_, Failure>(id)
            }
        })
        .on_kind("inner", |_, _| async { Ok::<_, Failure>(()) });
    let worker = Running::start(worker);

    let caller = tracing::info_span!("caller");
    let outer = async {
        let enqueued = client.enqueue_raw("outer", ()).headers(serde_json::json!({"tag": 1})).await.unwrap();
        let many = client.enqueue_raw("many", ()).into_new_job().unwrap();
        client.enqueue_all(std::slice::from_ref(&many)).await.unwrap();
        (enqueued.id(), many.id)
    };
    let (outer, many) = outer.instrument(caller).await;
    let job = wait_for(&client, outer, State::Succeeded).await;
    let inner: faultline::JobId = serde_json::from_str(job.result.unwrap().get()).unwrap();
    wait_for(&client, inner, State::Succeeded).await;

    let caller = span(&exporter, "caller", "").await;
    let sent = span(&exporter, "enqueue default", "outer").await;
    assert_eq!(sent.parent_span_id, caller.span_context.span_id());
    assert_eq!(headers(&client, outer).await, serde_json::json!({"tag": 1, "traceparent": context(&sent)}));
    assert_eq!(headers(&client, many).await, serde_json::json!({"traceparent": context(&caller)}));

    let attempt = span(&exporter, "attempt default", "outer").await;
    assert_eq!(attempt.parent_span_id, sent.span_context.span_id());
    assert_eq!(attempt.links.links.len(), 1);
    assert!(attempt.events.events.iter().any(|event| event.name == "half-way"), "{attempt:#?}");
    let sent = span(&exporter, "enqueue default", "inner").await;
    assert_eq!(sent.parent_span_id, attempt.span_context.span_id());
    let attempt = span(&exporter, "attempt default", "inner").await;
    assert_eq!(attempt.span_context.trace_id(), caller.span_context.trace_id(), "all of it is one trace");
    worker.stop().await;
}
