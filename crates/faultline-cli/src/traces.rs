//! Traces, sent as OTLP over HTTP to whoever `OTEL_EXPORTER_OTLP_ENDPOINT` names, and to nobody without it.
//!
//! Jobs come first: spans wait in a bounded queue of the SDK's and are dropped when it is full; a thread of the SDK's sends them in
//! batches, each with a time limit; a collector that is away is a line in the log once a minute. What waits at the end of the process
//! is sent within [`FLUSH_LIMIT`].

use crate::https::{Https, client, connection_error};
use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

/// How long the end of the process waits for the last spans to be sent.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// How long one request to the collector may take unless `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise.
const SEND_LIMIT: Duration = Duration::from_secs(10);
/// Between two lines in the log about a collector that is away.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Bytes of a collector's answer.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The spans of this process on their way out.
pub(crate) struct Traces {
    provider: SdkTracerProvider,
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The endpoint, if traces are wanted.
fn endpoint() -> Option<String> {
    let is = |name: &str, word: &str| variable(name).is_some_and(|value| value.trim().eq_ignore_ascii_case(word));
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return None;
    }
    variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT"))
}

impl Traces {
    /// Starts what the environment asks for, if it does. Wrong settings are an error to be logged: no reason not to run jobs.
    pub(crate) fn start(service: &'static str, runtime: &Handle) -> Option<Result<Self>> {
        Some(Self::to(&endpoint()?, service, runtime))
    }

    fn to(endpoint: &str, service: &'static str, runtime: &Handle) -> Result<Self> {
        let url: Uri = endpoint.trim().parse().context("the endpoint is not a URL")?;
        let collector = Collector {
            client: client(url.scheme_str() == Some("https"))?,
            runtime: runtime.clone(),
            limit: send_limit(),
            complaints: Arc::default(),
        };
        let exporter = SpanExporter::builder().with_http().with_http_client(collector);
        let exporter = exporter.with_protocol(Protocol::HttpBinary).build()?;
        let provider =
            SdkTracerProvider::builder().with_resource(resource(service)).with_batch_exporter(exporter).build();
        // For the spans of claims and finishes, which are told afterwards.
        opentelemetry::global::set_tracer_provider(provider.clone());
        Ok(Self { provider })
    }

    /// Hears the spans of the engine and of what runs inside of attempts; of events, only what somebody should look at.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + 'static
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let ours = filter_fn(|about| {
            about.target().starts_with("faultline") && (about.is_span() || *about.level() <= Level::WARN)
        });
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("faultline"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(ours.with_max_level_hint(Level::DEBUG))
    }

    /// Sends what waits.
    pub(crate) fn end(self) {
        if self.provider.shutdown_with_timeout(FLUSH_LIMIT).is_err() {
            tracing::warn!("the last traces could not be sent");
        }
    }
}

/// What is said about this process with each batch: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` come first.
fn resource(service: &'static str) -> Resource {
    let detected = Resource::builder().build();
    let is_named = variable("OTEL_SERVICE_NAME").is_some()
        || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|attributes| attributes.contains("service.name="));
    let mut ours = vec![
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("process.pid", i64::from(std::process::id())),
    ];
    if !is_named {
        ours.push(KeyValue::new("service.name", service));
    }
    let given = detected.iter().filter(|(name, _)| is_named || name.as_str() != "service.name");
    let given: Vec<KeyValue> = given.map(|(name, value)| KeyValue::new(name.clone(), value.clone())).collect();
    Resource::builder_empty().with_attributes(ours).with_attributes(given).build()
}

fn send_limit() -> Duration {
    let given = variable("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT").or_else(|| variable("OTEL_EXPORTER_OTLP_TIMEOUT"));
    given.and_then(|ms| ms.trim().parse().ok()).map_or(SEND_LIMIT, Duration::from_millis)
}

/// Sends batches. The SDK's thread has no runtime, so that requests run on ours.
#[derive(Clone)]
struct Collector {
    client: Https,
    runtime: Handle,
    limit: Duration,
    complaints: Arc<Mutex<Complaints>>,
}

/// What was said about a collector that is away.
#[derive(Default)]
struct Complaints {
    /// Requests that failed since then.
    failed: u64,
    last: Option<Instant>,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

impl HttpClient for Collector {
    // What async-trait makes of `async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError>`.
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let (client, limit) = (self.client.clone(), self.limit);
        let sent = self.runtime.spawn(async move {
            let answer = tokio::time::timeout(limit, send(&client, request)).await;
            answer.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {limit:?}")))
        });
        Box::pin(async move {
            let answer = sent.await.unwrap_or_else(|_| Err(anyhow::anyhow!("the process ends")));
            self.tell(&answer);
            answer.map_err(Into::into)
        })
    }
}

async fn send(client: &Https, request: Request<Bytes>) -> Result<Response<Bytes>> {
    let answer = client.request(request.map(Full::new)).await.map_err(connection_error)?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(anyhow::Error::from_boxed)?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

impl Collector {
    /// Logs the first failure and then one a minute, without the request, whose headers may hold a key.
    fn tell(&self, answer: &Result<Response<Bytes>>) {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = match answer {
            Ok(answer) if answer.status().is_success() => {
                if complaints.last.take().is_some() {
                    tracing::info!(failed = complaints.failed, "traces are sent again");
                    complaints.failed = 0;
                }
                return;
            }
            Ok(answer) => format!("answered {}", answer.status()),
            Err(error) => format!("{error:#}"),
        };
        complaints.failed += 1;
        if complaints.last.is_none_or(|last| last.elapsed() >= TELL_EVERY) {
            complaints.last = Some(Instant::now());
            let failed = complaints.failed;
            tracing::warn!(%reason, failed, "traces can't be sent to the collector; those that don't fit the queue are lost");
        }
    }
}
