//! Live views: what a page shows, read again and again while somebody looks, once for all who look at the same.
//!
//! The first to watch a view starts its loop; it ends when nobody watches. Each round reads, renders, and publishes a *frame*:
//! as of when it is, and which regions have changed in it. Each watcher's stream sends what it has not sent yet.
//! A round that fails publishes the failure and leaves the regions as they were: the page says that they are old.
//!
//! Reading may take one part in [`SHARE`] of the time: a view that costs much is read less often, so that a page that is left
//! open costs the database about 1 % of one core at most.
//!
//! If the process dies, browsers connect to the next; a loop holds nothing that would be missed.

use crate::dashboard::Dashboard;
use crate::fields::Fields;
use crate::gate::Refused;
use crate::page::{Context, Page, fields};
use crate::session::hex;
use crate::visit::{Barred, Visitor};
use axum::body::Body;
use axum::extract::{RawPathParams, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use faultline_store::Error;
use jiff::Timestamp;
use rand::Rng;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Between two rounds of a view.
const EVERY: Duration = Duration::from_secs(1);
/// Between two rounds of one that is slow to read.
const EVERY_AT_MOST: Duration = Duration::from_secs(15);
/// Reading takes one part in this many of the time.
const SHARE: u32 = 100;
/// How long a stream may be silent; a browser that hears nothing for three times that takes the server for gone.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Views at one time, all of them together reading all the time at worst.
const MAX_VIEWS: usize = 200;
/// The parameter with which a page asks for all of its content, not only regions: it was shown without data.
const WHOLE: &str = "_whole";

/// Stands for the CSRF token in what is rendered once for all, and is replaced for each. Random, so that no data can hold it.
static CSRF_MARK: LazyLock<String> = LazyLock::new(|| {
    let mut random = [0; 16];
    rand::rng().fill_bytes(&mut random);
    hex(&random)
});

/// Why a page could not be read, for people.
pub(crate) fn reason(error: &Error) -> String {
    match error {
        Error::Unreachable { .. } | Error::Indeterminate { .. } => format!("The database does not answer: {error}."),
        Error::SchemaMissing | Error::SchemaTooOld { .. } => format!("The database can't be used: {error}."),
        Error::Refused { code, .. } if code == "57014" => "The database took too long to answer this.".to_owned(),
        _ => format!("This can't be read: {error}."),
    }
}

/// The views that are watched.
#[derive(Default)]
pub(crate) struct Hub {
    views: Mutex<HashMap<Key, watch::Sender<Frame>>>,
}

/// What two watchers must have in common to be shown the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    route: &'static str,
    fields: Fields,
    may_operate: bool,
}

/// The state of a view after a round.
#[derive(Debug, Clone, Default)]
struct Frame {
    /// The number of the round; 0 before the first.
    round: u64,
    /// As of when the regions are.
    as_of: Option<Timestamp>,
    /// Why the last round could not read.
    failure: Option<Arc<str>>,
    regions: Vec<Shown>,
    /// All of the page's content.
    whole: Arc<str>,
}

/// A region as it is shown.
#[derive(Debug, Clone)]
struct Shown {
    id: &'static str,
    html: Arc<str>,
    changed_in: u64,
}

impl Hub {
    fn watch<P: Page>(&self, dashboard: &Arc<Dashboard>, page: P, key: Key) -> Option<watch::Receiver<Frame>> {
        let mut views = self.views();
        if let Some(view) = views.get(&key) {
            return Some(view.subscribe());
        }
        if views.len() >= MAX_VIEWS {
            return None;
        }
        let (sender, receiver) = watch::channel(Frame::default());
        views.insert(key.clone(), sender.clone());
        tokio::spawn(keep_up(dashboard.clone(), page, key, sender));
        Some(receiver)
    }

    /// Forgets a view unless somebody has come in the meantime.
    fn forget(&self, key: &Key) -> bool {
        let mut views = self.views();
        let is_over = views.get(key).is_none_or(|view| view.receiver_count() == 0);
        if is_over {
            views.remove(key);
        }
        is_over
    }

    fn views(&self) -> std::sync::MutexGuard<'_, HashMap<Key, watch::Sender<Frame>>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep_up<P: Page>(dashboard: Arc<Dashboard>, page: P, key: Key, sender: watch::Sender<Frame>) {
    let mut frame = Frame::default();
    while !dashboard.stopping.is_cancelled() {
        let began = Instant::now();
        frame = round(&dashboard, &page, key.may_operate, frame).await;
        sender.send_replace(frame.clone());
        let pause = (began.elapsed() * SHARE).clamp(EVERY, EVERY_AT_MOST);
        tokio::select! {
            () = tokio::time::sleep(if frame.failure.is_some() { EVERY } else { pause }) => {}
            () = sender.closed() => {}
            () = dashboard.stopping.cancelled() => {}
        }
        if sender.receiver_count() == 0 && dashboard.hub.forget(&key) {
            return;
        }
    }
}

async fn round<P: Page>(dashboard: &Dashboard, page: &P, may_operate: bool, mut last: Frame) -> Frame {
    last.round += 1;
    let data = match page.load(&dashboard.source).await {
        Ok(data) => data,
        Err(error) => return Frame { failure: Some(reason(&error).into()), ..last },
    };
    let now = dashboard.source.fresh_now().await;
    let cx = Context::new(dashboard.url("/"), may_operate, CSRF_MARK.clone(), now, true);
    let whole = page.view(&data, &cx).into_string();
    let shown = cx.into_regions().into_iter().map(|region| {
        let same = last.regions.iter().find(|old| old.id == region.id && *old.html == region.html);
        same.cloned().unwrap_or_else(|| Shown { id: region.id, html: region.html.into(), changed_in: last.round })
    });
    Frame { round: last.round, as_of: Some(now), failure: None, regions: shown.collect(), whole: whole.into() }
}

/// What a stream sends.
#[derive(Debug, Serialize)]
struct Message<'a> {
    /// The database's clock, in milliseconds since 1970, by which ages are counted.
    now_ms: i64,
    /// As of when the page is.
    as_of: Option<String>,
    /// Why it is not as of now.
    failure: Option<&'a str>,
    /// All of the page, where it was shown without data.
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<String>,
    /// The regions that have changed.
    regions: BTreeMap<&'static str, String>,
}

/// A watcher's stream.
struct Stream {
    dashboard: Arc<Dashboard>,
    visitor: Visitor,
    frames: watch::Receiver<Frame>,
    /// The round up to which regions were sent.
    sent: u64,
    wants_whole: bool,
    is_over: bool,
}

impl Stream {
    /// The next piece; none when the server stops.
    async fn next(mut self) -> Option<(Result<String, Infallible>, Self)> {
        if self.is_over {
            return None;
        }
        let stopping = self.dashboard.stopping.clone();
        tokio::select! {
            changed = self.frames.changed() => changed.ok()?,
            () = tokio::time::sleep(HEARTBEAT) => return Some((Ok(": still here\n\n".to_owned()), self)),
            () = stopping.cancelled() => return None,
        }
        match self.visitor.standing(&self.dashboard) {
            Ok(()) => {}
            // The list of tokens is too old to tell. The database is away then too, so that nothing new is to be seen.
            Err(Barred::Closed(Refused::Unreadable)) => {
                return Some((Ok(": nobody can be let in\n\n".to_owned()), self));
            }
            Err(_) => {
                self.is_over = true;
                return Some((Ok("event: ended\ndata: \n\n".to_owned()), self));
            }
        }
        let frame = self.frames.borrow_and_update().clone();
        let text = self.message(&frame);
        Some((Ok(format!("data: {text}\n\n")), self))
    }

    fn message(&mut self, frame: &Frame) -> String {
        let csrf = self.visitor.csrf();
        let own = |html: &str| html.replace(CSRF_MARK.as_str(), &csrf);
        let is_news = frame.failure.is_none();
        let whole = (is_news && self.wants_whole).then(|| own(&frame.whole));
        let mut regions = BTreeMap::new();
        if is_news {
            if !self.wants_whole {
                let news = frame.regions.iter().filter(|region| region.changed_in > self.sent);
                regions.extend(news.map(|region| (region.id, own(&region.html))));
            }
            (self.sent, self.wants_whole) = (frame.round, false);
        }
        let message = Message {
            now_ms: self.dashboard.source.now().as_millisecond(),
            as_of: frame.as_of.map(crate::parts::clock),
            failure: frame.failure.as_deref(),
            whole,
            regions,
        };
        serde_json::to_string(&message).expect("strings and numbers are JSON")
    }
}

/// The stream of a page's live view.
pub(crate) async fn watch<P: Page>(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Result<Visitor, Response>,
    path: RawPathParams,
    RawQuery(query): RawQuery,
) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    // A stream that says so, since a browser does not tell the page why a stream was refused.
    let Ok(visitor) = visitor else { return (headers, "event: ended\ndata: \n\n").into_response() };
    let asked = fields(query, &path);
    let wants_whole = asked.get(WHOLE).is_some();
    let asked = asked.without(WHOLE);
    let Ok(page) = P::asked(&asked) else { return StatusCode::BAD_REQUEST.into_response() };
    let key = Key { route: P::ROUTE, fields: asked, may_operate: visitor.may_operate() };
    let Some(mut frames) = dashboard.hub.watch(&dashboard, page, key) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    if frames.borrow().round > 0 {
        frames.mark_changed();
    }
    let stream = Stream { dashboard, visitor, frames, sent: 0, wants_whole, is_over: false };
    let body = Body::from_stream(futures_util::stream::unfold(stream, Stream::next));
    // nginx would hold back what is streamed.
    (headers, [("x-accel-buffering", "no")], body).into_response()
}
