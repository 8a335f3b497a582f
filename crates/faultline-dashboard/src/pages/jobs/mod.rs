//! The list of jobs: by filter, newest first, a page at a time, both ways.
//!
//! Whoever looks at a page looks at the jobs that were on it when it came: their states are kept up to date in place, and no row
//! moves, comes or goes under the pointer. Newer jobs are counted above the list and shown when they are asked for. For this the page
//! names the jobs it shows to its live view, which reads those that have not ended again, and looks for newer ones.

mod bulk;
mod filter;
mod view;

use crate::dashboard::Dashboard;
use crate::fields::Fields;
use crate::page::{self, Context, Entry, Page, Source};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use faultline_core::JobId;
use faultline_store::dashboard::lines::{self, Line};
use faultline_store::dashboard::people;
use faultline_store::{ClientWrapper, Error, read};
use filter::{Filter, Problem};
use jiff::Timestamp;
use maud::Markup;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(crate) const ENTRY: Entry = Entry { title: "Jobs", path: "/jobs", routes };

/// Jobs on a page.
const ROWS: usize = 50;
/// How long a page looks for jobs that match.
const SEARCH_TIME: Duration = Duration::from_millis(120);
/// How long it looks for older or newer ones, which somebody has asked for.
const FURTHER_TIME: Duration = Duration::from_millis(1000);
/// Newer jobs are counted up to this.
const NEWER: usize = 100;
/// How long they are looked for: once a second, while somebody looks.
const NEWER_TIME: Duration = Duration::from_millis(20);
/// The parameter with which a page tells its live view what it shows: ids with dots between, or `none`.
const SHOWN: &str = "_shown";

fn routes() -> Router<Arc<Dashboard>> {
    page::routes::<JobsPage>()
        .route("/jobs/selected", post(bulk::selected))
        .route("/jobs/matching", post(bulk::matching))
}

/// Which part of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The newest.
    Newest,
    /// Those older than this one.
    Older(JobId),
    /// The next newer than this one.
    Newer(JobId),
}

/// The page.
pub(crate) struct JobsPage {
    /// What the address asks for, as it stands there.
    fields: Fields,
    filter: Result<Filter, Vec<Problem>>,
    place: Place,
    /// What is shown already, for the live view.
    shown: Option<Vec<JobId>>,
    /// Of those, the ones that have ended: they do not change any more.
    ended: Mutex<HashMap<JobId, Line>>,
}

/// What a page of the list holds.
pub(crate) struct List {
    pub(crate) lines: Vec<Line>,
    /// Where to go on, older and newer.
    pub(crate) older: Option<JobId>,
    pub(crate) newer: Option<JobId>,
    /// How far has been looked, if the time was over before the page was full.
    pub(crate) searched_to: Option<Timestamp>,
    /// How many have come since, and whether there are more than were counted.
    pub(crate) come_since: (usize, bool),
    /// The database's clock.
    pub(crate) now: Timestamp,
}

impl Page for JobsPage {
    const ROUTE: &'static str = "/jobs";
    const NAV: &'static str = "/jobs";
    type Data = List;

    fn asked(fields: &Fields) -> Result<Self, String> {
        let id = |name: &str| match fields.get(name) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| format!("{name}: {text:?} is not the id of a job.")),
        };
        let place = match (id("older")?, id("newer")?) {
            (Some(older), _) => Place::Older(older),
            (None, Some(newer)) => Place::Newer(newer),
            (None, None) => Place::Newest,
        };
        let shown = fields.get(SHOWN).map(|ids| ids.split('.').filter_map(|id| id.parse().ok()).take(ROWS).collect());
        let fields = fields.clone().without(SHOWN);
        Ok(Self { filter: Filter::parse(&fields), fields, place, shown, ended: Mutex::default() })
    }

    fn title(&self, _: Option<&List>) -> String {
        "Jobs".into()
    }

    async fn load(&self, source: &Source) -> Result<List, Error> {
        let Ok(filter) = &self.filter else { return Ok(List::nothing()) };
        source
            .call(async |client| {
                let now = people::now(client).await?;
                match &self.shown {
                    Some(shown) => self.again(client, filter, shown, now).await,
                    None => self.search(client, filter, now).await,
                }
            })
            .await
    }

    fn view(&self, list: &List, cx: &Context) -> Markup {
        view::page(self, list, cx)
    }

    fn status(&self, _: &List) -> StatusCode {
        if self.filter.is_ok() { StatusCode::OK } else { StatusCode::BAD_REQUEST }
    }
}

impl List {
    fn nothing() -> Self {
        let now = Timestamp::UNIX_EPOCH;
        Self { lines: Vec::new(), older: None, newer: None, searched_to: None, come_since: (0, false), now }
    }
}

impl JobsPage {
    /// Looks for a page of jobs.
    async fn search(&self, client: &ClientWrapper, filter: &Filter, now: Timestamp) -> Result<List, Error> {
        let (before, after, time) = match self.place {
            Place::Newest => (None, None, SEARCH_TIME),
            Place::Older(id) => (Some(id), None, FURTHER_TIME),
            Place::Newer(id) => (None, Some(id), FURTHER_TIME),
        };
        let asked = read::Filter { before, after, ..filter.asked(now) };
        let page = read::page_within(client, &asked, ROWS, time).await?;
        let lines: Vec<Line> = page.jobs.iter().map(Line::from).collect();
        let (first, last) = (lines.first().map(|line| line.id), lines.last().map(|line| line.id));
        // Whoever came from one side can go back there.
        let (older, newer) = match self.place {
            Place::Newest => (page.next, None),
            Place::Older(from) => (page.next, Some(first.unwrap_or(from))),
            Place::Newer(from) => (Some(last.unwrap_or(from)), page.next),
        };
        Ok(List { lines, older, newer, searched_to: page.searched_to, come_since: (0, false), now })
    }

    /// Looks again at what is shown, and for what has come since.
    async fn again(
        &self,
        client: &ClientWrapper,
        filter: &Filter,
        shown: &[JobId],
        now: Timestamp,
    ) -> Result<List, Error> {
        let open: Vec<JobId> = {
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            shown.iter().filter(|id| !ended.contains_key(id)).copied().collect()
        };
        let read = if open.is_empty() { Vec::new() } else { lines::lines(client, &open).await? };
        let mut come_since = (0, false);
        if self.place == Place::Newest {
            let asked = read::Filter { after: shown.first().copied(), ..filter.asked(now) };
            let page = read::page_within(client, &asked, NEWER, NEWER_TIME).await?;
            // That the time was over says nothing of newer ones where all are looked at, since none were shown.
            come_since = (page.jobs.len(), page.has_more && !(shown.is_empty() && page.jobs.is_empty()));
        }
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines: HashMap<JobId, Line> = read.into_iter().map(|line| (line.id, line)).collect();
        ended.extend(lines.iter().filter(|(_, line)| line.state.is_terminal()).map(|(id, line)| (*id, line.clone())));
        let lines = shown.iter().filter_map(|id| lines.remove(id).or_else(|| ended.get(id).cloned())).collect();
        Ok(List { lines, older: None, newer: None, searched_to: None, come_since, now })
    }
}
