//! A collector of traces: OTLP over HTTP, in this process.

use crate::common::until;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Keeps what it is sent.
pub(crate) struct Collector {
    pub(crate) endpoint: String,
    spans: Arc<Mutex<Vec<Seen>>>,
}

/// A span as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The process's `service.name`.
    pub(crate) service: String,
    pub(crate) span: Span,
}

impl Seen {
    pub(crate) fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub(crate) fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub(crate) fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// As W3C Trace Context writes it.
    pub(crate) fn context(&self) -> String {
        format!("00-{}-{}-01", self.trace(), self.id())
    }

    /// The ids of the spans that it is linked to.
    pub(crate) fn links(&self) -> Vec<String> {
        self.span.links.iter().map(|link| hex(&link.span_id)).collect()
    }

    /// An attribute as text; empty if there is none.
    pub(crate) fn attribute(&self, name: &str) -> String {
        attribute(&self.span.attributes, name)
    }
}

fn attribute(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name).and_then(|found| found.value.as_ref());
    match found {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => text.clone(),
        Some(AnyValue { value: Some(Value::IntValue(number)) }) => number.to_string(),
        other => other.map(|other| format!("{other:?}")).unwrap_or_default(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

impl Collector {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::<Mutex<Vec<Seen>>>::default();
        let all = spans.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let spans = spans.clone();
                std::thread::spawn(move || {
                    while let Some(seen) = exchange(&stream) {
                        spans.lock().unwrap().extend(seen);
                    }
                });
            }
        });
        Self { endpoint, spans: all }
    }

    /// Every span of this name.
    pub(crate) fn named(&self, name: &str) -> Vec<Seen> {
        self.spans.lock().unwrap().iter().filter(|seen| seen.span.name == name).cloned().collect()
    }

    /// Waits for that many spans of a name; they come in the order of their beginnings.
    #[track_caller]
    pub(crate) fn wait<const N: usize>(&self, name: &str) -> [Seen; N] {
        let mut found = until(&format!("{N} spans {name:?}"), || {
            let found = self.named(name);
            (found.len() >= N).then_some(found)
        });
        found.sort_by_key(|seen| seen.span.start_time_unix_nano);
        <[Seen; N]>::try_from(found).unwrap_or_else(|found| panic!("more than {N}: {found:#?}"))
    }
}

/// One request on a connection that stays open.
fn exchange(mut stream: &TcpStream) -> Option<Vec<Seen>> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert_eq!(header("content-type").as_deref(), Some("application/x-protobuf"));
    let mut body = vec![0; header("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n").ok()?;
    let mut seen = Vec::new();
    for of_process in request.resource_spans {
        let service = attribute(&of_process.resource.unwrap_or_default().attributes, "service.name");
        for span in of_process.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            seen.push(Seen { service: service.clone(), span });
        }
    }
    Some(seen)
}
