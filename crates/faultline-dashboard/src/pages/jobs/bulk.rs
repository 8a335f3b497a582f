//! Acting on many jobs: on those that were selected, or on all that match a filter.
//!
//! What is done to all that match is done in batches, a request each. The form of the next batch holds all that there is to know: the
//! filter with times that stand still, the newest job that is meant, how far it has come and what was done. So it goes on after
//! a restart, stops when the page is closed, and jobs that come in the meantime are not touched. Nothing is done twice if a batch is
//! sent twice: a cancelled job is cancelled already, and the second retry of a job is its first.

use super::filter::Filter;
use crate::fields::Fields;
use crate::pages::job::{enqueued_at, new_id};
use crate::parts::count;
use crate::visit::Act;
use axum::response::{Response, Result};
use faultline_core::{JobId, State};
use faultline_metrics::Operator;
use faultline_store::dashboard::bulk::{self, Action, BATCH, Changed};
use faultline_store::dashboard::queues::Precision;
use faultline_store::dashboard::{lines, people};
use faultline_store::enqueue::notify;
use faultline_store::read;
use maud::{Markup, html};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long is counted before one is asked whether to go on.
const COUNT_TIME: Duration = Duration::from_millis(2500);
/// How long the jobs of one batch are looked for.
const SEARCH_TIME: Duration = Duration::from_millis(500);

fn action_of(fields: &Fields) -> Option<Action> {
    match fields.get("do")? {
        "retry" => Some(Action::Retry),
        "cancel" => Some(Action::Cancel),
        _ => None,
    }
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Retry => "retry",
        Action::Cancel => "cancel",
    }
}

/// What was done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Done {
    /// Retried or cancelled.
    done: u64,
    /// Running ones that were asked to stop.
    asked: u64,
    /// Left as they were: there was nothing to do, or a success that is not to be repeated.
    left: u64,
}

impl Done {
    fn of(fields: &Fields) -> Self {
        let number = |name: &str| fields.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        Self { done: number("done"), asked: number("asked"), left: number("left") }
    }

    fn words(self, action: Action) -> String {
        let number = |number: u64| count(i64::try_from(number).unwrap_or(i64::MAX), false);
        let (did, but) = match action {
            Action::Retry => ("retried", "they run, are due already, have succeeded, or were retried before"),
            Action::Cancel => ("cancelled", "they had ended before"),
        };
        let mut words = format!("{} {did}", number(self.done));
        if self.asked > 0 {
            words.push_str(&format!(", {} running asked to stop", number(self.asked)));
        }
        if self.left > 0 {
            words.push_str(&format!(", {} left alone ({but})", number(self.left)));
        }
        words
    }
}

/// Acts on the jobs that were selected.
pub(super) async fn selected(act: Act) -> Result<Response> {
    let Some(action) = action_of(&act.fields) else { return Ok(unclear(&act)) };
    let back = match act.fields.get("back") {
        Some(query) => format!("/jobs?{}", Fields::parse(query.as_bytes()).encode()),
        None => "/jobs".to_owned(),
    };
    let ids: std::result::Result<Vec<JobId>, _> = act.fields.all("id").map(str::parse).collect();
    let ids = match ids {
        Ok(ids) if ids.is_empty() => return Ok(act.done(&back, "Nothing was selected, and nothing was done.")),
        Ok(ids) if ids.len() <= BATCH => ids,
        _ => return Ok(unclear(&act)),
    };
    let mut done = Done::default();
    let found = act.call(async |client| lines::lines(client, &ids).await).await?;
    let jobs: Vec<Meant> =
        found.into_iter().map(|line| Meant { id: line.id, state: line.state, queue: line.queue }).collect();
    batch(&act, action, &jobs, &mut done).await?;
    Ok(act.done(&back, &format!("Of the selected: {}.", done.words(action))))
}

/// Counts what matches and asks; then acts on it, batch by batch.
pub(super) async fn matching(act: Act) -> Result<Response> {
    let Some(action) = action_of(&act.fields) else { return Ok(unclear(&act)) };
    let own = ["csrf", "do", "newest", "before", "done", "asked", "left"];
    let asked = own.iter().fold(act.fields.clone(), |fields, name| fields.without(name));
    let filter = match Filter::parse(&asked) {
        Ok(filter) if !filter.is_any() => filter,
        Ok(_) => {
            return Ok(
                act.refused("Everything?", "Without a filter this would be done to every job. Nothing was done.")
            );
        }
        Err(problems) => {
            let reasons: Vec<String> =
                problems.iter().map(|problem| format!("{}: {}", problem.field, problem.reason)).collect();
            return Ok(act.refused("This can't be done", &format!("{}. Nothing was done.", reasons.join("; "))));
        }
    };
    match act.fields.get("newest").map(str::parse::<JobId>) {
        None => ask(&act, action, filter).await,
        Some(Ok(newest)) => go_on(&act, action, &filter, newest).await,
        Some(Err(_)) => Ok(unclear(&act)),
    }
}

fn unclear(act: &Act) -> Response {
    act.refused("This can't be done", "The form does not say what is to be done. Nothing was done.")
}

/// How many there are, and whether to go on.
async fn ask(act: &Act, action: Action, filter: Filter) -> Result<Response> {
    let (filter, counted) = act
        .call(async |client| {
            let now = people::now(client).await?;
            let filter = filter.frozen(now);
            let asked = filter.asked(now);
            let newest = read::page_within(client, &asked, 1, SEARCH_TIME).await?.jobs.first().map(|job| job.id);
            let counted = bulk::count(client, &asked, COUNT_TIME).await?;
            Ok((filter, newest.map(|newest| (newest, counted))))
        })
        .await?;
    let Some((newest, counted)) = counted else {
        return Ok(act.refused("Nothing to do", &format!("No job was found {}. Nothing was done.", filter.words())));
    };
    let is_bounded = counted.precision != Precision::Exact;
    let many = count(counted.jobs, is_bounded);
    let content = html! {
        h1 { "Really " (word(action)) " " (many) " jobs?" }
        p { "All jobs " strong { (filter.words()) } "." }
        @if is_bounded { p { "There are at least as many; counting has ended there. All that match are meant, however many they are." } }
        p.muted {
            @match action {
                Action::Retry => "Those that failed or were cancelled get a successor each, with all attempts ahead of it; those that wait for their time are due now. What runs, is due already or has succeeded is left alone.",
                Action::Cancel => "Those that wait end at once. Those that run are asked to stop. What has ended is left alone.",
            }
            " Jobs that are enqueued from now on are not touched. It goes in batches of " (BATCH) " and can be stopped between two."
        }
        (form(act, action, &filter, newest, None, Done::default(), &html! {
            button.danger type="submit" { @match action { Action::Retry => "Retry them", Action::Cancel => "Cancel them" } }
        }))
        p { a href=(act.url(&list_of(&filter))) { "Do nothing" } }
    };
    Ok(act.show(&format!("{} {many} jobs?", word(action)), &content))
}

/// One batch, and the form of the next.
async fn go_on(act: &Act, action: Action, filter: &Filter, newest: JobId) -> Result<Response> {
    let before = act.fields.get("before").and_then(|id| id.parse().ok());
    let mut done = Done::of(&act.fields);
    // The newest itself is meant too: the search is for what lies below the id after it.
    let before = before.unwrap_or_else(|| after(newest));
    let page = act
        .call(async |client| {
            let now = people::now(client).await?;
            let asked = read::Filter { before: Some(before), ..filter.asked(now) };
            read::page_within(client, &asked, BATCH, SEARCH_TIME).await
        })
        .await?;
    let meant = |job: &read::Job| Meant { id: job.id, state: job.state, queue: job.queue.clone() };
    let jobs: Vec<Meant> = page.jobs.iter().map(meant).collect();
    batch(act, action, &jobs, &mut done).await?;
    let next = page.next;
    let content = match next {
        None => html! {
            h1 { "Done" }
            p { strong { (done.words(action)) } "." }
            p.muted { "Of all jobs " (filter.words()) "." }
            p { a.button href=(act.url(&list_of(filter))) { "To the list" } }
        },
        Some(next) => html! {
            h1 { "Under way" }
            p { strong { (done.words(action)) } " so far." }
            p.muted { "Of all jobs " (filter.words()) @if let Some(at) = enqueued_at(next) { ", back to those enqueued at " (at.strftime("%F %T")) " UTC" } "." }
            (form(act, action, filter, newest, Some(next), done, &html! { button.primary type="submit" data-go-on { "Go on" } }))
            p { a href=(act.url(&list_of(filter))) { "Stop here" } }
        },
    };
    Ok(act.show(if next.is_some() { "Under way" } else { "Done" }, &content))
}

fn list_of(filter: &Filter) -> String {
    format!("/jobs?{}", filter.fields().encode())
}

fn form(
    act: &Act,
    action: Action,
    filter: &Filter,
    newest: JobId,
    before: Option<JobId>,
    done: Done,
    button: &Markup,
) -> Markup {
    act.form(
        "/jobs/matching",
        &html! {
            @for (name, value) in filter.fields().pairs() { input type="hidden" name=(name) value=(value); }
            input type="hidden" name="do" value=(word(action));
            input type="hidden" name="newest" value=(newest);
            @if let Some(before) = before { input type="hidden" name="before" value=(before); }
            input type="hidden" name="done" value=(done.done);
            input type="hidden" name="asked" value=(done.asked);
            input type="hidden" name="left" value=(done.left);
            (button)
        },
    )
}

fn after(id: JobId) -> JobId {
    JobId(uuid::Uuid::from_u128(id.0.as_u128().saturating_add(1)))
}

/// A job that something is to be done to.
struct Meant {
    id: JobId,
    state: State,
    queue: String,
}

/// Acts on them, and counts what was done. A success is not repeated in a crowd: that takes a look at the job.
async fn batch(act: &Act, action: Action, jobs: &[Meant], done: &mut Done) -> Result<()> {
    let is_for = |job: &&Meant| match action {
        Action::Retry => !matches!(job.state, State::Running | State::Succeeded),
        Action::Cancel => !job.state.is_terminal(),
    };
    let meant: Vec<&Meant> = jobs.iter().filter(is_for).collect();
    let ids: Vec<JobId> = meant.iter().map(|job| job.id).collect();
    let changed = act.call(async |client| bulk::act(client, &act.actor, action, &ids, new_id).await).await?;
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    done.done += number(changed.total() - changed.asked);
    done.asked += number(changed.asked);
    done.left += number(jobs.len() - changed.total());
    tell_metrics(act, changed);
    if action == Action::Retry && changed.total() > 0 {
        for queue in meant.iter().map(|job| job.queue.as_str()).collect::<BTreeSet<_>>() {
            // A hint: workers that miss it find the jobs by looking.
            let _ = act.call(async |client| notify(client, queue).await).await;
        }
    }
    Ok(())
}

fn tell_metrics(act: &Act, changed: Changed) {
    let counted = [
        (Operator::Cancelled, changed.cancelled),
        (Operator::CancelRequested, changed.asked),
        (Operator::Enqueued, changed.retried),
        (Operator::Moved, changed.moved),
    ];
    for (operator, many) in counted {
        (0..many).for_each(|_| act.metrics().operated(operator));
    }
}
