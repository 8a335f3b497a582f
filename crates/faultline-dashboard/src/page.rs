//! What a page is.
//!
//! A page is a file in `pages` with a type that implements [`Page`]: what is asked for in its address, `load`, which reads, and
//! `view`, a pure function from what was read to HTML, which is tested without a database. Its `ENTRY` puts it in the
//! navigation and holds its routes: those of [`routes`], and any for what is done there (see [`crate::visit::Act`]).
//!
//! Parts of the view that change while one looks are wrapped in [`Context::region`]. The whole page is rendered again
//! for its live view, and those of its regions that differ are sent. So that time alone does not make them
//! differ, ages are written with [`Context::age`], which the browser counts on.

use crate::dashboard::Dashboard;
use crate::fields::Fields;
pub(crate) use crate::source::Source;
use crate::visit::Visitor;
use crate::{layout, live};
use axum::Router;
use axum::extract::{RawPathParams, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use faultline_core::JobId;
use faultline_store::Error;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, PreEscaped, html};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// A page of the navigation.
pub(crate) struct Entry {
    /// Its name there.
    pub(crate) title: &'static str,
    /// Its address below the dashboard's.
    pub(crate) path: &'static str,
    pub(crate) routes: fn() -> Router<Arc<Dashboard>>,
}

/// A page.
pub(crate) trait Page: Send + Sync + Sized + 'static {
    /// Its route, such as `/jobs/{id}`.
    const ROUTE: &'static str;
    /// The path of the [`Entry`] that is marked in the navigation while one looks at it.
    const NAV: &'static str;
    /// What it shows.
    type Data: Send + Sync;

    /// Reads what is asked for: the query, and the parts of the route by their names. The error is shown to whoever asked.
    fn asked(fields: &Fields) -> Result<Self, String>;

    /// Its title, once it is read and before.
    fn title(&self, data: Option<&Self::Data>) -> String;

    /// Reads what it shows.
    fn load(&self, source: &Source) -> impl Future<Output = Result<Self::Data, Error>> + Send;

    /// What it looks like.
    fn view(&self, data: &Self::Data, cx: &Context) -> Markup;

    /// 404 where what was asked for is not there.
    fn status(&self, _: &Self::Data) -> StatusCode {
        StatusCode::OK
    }
}

/// A part of a page that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) id: &'static str,
    pub(crate) html: String,
}

/// What a view may use besides its data.
pub(crate) struct Context {
    base: String,
    /// Whether who looks may act.
    pub(crate) may_operate: bool,
    /// As of when the data is, on the database's clock.
    pub(crate) now: Timestamp,
    csrf: String,
    /// Whether this is for those who watch already: their browsers count ages on.
    is_live: bool,
    regions: RefCell<Vec<Region>>,
    has_charts: Cell<bool>,
}

impl Context {
    /// `base` is the path of the dashboard, `csrf` what forms bring along.
    pub(crate) fn new(base: String, may_operate: bool, csrf: String, now: Timestamp, is_live: bool) -> Self {
        let regions = RefCell::default();
        Self { base, may_operate, now, csrf, is_live, regions, has_charts: Cell::new(false) }
    }

    /// The address of a page: `path` begins with a slash and is encoded where it must be.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{}", self.base, if path == "/" { "" } else { path })
    }

    /// The address of a page with a query.
    pub(crate) fn query(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let mut query = Fields::default();
        for (name, value) in fields {
            query.push(*name, *value);
        }
        self.url(&format!("{path}?{}", query.encode()))
    }

    /// The name of a queue, which leads to its jobs.
    pub(crate) fn queue_link(&self, name: &str) -> Markup {
        html! { a href=(self.query("/jobs", &[("queue", name)])) { (name) } }
    }

    /// A job, by the end of its id, which tells ids of one moment apart.
    pub(crate) fn job_link(&self, id: JobId) -> Markup {
        let text = id.to_string();
        let short = text.get(text.len() - 8..).unwrap_or(&text);
        html! { a.mono href=(self.url(&format!("/jobs/{text}"))) title=(text) { "…" (short) } }
    }

    /// A part of the page that is sent again when it has changed. Not to be put into another; an id stands once in a page.
    pub(crate) fn region(&self, id: &'static str, content: Markup) -> Markup {
        let mut regions = self.regions.borrow_mut();
        debug_assert!(regions.iter().all(|region| region.id != id), "two regions of the id {id}");
        let whole = html! { div data-region=(id) { (content) } };
        regions.push(Region { id, html: content.into_string() });
        whole
    }

    /// A form that does something. What it brings along makes it ours; without the right to act, the server refuses it.
    pub(crate) fn form(&self, path: &str, content: &Markup) -> Markup {
        html! {
            form method="post" action=(self.url(path)) {
                input type="hidden" name="csrf" value=(PreEscaped(&self.csrf));
                (content)
            }
        }
    }

    /// How long ago, or how soon, something is, counted on by the browser: `12 s ago`, `in 3 min`.
    pub(crate) fn age(&self, at: Timestamp) -> Markup {
        let shown = if self.is_live { String::new() } else { self.age_text(at) };
        html! { time data-age datetime=(at) title=(at.strftime("%F %T UTC")) { (shown) } }
    }

    fn age_text(&self, at: Timestamp) -> String {
        let ago = self.now.duration_since(at);
        if ago.abs() < SignedDuration::from_secs(1) {
            "now".to_owned()
        } else if ago.is_negative() {
            format!("in {}", crate::parts::span(ago.unsigned_abs().as_secs_f64()))
        } else {
            format!("{} ago", crate::parts::span(ago.unsigned_abs().as_secs_f64()))
        }
    }

    /// Tells the document to bring the charts' program along.
    pub(crate) fn needs_charts(&self) {
        self.has_charts.set(true);
    }

    pub(crate) fn has_charts(&self) -> bool {
        self.has_charts.get()
    }

    pub(crate) fn into_regions(self) -> Vec<Region> {
        self.regions.into_inner()
    }

    /// For tests of views: somebody who may act, at a time that stands still.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self::new("/dashboard".into(), true, "the-csrf-token".into(), crate::samples::now(), false)
    }
}

/// The routes of a page: itself, and its live view.
pub(crate) fn routes<P: Page>() -> Router<Arc<Dashboard>> {
    let below = if P::ROUTE == "/" { "" } else { P::ROUTE };
    Router::new().route(P::ROUTE, get(show::<P>)).route(&format!("/live{below}"), get(live::watch::<P>))
}

/// What is asked for, from the query and the route.
pub(crate) fn fields(query: Option<String>, path: &RawPathParams) -> Fields {
    // The path's own values win over the query's.
    let mut fields = Fields::default();
    for (name, value) in path {
        fields.push(name, value);
    }
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        fields.push(name, value);
    }
    fields
}

async fn show<P: Page>(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Visitor,
    path: RawPathParams,
    RawQuery(query): RawQuery,
) -> Response {
    let page = match P::asked(&fields(query, &path)) {
        Ok(page) => page,
        Err(reason) => {
            return layout::message(&dashboard, StatusCode::BAD_REQUEST, "This can't be shown", &reason);
        }
    };
    let read = page.load(&dashboard.source).await;
    // Nobody is asked for the time who does not answer.
    let now = if read.is_ok() { dashboard.source.fresh_now().await } else { dashboard.source.now() };
    let csrf = visitor.csrf();
    let cx = Context::new(dashboard.url("/"), visitor.may_operate(), csrf, now, false);
    let (status, content) = match &read {
        Ok(data) => (page.status(data), Ok(page.view(data, &cx))),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, Err(live::reason(error))),
    };
    let title = page.title(read.as_ref().ok());
    visitor.answer(status, layout::document(&visitor, P::NAV, &title, content, &cx))
}
