//! The page of a job.

use super::timeline::{Known, Outcome, Run, Timeline, What, timeline};
use super::{Seen, copy, drawing, short, words};
use crate::json;
use crate::page::Context;
use crate::parts::{self, Tone, badge};
use faultline_core::durations::format_ms;
use faultline_core::{JobId, State, WorkerId};
use faultline_store::read::{self, Job};
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Bytes of a document that is shown open, and that is shown at all.
const OPEN_BYTES: usize = 2 * 1024;
const SHOWN_BYTES: usize = 64 * 1024;
/// Phases that are listed at once: of more, those in the middle are folded.
const FIRST_LISTED: usize = 4;
const LAST_LISTED: usize = 16;
/// Tags that are shown at most; the headers show all.
const MAX_TAGS: usize = 20;

/// The page of a job that is known.
pub(super) fn page(seen: &Seen, cx: &Context) -> Markup {
    let job = &seen.story.job;
    let shown = Shown { seen, cx };
    let story = timeline(&Known {
        job,
        attempts: &seen.attempts,
        has_earlier: seen.has_earlier,
        ended_by: seen.holders.last,
        workers: &seen.holders.workers,
        now: seen.story.now,
    });
    html! {
        div.crumbs { a href=(cx.url("/jobs")) { "Jobs" } " / " a href=(shown.list("queue", &job.queue)) { (job.queue) } " / " a href=(shown.list("kind", &job.kind)) { (job.kind) } }
        (cx.region("head", shown.head()))
        (cx.region("now", shown.now_card(&story)))
        section.card {
            h2 { "What happened" }
            (cx.region("timeline", shown.timeline(&story)))
        }
        div.columns {
            section.card {
                h2 { "Facts" }
                (cx.region("facts", shown.facts()))
            }
            div.stacked {
                (cx.region("outcome", shown.outcome()))
                (document("Payload", &job.payload, "handed to its handler"))
                @if let Some(headers) = &job.headers { (document("Headers", headers, "trace context and tags")) }
            }
        }
        (shown.commands())
    }
}

/// The page of an id that leads nowhere.
pub(super) fn unknown(id: JobId, cx: &Context) -> Markup {
    html! {
        div.crumbs { a href=(cx.url("/jobs")) { "Jobs" } }
        h1 { "There is no job " code { (id) } }
        // In a region, so that a job that is enqueued under this id in a moment is found without a reload.
        (cx.region("head", parts::empty("It was never here, or it is no longer kept", &html! {
            p { "The history of jobs that have ended is kept for a time, 14 days unless somebody has changed that; then its days are dropped as a whole. The id itself says when its job was enqueued: "
                @match enqueued_at(id) {
                    Some(at) => { strong { (at.strftime("%F %T")) " UTC" } ", " (cx.age(at)) "." }
                    None => "this one does not, since it is not of version 7: it is not the id of a job made by Faultline.",
                }
            }
            p { "It may also be of another database, of a transaction that has not been committed, or mistyped." }
            p { a href=(cx.url("/jobs")) { "To all jobs" } }
        })))
    }
}

/// When an id of version 7 was made.
pub(crate) fn enqueued_at(id: JobId) -> Option<Timestamp> {
    if id.0.get_version_num() != 7 {
        return None;
    }
    let ms = i64::try_from(id.0.as_u128() >> 80).ok()?;
    Timestamp::from_millisecond(ms).ok()
}

struct Shown<'a> {
    seen: &'a Seen,
    cx: &'a Context,
}

impl Shown<'_> {
    fn job(&self) -> &Job {
        &self.seen.story.job
    }

    fn list(&self, name: &str, value: &str) -> String {
        let mut fields = crate::fields::Fields::default();
        fields.push(name, value);
        self.cx.url(&format!("/jobs?{}", fields.encode()))
    }

    fn head(&self) -> Markup {
        let job = self.job();
        html! {
            div.job-head {
                div.job-title {
                    h1 { (job.kind) " " (state_badge(job, self.seen.story.now)) }
                    p.muted {
                        code.id { (job.id) } " · in queue " a href=(self.list("queue", &job.queue)) { (job.queue) }
                        " · enqueued " (self.cx.age(job.created_at))
                    }
                }
                @if self.cx.may_operate { div.acts { (self.acts()) } }
            }
        }
    }

    fn acts(&self) -> Markup {
        let job = self.job();
        let path = |verb: &str| format!("/jobs/{}/{verb}", job.id);
        let waits = job.state == State::Queued && job.next_run_at > self.seen.story.now;
        html! {
            @if waits {
                (self.cx.form(&path("retry"), &html! { button.primary type="submit" { "Run now" } }))
            }
            @if job.state.is_terminal() {
                (parts::opens("Retry…", &html! {
                    @if job.state == State::Succeeded { p { strong { "It has succeeded already: " } "retried, what it does is done again." } }
                    p { "A new job runs in its stead, with all its attempts ahead of it; this one stays as it is. Retried twice, it is the same new job." }
                    (self.cx.form(&path("retry"), &html! { button.primary type="submit" { "Retry it" } }))
                }))
            } @else if !job.cancel_requested {
                (parts::opens("Cancel…", &html! {
                    @if job.state == State::Running {
                        p { "Its worker hears of it with the next renewal of the lease, within seconds, and stops the handler at its next pause. What it has done until then is done." }
                    } @else {
                        p { "It ends as cancelled and will not run. A retry makes a new job." }
                    }
                    (self.cx.form(&path("cancel"), &html! { button.danger type="submit" { "Cancel the job" } }))
                }))
            }
            (parts::opens("Run one like it…", &html! {
                p { "Enqueues a copy: the same kind, payload, queue and options, due now. Without its key, which belongs to this job, and without its trace." }
                (self.cx.form(&path("again"), &html! { button.primary type="submit" { "Enqueue a copy" } }))
            }))
        }
    }

    /// Where it is now: why it is not running, who runs it, how it ended.
    fn now_card(&self, story: &Timeline) -> Markup {
        let job = self.job();
        match (job.state, &self.seen.story.explanation) {
            (State::Queued, Some(explanation)) if explanation.state == State::Queued => html! {
                section.card.now {
                    h2 { "Why is it not running?" }
                    ul.reasons { @for reason in &explanation.reasons { li { (sentence(reason)) } } }
                }
            },
            (State::Running, _) => self.running_card(story),
            _ if job.state.is_terminal() => html! {
                section.card.now {
                    h2 { "How it ended" }
                    p { (sentence(&outcome_words(job))) }
                    @if let Some(advice) = advice(job) { p.muted { (advice) } }
                }
            },
            // It changed between two looks: the next one tells.
            _ => html! { section.card.now { h2 { "Why is it not running?" } p { "It is changing just now." } } },
        }
    }

    fn running_card(&self, story: &Timeline) -> Markup {
        let job = self.job();
        let (Some(lease), Some(run)) = (job.lease, story.runs.last()) else { return html! {} };
        let is_over = lease.expires_at < self.seen.story.now;
        html! {
            section.card.now {
                h2 { @if is_over { "Its lease has run out" } @else { "Who runs it" } }
                @if is_over {
                    p.bad { "Its worker has not renewed the lease. Nobody holds the job now; any server or worker may put it back in its queue." }
                }
                @if job.cancel_requested {
                    p { (badge(Tone::Warn, "asked to stop")) " Its worker hears that with the next renewal." }
                }
                dl.facts {
                    dt { "Worker" } dd { (self.worker(lease.owner)) }
                    dt { "Running" } dd { "attempt " (run.number) ", began " (self.cx.age(run.from)) " (" (words::moment(run.from)) " UTC)" }
                    dt { "Lease ends" }
                    dd {
                        span.known { (self.cx.age(lease.expires_at)) " (" (words::moment(lease.expires_at)) " UTC), unless it is renewed" }
                        span.unknown { "not known now: the database was not heard of since the time above" }
                    }
                    @if let Some(at) = run.renewed_at { dt { "Last renewed" } dd { (self.cx.age(at)) } }
                    dt { "Lease" } dd { code { (lease.id) } }
                    dt { "Time-out" } dd { (format_ms(job.timeout_ms.into())) @if let Ok(at) = run.from.checked_add(SignedDuration::from_millis(job.timeout_ms.into())) { ", reached " (self.cx.age(at)) } }
                }
            }
        }
    }

    fn worker(&self, id: WorkerId) -> Markup {
        html! { a href=(self.cx.url(&format!("/workers#worker-{id}"))) title=(id) { (self.host(id)) } }
    }

    fn host(&self, id: WorkerId) -> String {
        match self.seen.holders.workers.get(&id) {
            Some(holder) => format!("{} (process {})", holder.host, holder.pid),
            None => format!("worker …{}", &id.to_string()[28..]),
        }
    }

    fn timeline(&self, story: &Timeline) -> Markup {
        html! {
            (drawing::draw(story, |id| self.host(id)))
            p.scale { "Not to scale: ten times as long is one step wider, so that milliseconds and hours are both seen. Times are UTC, by the database's clock." }
            (self.list_of(story))
        }
    }

    fn list_of(&self, story: &Timeline) -> Markup {
        let many = story.phases.len();
        let folded = if many > FIRST_LISTED + LAST_LISTED + 1 { FIRST_LISTED..many - LAST_LISTED } else { 0..0 };
        let item = |index: usize| self.phase(story, index);
        html! {
            ol.phases {
                li.tl-start { div.when { (day_and_moment(self.job().created_at)) } div.what { strong { "Enqueued" } } }
                @for index in 0..folded.start { (item(index)) }
                @if !folded.is_empty() {
                    li.tl-gap { div.when {} div.what { details { summary { (folded.len()) " more phases" } ol.phases { @for index in folded.clone() { (item(index)) } } } } }
                }
                @for index in folded.end..many { (item(index)) }
                @if let Some((at, state)) = story.end {
                    li class={ "tl-end tl-" (style_of(state)) } { div.when { (after(at, story.phases.last().map_or(self.job().created_at, |last| last.from))) } div.what { strong { "It " (words::ended(state)) } @if let Some(reason) = self.job().reason.as_deref().filter(|reason| *reason != state.as_str()) { " (" (reason) ")" } } }
                }
            }
        }
    }

    fn phase(&self, story: &Timeline, index: usize) -> Markup {
        let phase = &story.phases[index];
        let said = words::phase(story, phase);
        let run = if let What::Running(run) = phase.what { Some(&story.runs[run]) } else { None };
        let before = if index == 0 { self.job().created_at } else { story.phases[index - 1].from };
        html! {
            li class={ "tl-" (said.style) } {
                div.when { (after(phase.from, before)) }
                div.what {
                    strong { (said.title) }
                    " " span.long { @if phase.goes_on { "since " (self.cx.age(phase.from)) } @else { (words::span(phase.length())) } }
                    @if let Some(run) = run { (self.run_facts(run)) }
                    @if let Some(detail) = &said.detail { p.muted { (detail) } }
                    @if let Some((run, error)) = run.and_then(|run| Some((run, run.error.as_deref()?))) {
                        @if matches!(run.outcome, Outcome::Released | Outcome::Snoozed) { p.muted { "It said: " (error) } } @else { (error_text(error)) }
                    }
                }
            }
        }
    }

    fn run_facts(&self, run: &Run) -> Markup {
        html! {
            @if let Some(worker) = run.worker { p { "on " (self.worker(worker)) @if let Some(lease) = run.lease { span.muted { " under lease " code { (lease) } } } } }
        }
    }

    fn facts(&self) -> Markup {
        let job = self.job();
        let left = job.max_attempts.saturating_sub(job.attempts);
        let backoff = (job.backoff_base_ms, job.backoff_cap_ms);
        html! {
            dl.facts {
                dt { "Kind" } dd { a href=(self.list("kind", &job.kind)) { (job.kind) } }
                dt { "Queue" } dd { a href=(self.list("queue", &job.queue)) { (job.queue) } }
                dt { "Attempts" } dd { (job.attempts) " of " (job.max_attempts) @if !job.state.is_terminal() { ", " (left) " left" } }
                @if job.crashes > 0 { dt { "Crashes" } dd { (job.crashes) " (its worker was lost while it ran)" } }
                dt { "Priority" } dd { (job.priority) @if job.priority == 1 { " (first)" } @else if job.priority == 4 { " (last)" } }
                dt { "Enqueued" } dd { (day_and_moment(job.created_at)) " UTC" }
                dt { @if job.state == State::Queued { "Due" } @else { "Was due" } } dd { (day_and_moment(job.next_run_at)) " UTC" }
                @if let Some(at) = job.started_at { dt { "Started" } dd { (day_and_moment(at)) " UTC" } }
                @if let Some(at) = job.finished_at { dt { "Ended" } dd { (day_and_moment(at)) " UTC" } }
                dt { "Key" } dd { @match &job.key { Some(key) => a href=(self.list("key", key)) { code { (key) } }, None => span.muted { "none" } } }
                dt { "Time-out" } dd { (format_ms(job.timeout_ms.into())) " an attempt" }
                dt { "Back-off" } dd { "up to " (format_ms(backoff.0.into())) ", doubling, at most " (format_ms(backoff.1.into())) }
                @if let Some(trace) = job.headers.as_deref().and_then(trace_id) { dt { "Trace" } dd { code { (trace) } } }
                @let tags = job.headers.as_deref().map(tags).unwrap_or_default();
                @if !tags.is_empty() { dt { "Tags" } dd { @for tag in &tags { a.tag href=(self.list("tag", tag)) { (tag) } " " } } }
                (self.relatives())
            }
        }
    }

    fn relatives(&self) -> Markup {
        html! {
            @for relative in &self.seen.story.relatives {
                dt { @match relative.step { -1 => "Retry of", 1 => "Retried as", step if step < 0 => "Before that", _ => "After that" } }
                dd { a href=(self.cx.url(&format!("/jobs/{}", relative.id))) { code { "…" (short(relative.id)) } } ", " (relative.state.as_str()) ", enqueued " (self.cx.age(relative.created_at)) }
            }
        }
    }

    /// What came of it: its result, or what was wrong.
    fn outcome(&self) -> Markup {
        let job = self.job();
        html! {
            @if let Some(error) = job.last_error.as_deref() {
                section.card { h2 { @if job.state == State::Failed { "Error" } @else { "Last error" } } (error_text(error)) }
            }
            @if let Some(result) = &job.result { (document("Result", result, "returned by its handler")) }
        }
    }

    fn commands(&self) -> Markup {
        let job = self.job();
        // The script puts the address of the page in the place of the usual one.
        let commands = copy::commands(job, copy::SERVER);
        let id = job.id;
        html! {
            section.card {
                h2 { "Copy as a command" }
                p.muted { "Each enqueues a job like this one, without its key and its trace." }
                div.stack {
                    @if let Some(curl) = &commands.curl { (command("curl", curl)) }
                    @if let Some(cli) = &commands.cli { (command("faultline", cli)) }
                    @if commands.cli.is_none() { p.muted { "The payload is too large for a command line: the statement below copies it inside the database." } }
                    (command("SQL", &commands.sql))
                    (command("look at this one", &format!("faultline job explain {id}\ncurl -sS -H \"Authorization: Bearer $FAULTLINE_TOKEN\" {}/v1/jobs/{id}?include=attempts\nselect * from faultline.all_jobs where id = '{id}';", copy::SERVER)))
                }
            }
        }
    }
}

/// A state as a word with a sign; of the queued ones, what they wait for.
pub(crate) fn state_badge(job: &Job, now: Timestamp) -> Markup {
    let is_later = job.next_run_at > now;
    match job.state {
        State::Queued if job.attempts > 0 => badge(Tone::Warn, "retrying"),
        State::Queued if is_later => badge(Tone::Calm, "scheduled"),
        State::Queued => badge(Tone::Calm, "queued"),
        State::Running if job.lease.is_some_and(|lease| lease.expires_at < now) => badge(Tone::Bad, "lease run out"),
        State::Running => badge(Tone::Busy, "running"),
        State::Succeeded => badge(Tone::Good, "succeeded"),
        State::Failed => badge(Tone::Bad, "failed"),
        State::Cancelled => badge(Tone::Calm, "cancelled"),
    }
}

fn style_of(state: State) -> &'static str {
    match state {
        State::Succeeded => "good",
        State::Failed => "bad",
        State::Cancelled | State::Queued | State::Running => "calm",
    }
}

/// How it ended; its error has a place of its own.
fn outcome_words(job: &Job) -> String {
    read::how_it_ended(&Job { last_error: None, ..job.clone() })
}

/// What the reason of an end means, for whoever sees it for the first time.
fn advice(job: &Job) -> Option<&'static str> {
    Some(match job.reason.as_deref()? {
        "attempts_exhausted" => "Every attempt failed. When the cause is mended, retry it.",
        "crash_loop" => {
            "Its worker was lost again and again while it ran: it may well kill its worker. Look at the logs of the workers above before it is retried."
        }
        "fatal" => "Its handler said that trying again is of no use.",
        "worker_lost" => {
            "It was asked to stop, but its worker was gone before it did: what it had done by then is not known."
        }
        _ => return None,
    })
}

/// Facts in words begin small, as parts of a list; here they stand alone.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

/// A time in a list behind another one: with its day, if that is another.
fn after(at: Timestamp, before: Timestamp) -> String {
    let day = |at: Timestamp| at.strftime("%F").to_string();
    if day(at) == day(before) { words::moment(at) } else { day_and_moment(at) }
}

fn day_and_moment(at: Timestamp) -> String {
    at.strftime("%F %T%.3f").to_string()
}

fn error_text(error: &str) -> Markup {
    html! {
        @if error.len() <= OPEN_BYTES { pre.error { (error) } }
        @else { details { summary { (first_line(error)) " · " (error.len()) " bytes" } pre.error { (error) } } }
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > 100 { line.chars().take(99).chain(['…']).collect() } else { line.to_owned() }
}

/// A document, indented, as it is stored: no number is rounded.
fn document(title: &str, text: &RawValue, what: &str) -> Markup {
    let text = text.get();
    let bytes = text.len();
    let is_cut = bytes > SHOWN_BYTES;
    let shown = if is_cut { text[..text.floor_char_boundary(SHOWN_BYTES)].to_owned() } else { json::pretty(text) };
    html! {
        section.card {
            h2 { (title) " " span.muted.note { (what) ", " (parts::count(i64::try_from(bytes).unwrap_or(i64::MAX), false)) " bytes" } }
            @if bytes <= OPEN_BYTES { pre.json { (shown) } }
            @else {
                details { summary { "Show it" } pre.json { (shown) @if is_cut { "…" } }
                    @if is_cut { p.muted { "This is its beginning. The whole of it: " code { "faultline job get ID -o json" } } } }
            }
        }
    }
}

/// A command with a button that copies it, which the script shows.
fn command(name: &str, text: &str) -> Markup {
    html! {
        details.command {
            summary { (name) }
            div.copied { pre data-copy { (text) } button.quiet.copy type="button" hidden { "Copy" } }
        }
    }
}

/// The trace of a W3C trace context.
fn trace_id(headers: &RawValue) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Traced {
        traceparent: String,
    }
    let traced: Traced = serde_json::from_str(headers.get()).ok()?;
    let id = traced.traceparent.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// What a list can be filtered by among the headers: each entry with its value, each element of a list.
fn tags(headers: &RawValue) -> Vec<String> {
    let Ok(entries) = serde_json::from_str::<BTreeMap<String, serde_json::Value>>(headers.get()) else {
        return Vec::new();
    };
    let mut tags = Vec::new();
    for (name, value) in entries.iter().filter(|(name, _)| !copy::TRACE_CONTEXT.contains(&name.as_str())) {
        let values = if let serde_json::Value::Array(values) = value { values.iter().collect() } else { vec![value] };
        tags.extend(values.iter().filter_map(|value| value.as_str()).map(|value| format!("{name}={value}")));
    }
    tags.truncate(MAX_TAGS);
    tags
}
