//! What the list looks like.

use super::filter::{Filter, STATES};
use super::{JobsPage, List, NEWER, Place, SHOWN};
use crate::fields::Fields;
use crate::page::Context;
use crate::parts::{self, Tone, badge};
use faultline_core::{JobId, State};
use faultline_store::dashboard::lines::Line;
use jiff::Timestamp;
use maud::{Markup, html};

/// Columns that may be left out, and whether they are there unless told otherwise.
const COLUMNS: [(&str, &str, bool); 7] = [
    ("queue", "Queue", true),
    ("attempts", "Attempts", true),
    ("enqueued", "Enqueued", true),
    ("when", "Due, running or ended", true),
    ("priority", "Priority", false),
    ("key", "Key", false),
    ("error", "Last error", true),
];

pub(super) fn page(page: &JobsPage, list: &List, cx: &Context) -> Markup {
    let columns = Columns::of(&page.fields);
    html! {
        h1 { "Jobs" }
        (filter_form(page, &columns, cx))
        @if let Err(problems) = &page.filter {
            div.problems role="alert" {
                strong { "This can't be asked for. Nothing is shown, so that nothing is mistaken for the answer." }
                ul { @for problem in problems { li { code { (problem.field) } ": " (problem.reason) } } }
            }
        }
        @if let Ok(filter) = &page.filter { (found(page, filter, list, &columns, cx)) }
    }
}

fn found(page: &JobsPage, filter: &Filter, list: &List, columns: &Columns, cx: &Context) -> Markup {
    let content = html! {
        input type="hidden" name="back" value=(page.fields.encode());
        // Always there and as high, so that no row moves when something newer comes.
        div.bar {
            @if cx.may_operate && !list.lines.is_empty() {
                label.pick-all { input type="checkbox" data-pick-all; span { "Select all on this page" } }
                button type="submit" name="do" value="retry" { "Retry selected" }
                button.danger type="submit" name="do" value="cancel" { "Cancel selected" }
                span.muted data-picked {}
            }
            (cx.region("newer", come_since(page, list, cx)))
        }
        (cx.region("rows", rows(list, columns, cx)))
    };
    html! {
        div.list data-live-query=(shown(list)) {
            @if cx.may_operate { (cx.form("/jobs/selected", &content)) } @else { (content) }
        }
        @if let Some(to) = list.searched_to { (searched(list, to, cx)) }
        @else if list.lines.is_empty() { (nothing(page, filter, cx)) }
        (pager(page, list, cx))
        @if cx.may_operate && !filter.is_any() { (all_that_match(filter, cx)) }
    }
}

/// What the live view is to look at again.
fn shown(list: &List) -> String {
    let ids: Vec<String> = list.lines.iter().map(|line| line.id.0.simple().to_string()).collect();
    format!("{SHOWN}={}", if ids.is_empty() { "none".to_owned() } else { ids.join(".") })
}

fn come_since(page: &JobsPage, list: &List, cx: &Context) -> Markup {
    let (many, is_bounded) = list.come_since;
    if many == 0 && !is_bounded {
        return html! {};
    }
    let many = match (many, is_bounded) {
        (0, _) => "Newer ones may be there".to_owned(),
        (many, true) => format!("{} or more newer", many.min(NEWER)),
        (many, false) => format!("{many} newer"),
    };
    html! { a.come-since href=(address(&page.fields, None, cx)) { (many) " – show" } }
}

fn rows(list: &List, columns: &Columns, cx: &Context) -> Markup {
    if list.lines.is_empty() {
        return html! {};
    }
    html! {
        div.scroll {
            table.jobs {
                thead { tr {
                    @if cx.may_operate { th scope="col" { span.sr { "Select" } } }
                    th scope="col" { "Job" } th scope="col" { "State" }
                    @for (name, title, _) in COLUMNS { @if columns.has(name) { th scope="col" { (title) } } }
                } }
                tbody { @for line in &list.lines { (row(line, list.now, columns, cx)) } }
            }
        }
    }
}

fn row(line: &Line, now: Timestamp, columns: &Columns, cx: &Context) -> Markup {
    let cell = |name: &str| match name {
        "queue" => html! { (line.queue) },
        "attempts" => html! { (line.attempts) " of " (line.max_attempts) },
        "enqueued" => cx.age(line.created_at),
        "when" => when(line, now, cx),
        "priority" => html! { (line.priority) },
        "key" => html! { @if let Some(key) = &line.key { (key) } @else { "–" } },
        _ => html! { @if let Some(error) = &line.last_error { (error) } },
    };
    let is_fine = matches!(line.state, State::Succeeded | State::Cancelled);
    html! {
        tr data-key=(line.id) {
            @if cx.may_operate {
                td.pick { input type="checkbox" name="id" value=(line.id) aria-label={ "Select job " (line.id) }; }
            }
            th.job scope="row" { a href=(cx.url(&format!("/jobs/{}", line.id))) { (line.kind) " " span.muted { "…" (tail(line.id)) } } }
            td.state { (state(line, now)) }
            @for (name, title, _) in COLUMNS { @if columns.has(name) {
                td class={ "c-" (name) @if name == "error" && !is_fine { " is-bad" } } title=[(name == "error").then_some(line.last_error.as_deref()).flatten()] data-title=(title) { div.cut { (cell(name)) } }
            } }
        }
    }
}

fn tail(id: JobId) -> String {
    crate::pages::job::short(id)
}

/// The time that tells most.
fn when(line: &Line, now: Timestamp, cx: &Context) -> Markup {
    match (line.state, line.started_at, line.finished_at) {
        (_, _, Some(at)) => html! { "ended " (cx.age(at)) },
        (State::Running, Some(at), None) => html! { "running since " (cx.age(at)) },
        _ if line.next_run_at > now => html! { "due " (cx.age(line.next_run_at)) },
        _ => html! { "due since " (cx.age(line.next_run_at)) },
    }
}

fn state(line: &Line, now: Timestamp) -> Markup {
    let shown = match line.state {
        State::Queued if line.attempts > 0 => badge(Tone::Warn, "retrying"),
        State::Queued if line.next_run_at > now => badge(Tone::Calm, "scheduled"),
        State::Queued => badge(Tone::Calm, "queued"),
        State::Running if line.lease_expires_at.is_some_and(|at| at < now) => badge(Tone::Bad, "lease run out"),
        State::Running if line.cancel_requested => badge(Tone::Warn, "stopping"),
        State::Running => badge(Tone::Busy, "running"),
        State::Succeeded => badge(Tone::Good, "succeeded"),
        State::Failed => badge(Tone::Bad, "failed"),
        State::Cancelled => badge(Tone::Calm, "cancelled"),
    };
    html! { (shown) @if let Some(reason) = line.reason.as_deref().filter(|reason| *reason != line.state.as_str()) { " " span.muted.reason { (reason) } } }
}

/// The time of a page is over, and it is not full.
fn searched(list: &List, to: Timestamp, cx: &Context) -> Markup {
    html! {
        div.searched {
            strong { "Searched back to " (to.strftime("%F %T")) " UTC" }
            " (" (cx.age(to)) "): "
            @if list.lines.is_empty() { "nothing matched yet." } @else { (list.lines.len()) " matched so far." }
            " Further back there may be more."
        }
    }
}

fn nothing(page: &JobsPage, filter: &Filter, cx: &Context) -> Markup {
    if page.place != Place::Newest {
        return parts::empty(
            "Nothing further here",
            &html! { p { a href=(address(&page.fields, None, cx)) { "To the newest" } } },
        );
    }
    if filter.is_any() {
        return parts::empty(
            "No jobs yet",
            &html! {
                p { "Enqueue one, and it shows here:" }
                pre { "faultline job enqueue demo.echo '{\"hello\":\"world\"}'" }
            },
        );
    }
    parts::empty(
        "No job matches",
        &html! {
            p { "All jobs that are kept were looked at: there is none " (filter.words()) "." }
            p { a href=(cx.url("/jobs")) { "Show all jobs" } }
        },
    )
}

fn pager(page: &JobsPage, list: &List, cx: &Context) -> Markup {
    let older_words = if list.searched_to.is_some() { "Search further back" } else { "Older" };
    html! {
        div.pager role="group" aria-label="Parts of the list" {
            @if page.place != Place::Newest { a.button href=(address(&page.fields, None, cx)) { "Newest" } }
            @if let Some(id) = list.newer { a.button rel="prev" href=(address(&page.fields, Some(("newer", id)), cx)) { "← Newer" } }
            @if let Some(id) = list.older { a.button rel="next" href=(address(&page.fields, Some(("older", id)), cx)) { (older_words) " →" } }
        }
    }
}

/// The same list at another place.
fn address(fields: &Fields, place: Option<(&str, JobId)>, cx: &Context) -> String {
    let mut fields = fields.clone().without("older").without("newer");
    if let Some((name, id)) = place {
        fields.push(name, id.to_string());
    }
    let query = fields.encode();
    if query.is_empty() { cx.url("/jobs") } else { cx.url(&format!("/jobs?{query}")) }
}

fn all_that_match(filter: &Filter, cx: &Context) -> Markup {
    let form = |verb: &str, label: &str| {
        cx.form(
            "/jobs/matching",
            &html! {
                @for (name, value) in filter.fields().pairs() { input type="hidden" name=(name) value=(value); }
                input type="hidden" name="do" value=(verb);
                button type="submit" { (label) }
            },
        )
    };
    html! {
        div.matching {
            span.muted { "All jobs " (filter.words()) ":" }
            (form("retry", "Retry all…")) (form("cancel", "Cancel all…"))
            span.muted.note { "They are counted first." }
        }
    }
}

fn filter_form(page: &JobsPage, columns: &Columns, cx: &Context) -> Markup {
    let value = |name: &str| page.fields.get(name).unwrap_or_default();
    let states: Vec<&str> = page.fields.all("state").flat_map(|words| words.split(',')).collect();
    let text = |name: &'static str, label: &str, hint: &str| {
        html! { div.field { label for={ "f-" (name) } { (label) } input id={ "f-" (name) } type="text" name=(name) value=(value(name)) placeholder=(hint) autocomplete="off" spellcheck="false"; } }
    };
    let has_more = ["key", "tag", "error", "attempts", "since", "until", "columns"]
        .iter()
        .any(|name| page.fields.get(name).is_some());
    html! {
        form.filter method="get" action=(cx.url("/jobs")) role="search" {
            fieldset.states {
                legend.sr { "State" }
                @for state in STATES {
                    label.chip { input type="checkbox" name="state" value=(state) checked[states.contains(&state)]; span { (state) } }
                }
            }
            div.row {
                (text("queue", "Queue", "any"))
                (text("kind", "Kind", "any"))
                div.go { button.primary type="submit" { "Show" } @if page.fields.names().next().is_some() { a.button href=(cx.url("/jobs")) { "Clear" } } }
            }
            details open[has_more] {
                summary { "More filters and columns" }
                div.row {
                    (text("key", "Key", "exactly this"))
                    (text("tag", "Tag", "name, or name=value"))
                    (text("error", "Error contains", "any"))
                    (text("attempts", "Attempts, at least", "0"))
                    (text("since", "Enqueued since", "2h, or 2026-03-01T12:30Z"))
                    (text("until", "Enqueued before", "15m, or a time"))
                }
                fieldset.states {
                    legend { "Columns" }
                    @for (name, title, _) in COLUMNS {
                        label.chip { input type="checkbox" name="columns" value=(name) checked[columns.has(name)] data-default=[columns.is_default(name).then_some("")]; span { (title) } }
                    }
                }
            }
        }
    }
}

/// The columns that are shown.
struct Columns(Vec<&'static str>);

impl Columns {
    fn of(fields: &Fields) -> Self {
        let asked: Vec<&str> = fields.all("columns").flat_map(|names| names.split(',')).collect();
        let shown = COLUMNS
            .iter()
            .filter(|(name, _, by_default)| if asked.is_empty() { *by_default } else { asked.contains(name) });
        Self(shown.map(|(name, ..)| *name).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    fn is_default(&self, name: &str) -> bool {
        COLUMNS.iter().any(|(column, _, by_default)| *column == name && *by_default)
    }
}
