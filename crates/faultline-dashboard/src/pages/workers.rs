//! The workers: who they are, what they run, when they were last heard of.

use crate::dashboard::Dashboard;
use crate::fields::Fields;
use crate::page::{self, Context, Entry, Page, Source};
use crate::parts::{self, Tone, badge, count};
use crate::trouble::{self, Trouble};
use crate::visit::Act;
use axum::Router;
use axum::response::Response;
use axum::routing::post;
use faultline_core::WorkerId;
use faultline_store::dashboard::overview::{Recovery, recoveries};
use faultline_store::dashboard::workers::{self as store, RunningJob};
use faultline_store::read::{self, Worker};
use faultline_store::{Error, observe, operate};
use jiff::SignedDuration;
use maud::{Markup, html};
use std::sync::Arc;

pub(crate) const ENTRY: Entry = Entry { title: "Workers", path: "/workers", routes };

fn routes() -> Router<Arc<Dashboard>> {
    page::routes::<Workers>().route("/workers/drain", post(drain))
}

/// Jobs of one worker that are told without asking for more.
const SHOWN_JOBS: usize = 5;

/// For how long a worker that died stands among those that are there.
const NEWS_FOR: SignedDuration = SignedDuration::from_mins(30);
/// How long after taking its jobs a reaper says goodbye for a dead worker.
const BURIED_WITHIN: SignedDuration = SignedDuration::from_secs(30);

/// The page.
pub(crate) struct Workers;

/// What it shows.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) workers: Vec<Worker>,
    pub(crate) running: Vec<RunningJob>,
    /// What was taken from workers lately: by it those that died are told from those that said goodbye.
    pub(crate) recoveries: Vec<Recovery>,
}

impl Page for Workers {
    const ROUTE: &'static str = "/workers";
    const NAV: &'static str = "/workers";
    type Data = Data;

    fn asked(_: &Fields) -> Result<Self, String> {
        Ok(Self)
    }

    fn title(&self, _: Option<&Data>) -> String {
        "Workers".into()
    }

    async fn load(&self, source: &Source) -> Result<Data, Error> {
        let load = async |client: &mut _| {
            let fleet = observe::fleet(client).await?;
            Ok(Data {
                workers: read::workers(client).await?,
                running: store::running(client, None, fleet.slots).await?,
                recoveries: recoveries(client).await?,
            })
        };
        source.call(load).await
    }

    fn view(&self, data: &Data, cx: &Context) -> Markup {
        html! {
            h1 { "Workers" }
            (cx.region("workers", all(data, cx)))
        }
    }
}

fn all(data: &Data, cx: &Context) -> Markup {
    if data.workers.is_empty() {
        return parts::empty(
            "No worker has registered yet",
            &html! {
                p { "A worker is a process that claims jobs and runs them: any number on any number of machines, and each may die at any moment. Start one:" }
                pre { "faultline work --exec 'greet=cat'" }
                p { "Workers that were heard of within the last day are shown here." }
            },
        );
    }
    let is_gone = |worker: &&Worker| {
        let is_news = worker.stopped_at.is_some_and(|at| cx.now.duration_since(at) < NEWS_FOR);
        worker.stopped_at.is_some() && !(is_news && has_died(worker, &data.recoveries))
    };
    let (gone, here): (Vec<&Worker>, Vec<&Worker>) = data.workers.iter().partition(is_gone);
    html! {
        @if here.is_empty() {
            (parts::empty("No worker is running", &html! { p { "All that were heard of within the last day have stopped. Jobs wait until one is started." } }))
        } @else {
            (table(&here, data, cx))
        }
        @if !gone.is_empty() {
            details.more {
                summary { "Stopped within the last day (" (gone.len()) ")" }
                (table(&gone, data, cx))
            }
        }
    }
}

fn table(workers: &[&Worker], data: &Data, cx: &Context) -> Markup {
    html! {
        div.scroll {
            table.stacked {
                thead { tr {
                    th scope="col" { "Worker" } th scope="col" { "State" } th scope="col" { "Queues" }
                    th.num scope="col" { "Slots" } th scope="col" { "Running now" } th scope="col" { "Last contact" }
                    @if cx.may_operate { th scope="col" { span.sr { "Actions" } } }
                } }
                tbody { @for worker in workers { (row(worker, data, cx)) } }
            }
        }
    }
}

fn row(worker: &Worker, data: &Data, cx: &Context) -> Markup {
    let running: Vec<&RunningJob> = data.running.iter().filter(|job| job.worker == worker.id).collect();
    let is_here = worker.alive && worker.stopped_at.is_none();
    html! {
        tr id={ "worker-" (worker.id) } {
            th scope="row" {
                (worker.host) " " span.muted { "pid " (worker.pid) }
                div.sub { "version " (worker.version) ", started " (cx.age(worker.started_at)) }
            }
            td data-label="State" { (state(worker, running.len(), has_died(worker, &data.recoveries), cx)) }
            td data-label="Queues" {
                @for (at, queue) in worker.queues.iter().enumerate() { @if at > 0 { ", " } (cx.queue_link(queue)) }
                div.sub title=(worker.kinds.join(", ")) { (kinds(&worker.kinds)) }
            }
            td.num data-label="Slots" { (count(i64::from(worker.running), false)) span.muted { " / " (worker.slots) } (meter(worker)) }
            td data-label="Running now" { (jobs(&running, cx)) }
            td data-label="Last contact" { (cx.age(worker.heartbeat_at)) }
            @if cx.may_operate { td.acts { @if is_here && !worker.draining { (drain_form(worker, cx)) } } }
        }
    }
}

fn kinds(kinds: &[String]) -> String {
    match kinds {
        [any] if any == "*" => "any kind".to_owned(),
        [one, two, three, rest @ ..] if !rest.is_empty() => {
            format!("{one}, {two}, {three} and {} more kinds", rest.len())
        }
        kinds => kinds.join(", "),
    }
}

/// How many of the slots are taken, as a bar; the numbers beside it say the same.
fn meter(worker: &Worker) -> Markup {
    html! { meter min="0" max=(worker.slots.max(1)) value=(worker.running) aria-hidden="true" {} }
}

/// Whether it was found dead: its jobs were taken from it at the time when it stopped.
fn has_died(worker: &Worker, recoveries: &[Recovery]) -> bool {
    let Some(stopped_at) = worker.stopped_at else { return false };
    recoveries.iter().any(|recovery| {
        let between = stopped_at.duration_since(recovery.recovered_at).abs();
        recovery.worker == worker.id && recovery.outcome == "lost" && between < BURIED_WITHIN
    })
}

fn state(worker: &Worker, leases: usize, has_died: bool, cx: &Context) -> Markup {
    if let Some(at) = worker.stopped_at {
        if has_died {
            return html! { (badge(Tone::Bad, "died")) div.sub { "found dead " (cx.age(at)) ": what it ran was put back" } };
        }
        return html! { (badge(Tone::Calm, "stopped")) div.sub { (cx.age(at)) } };
    }
    if let Some(Trouble { tone, word, why }) = trouble::of_worker(worker, leases) {
        return html! { (badge(tone, word)) div.sub { (why) } };
    }
    match worker.draining {
        true => {
            html! { (badge(Tone::Warn, "draining")) div.sub { "claims nothing more, and stops when what it runs has ended" } }
        }
        false if worker.running > 0 => badge(Tone::Good, "working"),
        false => badge(Tone::Good, "idle"),
    }
}

fn jobs(running: &[&RunningJob], cx: &Context) -> Markup {
    let list = |jobs: &[&RunningJob]| {
        html! {
            ul.jobs {
                @for job in jobs {
                    li data-key=(job.id) {
                        (cx.job_link(job.id)) " " (job.kind) " " span.muted { "began " (cx.age(job.started_at)) }
                        @if job.attempt > 1 { span.muted { ", attempt " (job.attempt) " of " (job.max_attempts) } }
                        @if job.cancel_requested { " " (badge(Tone::Warn, "asked to stop")) }
                        @if job.lease_left_ms < 0 { " " (badge(Tone::Bad, "lease expired")) }
                    }
                }
            }
        }
    };
    let (first, rest) = running.split_at(running.len().min(SHOWN_JOBS));
    html! {
        @if first.is_empty() { span.muted { "–" } } @else { (list(first)) }
        @if !rest.is_empty() { details.more { summary { (rest.len()) " more" } (list(rest)) } }
    }
}

fn drain_form(worker: &Worker, cx: &Context) -> Markup {
    let ask = html! {
        input type="hidden" name="worker" value=(worker.id);
        p { "The worker on " b { (worker.host) } " (pid " (worker.pid) ") claims nothing more, ends what it runs, and stops. This can't be undone; a new worker can be started." }
        button.primary type="submit" { "Drain" }
    };
    parts::opens("Drain…", &cx.form("/workers/drain", &ask))
}

async fn drain(act: Act) -> axum::response::Result<Response> {
    let Some(worker) = act.fields.get("worker").and_then(|id| id.parse::<WorkerId>().ok()) else {
        return Ok(act.refused("There is no such worker", "The form names none. Nothing was done."));
    };
    let is_there = act.call(async |client| operate::drain(client, &act.actor, worker).await).await?;
    let notice = if is_there {
        "The worker was asked to drain: it claims nothing more, and stops when what it runs has ended."
    } else {
        "The worker had stopped before."
    };
    Ok(act.done("/workers", notice))
}

#[cfg(test)]
mod tests {
    use super::{Data, Workers};
    use crate::samples::{now, recovery, running, shown, worker, worker_id};
    use faultline_store::read::Worker;
    use jiff::ToSpan;

    #[test]
    fn a_newcomer_is_told_how_to_start_a_worker() {
        insta::assert_snapshot!(shown(
            &Workers,
            &Data { workers: Vec::new(), running: Vec::new(), recoveries: Vec::new() }
        ));
    }

    #[test]
    fn every_worker_says_how_it_is_and_what_it_runs() {
        let busy = Worker { running: 7, ..worker(1) };
        let draining = Worker { draining: true, ..worker(2) };
        let lost = Worker { alive: false, heartbeat_at: now() - 2.minutes(), ..worker(3) };
        let stopped = Worker { alive: false, stopped_at: Some(now() - 1.hour()), host: "<i>".into(), ..worker(4) };
        let mut jobs: Vec<_> = (0..7).map(|number| running(number, worker_id(1))).collect();
        (jobs[1].attempt, jobs[2].cancel_requested, jobs[3].lease_left_ms) = (3, true, -200);
        jobs.push(running(9, worker_id(3)));
        let died = Worker { alive: false, stopped_at: Some(now() - 1.minute()), ..worker(5) };
        let workers = vec![busy, draining, lost, stopped, died];
        let recoveries = vec![recovery(8, worker_id(5), now() - 1.minute())];
        insta::assert_snapshot!(shown(&Workers, &Data { workers, running: jobs, recoveries }));
    }
}
