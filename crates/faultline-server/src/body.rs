//! Bodies on their way in: bounded in bytes and time, UTF-8, JSON, and every mistake with the name of its field.

use crate::app::App;
use crate::limits::{DISCARD_TIME, MAX_DISCARDED_BYTES};
use crate::problem::{Answer, Kind, Problem};
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// A body that has arrived. Its bytes count against those of all bodies until this is dropped.
pub(crate) struct Arrived {
    bytes: Bytes,
    _held: Option<OwnedSemaphorePermit>,
}

/// How much a body may hold, and how long it may take.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) max_bytes: usize,
    pub(crate) time: Duration,
}

/// Reads a body to its end.
pub(crate) async fn read(app: &App, request: Request, bounds: Bounds) -> Answer<Arrived> {
    let (parts, mut body) = request.into_parts();
    let announced = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok())
        .unwrap_or(0);
    if announced > bounds.max_bytes && parts.headers.contains_key(header::EXPECT) {
        // The client has not begun to send, and need not.
        return Err(too_large(bounds.max_bytes));
    }
    let answer = tokio::time::timeout(bounds.time, collect(app, &mut body, bounds.max_bytes)).await;
    if let Ok(Err(problem)) = &answer
        && problem.kind() == Kind::TooLarge
    {
        discard(body).await;
    }
    let arrived = answer.map_err(|_| {
        let time = faultline_core::durations::format_ms(faultline_core::job::millis(bounds.time));
        Kind::SlowBody.because(format!("the body was not complete within {time}"))
    })??;
    if !arrived.bytes.is_empty() {
        check_media_type(&parts.headers)?;
    }
    Ok(arrived)
}

async fn collect(app: &App, body: &mut Body, max_bytes: usize) -> Answer<Arrived> {
    let mut held: Option<OwnedSemaphorePermit> = None;
    let mut chunks: Vec<Bytes> = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Kind::MalformedJson.because(format!("the body broke off: {e}")))?;
        let Ok(chunk) = frame.into_data() else { continue };
        length += chunk.len();
        if length > max_bytes {
            return Err(too_large(max_bytes));
        }
        let more = app.held_bytes.clone().try_acquire_many_owned(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
        let more = more.map_err(|_| Kind::TooManyRequests.because("the server holds too many bodies already"))?;
        match &mut held {
            Some(held) => held.merge(more),
            None => held = Some(more),
        }
        chunks.push(chunk);
    }
    let bytes = if chunks.len() == 1 { chunks.remove(0) } else { chunks.concat().into() };
    Ok(Arrived { bytes, _held: held })
}

/// Reads what a client still writes, within bounds, so that it gets to read the answer.
pub(crate) async fn discard(mut body: Body) {
    let mut left = MAX_DISCARDED_BYTES;
    let rest = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(less) = left.checked_sub(length) else { break };
            left = less;
        }
    };
    // Past the time the connection is closed with the answer.
    let _ = tokio::time::timeout(DISCARD_TIME, rest).await;
}

fn too_large(max_bytes: usize) -> Problem {
    Kind::TooLarge.because(format!("the body must be at most {max_bytes} bytes"))
}

fn check_media_type(headers: &HeaderMap) -> Answer<()> {
    let given = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let essence = given.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || essence.starts_with("application/") && essence.ends_with("+json") {
        return Ok(());
    }
    let got = given.map_or("none".into(), |given| format!("{given:?}"));
    Err(Kind::UnsupportedMediaType
        .because(format!("send the header `Content-Type: application/json`, got {got}"))
        .in_field("content-type"))
}

impl Arrived {
    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The object that the body holds.
    pub(crate) fn object<T: DeserializeOwned>(&self) -> Answer<T> {
        let text =
            std::str::from_utf8(&self.bytes).map_err(|e| Kind::MalformedJson.because(format!("is not UTF-8: {e}")))?;
        object(text)
    }
}

/// Reads one JSON object and nothing else.
pub(crate) fn object<T: DeserializeOwned>(text: &str) -> Answer<T> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value: Object<T> =
        serde_path_to_error::deserialize(&mut deserializer).map_err(|e| wrong(&e.path().to_string(), e.inner()))?;
    deserializer.end().map_err(|e| wrong(".", &e))?;
    Ok(value.0)
}

/// Sorts an error of serde into the table of problems. Its texts are stable enough for that: the tests hold each of them.
fn wrong(path: &str, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    let path = if path == "." { "" } else { path.trim_end_matches(".?") };
    if !error.is_data() {
        // A text or number that can't be held is well-formed as far as its place is known.
        if path.is_empty() || !(what.contains("surrogate") || what.contains("out of range") || what.contains("hex")) {
            return Kind::MalformedJson.because(text);
        }
        return Kind::InvalidField.because(format!("{path}: {what}")).in_field(path);
    }
    // The path of such an error is sometimes that of the object, and sometimes that of the field.
    let named = |path: &str| {
        let name = what.split('`').nth(1).unwrap_or_default();
        match path {
            "" | "?" => name.to_owned(),
            path if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
            path => format!("{path}.{name}"),
        }
    };
    if what.starts_with("unknown field") {
        let field = named(path);
        let known = what.split_once(", expected ").map_or("", |(_, known)| known);
        return Kind::UnknownField.because(format!("{field} is not known; known are {known}")).in_field(field);
    }
    if what.starts_with("missing field") {
        let field = named(path);
        return Kind::MissingField.because(format!("{field} is required")).in_field(field);
    }
    if what.starts_with("duplicate field") {
        let field = named(path);
        return Kind::InvalidField.because(format!("{field} is given twice")).in_field(field);
    }
    let what = what.replace("expected i64", "expected a whole number");
    if path.is_empty() {
        return Kind::InvalidField.because(format!("the body: {what}"));
    }
    Kind::InvalidField.because(format!("{path}: {what}")).in_field(path)
}

/// A JSON object, where the derived code alone would also take an array of its fields in order.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}
