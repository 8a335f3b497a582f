//! One job: what and when, its timeline, why it is not running, what it holds, and what can be done about it.
//!
//! | module | holds |
//! |---|---|
//! | `timeline` | what happened, from the rows: pure |
//! | `words`, `drawing` | the same in words and as a drawing |
//! | `view` | the page |
//! | `copy` | the job as a command |
//! | `act` | retry, cancel, run one like it |

mod act;
mod copy;
mod drawing;
mod timeline;
mod view;
mod words;

use crate::dashboard::Dashboard;
use crate::fields::Fields;
use crate::page::{self, Context, Page, Source};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use faultline_core::{JobId, WorkerId};
use faultline_store::Error;
use faultline_store::dashboard::holders::{self, Holders};
use faultline_store::dashboard::job::{self, Story};
use faultline_store::read::Attempt;
use maud::Markup;
use std::sync::Arc;

/// Attempts that a story holds at most: with so many, the last ones are asked for, since the story begins with the first.
const STORY_ATTEMPTS: usize = 1000;
/// Attempts that are shown of a job that has more than a story holds.
const LAST_ATTEMPTS: usize = 200;

/// Its routes; in the navigation it belongs to the jobs.
pub(super) fn routes() -> Router<Arc<Dashboard>> {
    page::routes::<JobPage>()
        .route("/jobs/{id}/retry", post(act::retry))
        .route("/jobs/{id}/cancel", post(act::cancel))
        .route("/jobs/{id}/again", post(act::again))
}

/// The page.
pub(crate) struct JobPage {
    id: JobId,
}

/// What is known of a job.
pub(crate) struct Seen {
    pub(crate) story: Story,
    /// The attempts that are shown, in order.
    pub(crate) attempts: Vec<Attempt>,
    /// Whether there were others before.
    pub(crate) has_earlier: bool,
    pub(crate) holders: Holders,
}

impl Page for JobPage {
    const ROUTE: &'static str = "/jobs/{id}";
    const NAV: &'static str = "/jobs";
    type Data = Option<Seen>;

    fn asked(fields: &Fields) -> Result<Self, String> {
        let text = fields.get("id").unwrap_or_default();
        let id = text.parse().map_err(|_| {
            format!("{text:?} is not the id of a job: that is a UUID, such as 01976a3e-5d1c-7c3a-9b1e-0242ac120002.")
        })?;
        Ok(Self { id })
    }

    fn title(&self, seen: Option<&Option<Seen>>) -> String {
        match seen {
            Some(Some(seen)) => format!("{} {}", seen.story.job.kind, short(self.id)),
            _ => format!("Job {}", short(self.id)),
        }
    }

    async fn load(&self, source: &Source) -> Result<Option<Seen>, Error> {
        source
            .call(async |client| {
                let Some(mut story) = job::story(client, self.id).await? else { return Ok(None) };
                let mut attempts = std::mem::take(&mut story.attempts);
                let has_earlier = attempts.len() >= STORY_ATTEMPTS;
                if has_earlier {
                    attempts = holders::last_attempts(client, self.id, LAST_ATTEMPTS).await?;
                }
                let mut workers: Vec<WorkerId> = attempts.iter().map(|attempt| attempt.worker).collect();
                workers.extend(story.job.lease.map(|lease| lease.owner));
                workers.sort_unstable();
                workers.dedup();
                let holders = holders::holders(client, self.id, &workers).await?;
                Ok(Some(Seen { story, attempts, has_earlier, holders }))
            })
            .await
    }

    fn view(&self, seen: &Option<Seen>, cx: &Context) -> Markup {
        match seen {
            Some(seen) => view::page(seen, cx),
            None => view::unknown(self.id, cx),
        }
    }

    fn status(&self, seen: &Option<Seen>) -> StatusCode {
        if seen.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND }
    }
}

pub(crate) use act::new_id;
pub(crate) use view::enqueued_at;

/// Enough of an id to tell jobs apart at a glance: its end, since the beginning is the time.
pub(crate) fn short(id: JobId) -> String {
    let text = id.to_string();
    text[text.len() - 8..].to_owned()
}
