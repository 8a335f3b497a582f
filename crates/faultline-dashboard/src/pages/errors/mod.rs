//! Errors: what jobs fail of, by what it says, and what there is to do about each.

mod group;
mod spark;

use crate::dashboard::Dashboard;
use crate::fields::Fields;
use crate::page::{self, Context, Entry, Page, Source};
use crate::parts::{self, count};
use axum::Router;
use faultline_core::limits;
use faultline_store::Error;
use faultline_store::dashboard::errors::{self, ErrorGroup, GroupFilter};
use jiff::Timestamp;
use maud::{Markup, html};
use spark::Range;
use std::sync::Arc;
use uuid::Uuid;

pub(crate) const ENTRY: Entry = Entry { title: "Errors", path: "/errors", routes };

/// Groups of a page.
const PAGE: usize = 50;
/// Bytes of a text to look for at most.
const MAX_TEXT_BYTES: usize = 200;

fn routes() -> Router<Arc<Dashboard>> {
    page::routes::<Errors>().merge(group::routes())
}

/// The page.
pub(crate) struct Errors {
    filter: GroupFilter,
    range: Range,
}

/// What it shows.
pub(crate) struct Data {
    groups: Vec<ErrorGroup>,
    /// Whether there are more behind them.
    has_more: bool,
    now: Timestamp,
}

impl Page for Errors {
    const ROUTE: &'static str = "/errors";
    const NAV: &'static str = "/errors";
    type Data = Data;

    fn asked(fields: &Fields) -> Result<Self, String> {
        let text = |name: &str, max_bytes: usize| match fields.get(name) {
            Some(text) if text.len() > max_bytes => Err(format!("{name}: must be at most {max_bytes} bytes")),
            Some(text) if text.contains('\0') => Err(format!("{name}: must not contain the character NUL")),
            text => Ok(text.map(str::to_owned)),
        };
        let filter = GroupFilter {
            queue: text("queue", limits::MAX_NAME_BYTES)?,
            kind: text("kind", limits::MAX_NAME_BYTES)?,
            text: text("text", MAX_TEXT_BYTES)?,
            behind: fields.get("behind").map(behind).transpose()?,
        };
        Ok(Self { filter, range: Range::asked(fields)? })
    }

    fn title(&self, _: Option<&Data>) -> String {
        "Errors".into()
    }

    async fn load(&self, source: &Source) -> Result<Data, Error> {
        let (filter, hours) = (&self.filter, self.range.hours());
        let mut groups = source.call(async |client| errors::groups(client, filter, PAGE + 1, hours).await).await?;
        let has_more = groups.len() > PAGE;
        groups.truncate(PAGE);
        Ok(Data { groups, has_more, now: source.now() })
    }

    fn view(&self, data: &Data, cx: &Context) -> Markup {
        html! {
            div.head {
                h1 { "Errors" }
                p.muted { "What attempts failed of, by what they said: numbers, ids and quoted parts aside. The last seen first." }
            }
            (self.form(cx))
            (cx.region("errors", self.list(data, cx)))
        }
    }
}

impl Errors {
    fn form(&self, cx: &Context) -> Markup {
        let field = |name: &str, label: &str, value: &Option<String>| {
            html! {
                label { (label) input type="search" name=(name) value=[value.as_deref()] autocomplete="off"; }
            }
        };
        html! {
            form.search method="get" action=(cx.url("/errors")) {
                (field("text", "Says", &self.filter.text))
                (field("queue", "Queue", &self.filter.queue))
                (field("kind", "Kind", &self.filter.kind))
                (self.range.choice())
                button type="submit" { "Show" }
                @if self.is_filtered() { a.button href=(cx.url("/errors")) { "Show all" } }
            }
        }
    }

    fn is_filtered(&self) -> bool {
        let GroupFilter { queue, kind, text, behind } = &self.filter;
        queue.is_some() || kind.is_some() || text.is_some() || behind.is_some()
    }

    fn list(&self, data: &Data, cx: &Context) -> Markup {
        if data.groups.is_empty() && self.is_filtered() {
            return parts::empty("No such error", &html! { p { "Nothing that was kept says this." } });
        }
        if data.groups.is_empty() {
            return parts::empty(
                "No attempt has failed",
                &html! { p { "The first that does stands here some twenty seconds later." } },
            );
        }
        html! {
            div.scroll {
                table {
                    thead { tr {
                        th scope="col" { "What it says" } th scope="col" { (self.range.words()) } th.num scope="col" { "Times" }
                        th scope="col" { "Last seen" } th scope="col" { "First seen" } th scope="col" { "For example" }
                    } }
                    tbody { @for group in &data.groups { (self.row(group, data.now, cx)) } }
                }
            }
            @if let Some(last) = data.groups.last().filter(|_| data.has_more) {
                p { a.button href=(self.older(last, cx)) { "Seen longer ago" } }
            }
        }
    }

    fn row(&self, group: &ErrorGroup, now: Timestamp, cx: &Context) -> Markup {
        let name = group.fingerprint.to_string();
        html! {
            tr data-key=(name) {
                th scope="row" {
                    a.says href=(cx.query(&format!("/errors/{name}"), &[("range", self.range.word())])) { (says(&group.pattern)) }
                    div.sub { (group.kinds.join(", ")) " in " (group.queues.join(", ")) }
                }
                td { (self.range.bars(&group.counts, now)) }
                td.num { (count(group.occurrences, false)) }
                td { (cx.age(group.last_seen)) }
                td { (cx.age(group.first_seen)) }
                td { (cx.job_link(group.example_job)) }
            }
        }
    }

    /// The address of the groups behind one.
    fn older(&self, last: &ErrorGroup, cx: &Context) -> String {
        let behind = format!("{}_{}", last.last_seen, last.fingerprint);
        let mut fields = vec![("range", self.range.word()), ("behind", behind.as_str())];
        let texts = [("text", &self.filter.text), ("queue", &self.filter.queue), ("kind", &self.filter.kind)];
        fields.extend(texts.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))));
        cx.query("/errors", &fields)
    }
}

/// A pattern for people: one of an error without a text is empty.
fn says(pattern: &str) -> &str {
    if pattern.is_empty() { "(no text)" } else { pattern }
}

/// Reads where a page begins.
fn behind(text: &str) -> Result<(Timestamp, Uuid), String> {
    let parsed = text.split_once('_').and_then(|(at, name)| Some((at.parse().ok()?, name.parse().ok()?)));
    parsed.ok_or_else(|| "behind: expected what the link to older errors has".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::Context;

    fn asked(query: &str) -> Result<Errors, String> {
        Errors::asked(&Fields::parse(query.as_bytes()))
    }

    fn group(pattern: &str) -> ErrorGroup {
        let at = "2026-03-01T11:00:00Z".parse().expect("a time");
        ErrorGroup {
            fingerprint: Uuid::from_u128(7),
            pattern: pattern.into(),
            sample: pattern.into(),
            example_job: faultline_core::JobId(Uuid::from_u128(9)),
            first_seen: at,
            last_seen: at,
            occurrences: 1200,
            kinds: vec!["<i>".into()],
            queues: vec!["mail".into()],
            counts: Vec::new(),
        }
    }

    fn shown(errors: &Errors, groups: Vec<ErrorGroup>, has_more: bool) -> String {
        let cx = Context::for_test();
        errors.view(&Data { groups, has_more, now: cx.now }, &cx).into_string()
    }

    #[test]
    fn what_can_not_be_used_is_refused_in_words() {
        for query in
            ["behind=x", "behind=2026-03-01T00:00:00Z", "range=90d", &format!("kind={}", "x".repeat(129)), "text=a%00"]
        {
            assert!(asked(query).is_err(), "{query}");
        }
        assert!(asked("").is_ok_and(|errors| !errors.is_filtered()));
    }

    #[test]
    fn what_errors_say_is_escaped() {
        let html = shown(&asked("").unwrap(), vec![group("<script>alert(1)</script>")], false);
        assert!(!html.contains("<script>alert") && !html.contains("<i>") && html.contains("1,200"), "{html}");
    }

    #[test]
    fn the_next_page_keeps_what_was_asked_for() {
        let html = shown(&asked("queue=a%26b&range=7d").unwrap(), vec![group("x")], true);
        let behind =
            "range=7d&amp;behind=2026-03-01T11%3A00%3A00Z_00000000-0000-0000-0000-000000000007&amp;queue=a%26b";
        assert!(html.contains(behind), "{html}");
        let next = asked(&behind.replace("&amp;", "&")).unwrap();
        assert_eq!(next.filter.behind, Some(("2026-03-01T11:00:00Z".parse().unwrap(), Uuid::from_u128(7))));
    }

    #[test]
    fn an_empty_page_says_why() {
        assert!(shown(&asked("").unwrap(), Vec::new(), false).contains("No attempt has failed"));
        assert!(shown(&asked("text=x").unwrap(), Vec::new(), false).contains("No such error"));
    }
}
