//! One group of errors: how often and since when, whom it happens to, and retrying the jobs that failed of it.

use super::says;
use super::spark::Range;
use crate::chart::{Chart, Line, Unit};
use crate::dashboard::Dashboard;
use crate::fields::Fields;
use crate::page::{self, Context, Page, Source};
use crate::pages::job::new_id;
use crate::parts::{self, count, figure};
use crate::visit::Act;
use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use faultline_store::Error;
use faultline_store::dashboard::bulk::{self, Action};
use faultline_store::dashboard::errors::{self, ErrorGroup};
use faultline_store::dashboard::queues::Count;
use jiff::Timestamp;
use maud::{Markup, html};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// How long a look counts the jobs to retry; beyond, there are at least so many.
const COUNT_TIME: Duration = Duration::from_millis(150);
/// How long one press of the button retries; whoever pressed it waits for the answer.
const RETRY_TIME: Duration = Duration::from_secs(8);

pub(super) fn routes() -> Router<Arc<Dashboard>> {
    page::routes::<Group>().route("/errors/{fingerprint}/retry", post(retry))
}

/// The page.
pub(crate) struct Group {
    fingerprint: Uuid,
    range: Range,
}

/// What it shows, if there is such a group.
pub(crate) struct Data {
    found: Option<(ErrorGroup, Count)>,
    now: Timestamp,
}

impl Page for Group {
    const ROUTE: &'static str = "/errors/{fingerprint}";
    const NAV: &'static str = "/errors";
    type Data = Data;

    fn asked(fields: &Fields) -> Result<Self, String> {
        let fingerprint = fields.get("fingerprint").and_then(|text| text.parse().ok());
        let fingerprint = fingerprint.ok_or("The address of an error ends with its fingerprint, a UUID.")?;
        Ok(Self { fingerprint, range: Range::asked(fields)? })
    }

    fn title(&self, data: Option<&Data>) -> String {
        let found = data.and_then(|data| data.found.as_ref());
        found.map_or_else(|| "Error".to_owned(), |(group, _)| format!("Error: {}", says(&group.pattern)))
    }

    async fn load(&self, source: &Source) -> Result<Data, Error> {
        let (fingerprint, hours) = (self.fingerprint, self.range.hours());
        let found = source
            .call(async |client| {
                let Some(group) = errors::group(client, fingerprint, hours).await? else { return Ok(None) };
                let left = errors::count_failed(client, &group, COUNT_TIME).await?;
                Ok(Some((group, left)))
            })
            .await?;
        Ok(Data { found, now: source.now() })
    }

    fn view(&self, data: &Data, cx: &Context) -> Markup {
        let Some((group, left)) = &data.found else {
            return html! {
                h1 { "There is no such error" }
                p { "It was last seen so long ago that it is kept no more, or the address is mistyped. " a href=(cx.url("/errors")) { "To all errors" } }
            };
        };
        html! {
            p.path { a href=(cx.url("/errors")) { "Errors" } }
            h1.says { (says(&group.pattern)) }
            (cx.region("figures", figures(group, *left, cx)))
            (cx.region("retry", offer(group, *left, cx)))
            (self.chart(group, data.now).show(cx))
            (cx.region("about", about(group, cx)))
        }
    }

    fn status(&self, data: &Data) -> StatusCode {
        if data.found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND }
    }
}

impl Group {
    fn chart(&self, group: &ErrorGroup, now: Timestamp) -> Chart {
        let (first_s, bars) = self.range.sums(&group.counts, now);
        let times = (0_i64..).take(bars.len()).map(|at| first_s + at * self.range.bar_s()).collect();
        #[expect(clippy::cast_precision_loss, reason = "a drawing needs no more than a float holds")]
        let line = |name, colour, count: fn(&super::spark::Bar) -> i64| Line {
            name,
            colour,
            values: bars.iter().map(|bar| Some(count(bar) as f64)).collect(),
        };
        let lines = vec![
            line("failed for good", "bad", |bar| bar.failed),
            line("to be tried again", "warn", |bar| bar.retried),
        ];
        Chart { id: "times", title: self.range.words(), unit: Unit::Count, times, lines }
    }
}

fn figures(group: &ErrorGroup, left: Count, cx: &Context) -> Markup {
    html! {
        dl.figures {
            (figure("Times", &html! { (count(group.occurrences, false)) }, &html! { "jobs that failed and attempts that did" }))
            (figure("Last seen", &html! { (cx.age(group.last_seen)) }, &html! { (group.last_seen.strftime("%F %T UTC")) }))
            (figure("First seen", &html! { (cx.age(group.first_seen)) }, &html! { (group.first_seen.strftime("%F %T UTC")) }))
            (figure("Jobs failed, not retried", &html! { (parts::jobs(left)) }, &html! { "of those that are kept" }))
        }
    }
}

/// What can be done: retrying, after the number of jobs was shown.
fn offer(group: &ErrorGroup, left: Count, cx: &Context) -> Markup {
    if left.jobs == 0 {
        return html! { p.muted { "No failed job of it is left to retry: attempts that failed are tried again by themselves." } };
    }
    if !cx.may_operate {
        return html! { p.muted { (parts::jobs(left)) " failed jobs could be retried by somebody with a token of the role operate." } };
    }
    let ask = html! {
        p { "Enqueues each of " strong { (parts::jobs(left)) } " failed jobs once more, as a new job that points to the old one. Those that were retried before are left alone." }
        button.primary type="submit" { "Retry " (parts::jobs(left)) " jobs" }
    };
    let path = format!("/errors/{}/retry", group.fingerprint);
    parts::opens(&format!("Retry all {}…", parts::jobs(left)), &cx.form(&path, &ask))
}

fn about(group: &ErrorGroup, cx: &Context) -> Markup {
    html! {
        div.columns {
            section.card aria-labelledby="sample-title" {
                h2 #sample-title { "One of them, in full" }
                pre { (group.sample) }
                p { "It happened to " (cx.job_link(group.example_job)) "." }
            }
            section.card aria-labelledby="whom-title" {
                h2 #whom-title { "Whom it happens to" }
                dl.pairs {
                    dt { "Kinds" }
                    dd { @for kind in &group.kinds { a href=(cx.query("/jobs", &[("state", "failed"), ("kind", kind)])) { (kind) } " " } }
                    dt { "Queues" }
                    dd { @for queue in &group.queues { a href=(cx.query("/jobs", &[("state", "failed"), ("queue", queue)])) { (queue) } " " } }
                    dt { "Fingerprint" }
                    dd.mono { (group.fingerprint) }
                }
            }
        }
    }
}

async fn retry(Path(fingerprint): Path<Uuid>, act: Act) -> axum::response::Result<Response> {
    let group = act.call(async |client| errors::group(client, fingerprint, 1).await).await?;
    let Some(group) = group else {
        return Ok(act.refused("There is no such error", "It may be kept no more. Nothing was done."));
    };
    let until = Instant::now() + RETRY_TIME;
    let (mut retried, mut after, mut is_over) = (0, None, false);
    // Each batch is a transaction of its own. If this is dropped on the way, or fails, what was retried is known as such the
    // next time.
    while !is_over && Instant::now() < until {
        let group = &group;
        let found = act.call(async |client| errors::failed_jobs(client, group, after).await).await?;
        for batch in found.jobs.chunks(bulk::BATCH) {
            let actor = &act.actor;
            let changed = act.call(async |client| bulk::act(client, actor, Action::Retry, batch, new_id).await).await?;
            retried += changed.total();
        }
        after = found.next;
        is_over = after.is_none();
    }
    let retried = parts::of_them(i64::try_from(retried).unwrap_or(i64::MAX), "job", "jobs");
    let more = if is_over { "" } else { " There are more: go on by retrying again." };
    Ok(act.done(&format!("/errors/{fingerprint}"), &format!("Retried {retried}.{more}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use faultline_store::dashboard::errors::ErrorCount;

    fn data(left: i64) -> Data {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
        let group = ErrorGroup {
            fingerprint: Uuid::from_u128(7),
            pattern: "no route to <b>?</b>".into(),
            sample: "no route to <b>'x'</b>".into(),
            example_job: faultline_core::JobId(Uuid::from_u128(9)),
            first_seen: now,
            last_seen: now,
            occurrences: 3,
            kinds: vec!["mail&send".into()],
            queues: vec!["mail".into()],
            counts: vec![ErrorCount { at: now, failed: 2, retried: 1 }],
        };
        Data { found: Some((group, Count::exact(left))), now }
    }

    fn page() -> Group {
        Group { fingerprint: Uuid::from_u128(7), range: Range::Hours6 }
    }

    #[test]
    fn retrying_shows_how_many_first_and_needs_the_role() {
        let cx = Context::for_test();
        let html = page().view(&data(1234), &cx).into_string();
        assert!(html.contains("Retry all 1,234…") && html.contains("name=\"csrf\""), "{html}");
        assert!(!html.contains("<b>"), "{html}");
        assert!(html.contains("/jobs?state=failed&amp;kind=mail%26send"), "{html}");
        let cx = Context::for_test();
        assert!(!page().view(&data(0), &cx).into_string().contains("<form"));
        let cx = Context::new("/dashboard".into(), false, "csrf".into(), cx.now, false);
        assert!(!page().view(&data(5), &cx).into_string().contains("<form"));
    }

    #[test]
    fn a_group_that_is_gone_is_not_found() {
        let cx = Context::for_test();
        let gone = Data { found: None, now: cx.now };
        assert_eq!(page().status(&gone), StatusCode::NOT_FOUND);
        assert!(page().view(&gone, &cx).into_string().contains("no such error"));
    }
}
