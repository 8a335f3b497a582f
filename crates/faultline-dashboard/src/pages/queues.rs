//! The queues: what stands in them, who polls them, and pausing.

use crate::dashboard::Dashboard;
use crate::fields::Fields;
use crate::page::{self, Context, Entry, Page, Source};
use crate::parts::{self, Tone, badge, count, jobs};
use crate::trouble::{self, Trouble};
use crate::visit::Act;
use axum::Router;
use axum::response::Response;
use axum::routing::post;
use faultline_store::dashboard::people::paused_by;
use faultline_store::dashboard::queues::{self as store, QueueNow, QueuesNow};
use faultline_store::dashboard::series::{QueueEvents, by_queue};
use faultline_store::{Error, observe, operate};
use maud::{Markup, html};
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) const ENTRY: Entry = Entry { title: "Queues", path: "/queues", routes };

fn routes() -> Router<Arc<Dashboard>> {
    page::routes::<Queues>().route("/queues/pause", post(pause)).route("/queues/resume", post(resume))
}

/// Over how many minutes rates are taken.
const RATE_MINUTES: u32 = 5;
/// The longest reason for a pause, in characters.
const MAX_REASON: usize = 500;

/// The page.
pub(crate) struct Queues;

/// What it shows.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) now: QueuesNow,
    /// Who paused those that are paused.
    pub(crate) paused_by: HashMap<String, String>,
    /// What happened in each within the last minutes.
    pub(crate) lately: Vec<QueueEvents>,
}

impl Page for Queues {
    const ROUTE: &'static str = "/queues";
    const NAV: &'static str = "/queues";
    type Data = Data;

    fn asked(_: &Fields) -> Result<Self, String> {
        Ok(Self)
    }

    fn title(&self, _: Option<&Data>) -> String {
        "Queues".into()
    }

    async fn load(&self, source: &Source) -> Result<Data, Error> {
        let load = async |client: &mut _| {
            let fleet = observe::fleet(client).await?;
            let now = store::queues(client, None, fleet.slots).await?;
            let is_paused = now.queues.iter().any(|queue| queue.paused_at.is_some());
            let paused_by = if is_paused { paused_by(client).await? } else { HashMap::new() };
            Ok(Data { now, paused_by, lately: by_queue(client, RATE_MINUTES).await? })
        };
        source.call(load).await
    }

    fn view(&self, data: &Data, cx: &Context) -> Markup {
        html! {
            h1 { "Queues" }
            (cx.region("queues", table(data, cx)))
        }
    }
}

fn table(data: &Data, cx: &Context) -> Markup {
    let queues = &data.now.queues;
    if queues.is_empty() {
        return parts::empty(
            "No queues yet",
            &html! {
                p { "A queue comes into being with its first job or its first worker. Enqueue a job:" }
                pre { "faultline enqueue demo.echo --queue default" }
            },
        );
    }
    html! {
        div.scroll {
            table.stacked {
                thead { tr {
                    th scope="col" { "Queue" } th scope="col" { "State" } th.num scope="col" { "Due" }
                    th scope="col" { "Oldest due" } th.num scope="col" { "Scheduled" } th.num scope="col" { "Retrying" }
                    th.num scope="col" { "Running" } th.num scope="col" { "Workers" } th.num scope="col" { "Ended" }
                    @if cx.may_operate { th scope="col" { span.sr { "Actions" } } }
                } }
                tbody {
                    @for queue in queues {
                        tr id={ "queue-" (queue.name) } {
                            th scope="row" { (cx.queue_link(&queue.name)) }
                            td data-label="State" { (state(queue, data.paused_by.get(&queue.name), cx)) }
                            td.num data-label="Due" { (jobs(queue.due)) }
                            td data-label="Oldest due" { @if let Some(at) = queue.oldest_due_at { (cx.age(at)) } @else { span.muted { "–" } } }
                            td.num data-label="Scheduled" { (jobs(queue.scheduled)) }
                            td.num data-label="Retrying" { (jobs(queue.retrying)) }
                            td.num data-label="Running" { (jobs(queue.running)) span.muted { " / " (count(queue.slots, false)) } }
                            td.num data-label="Workers" { (count(queue.workers, false)) }
                            td.num data-label="Ended" { (rate(&queue.name, &data.lately)) span.muted { " / min" } }
                            @if cx.may_operate { td.acts { (switch(queue, cx)) } }
                        }
                    }
                }
            }
        }
        @if data.now.known > queues.len() {
            p.muted { "The first " (count_of(queues.len())) " of " (count_of(data.now.known)) " queues by name." }
        }
        p.muted.legend {
            "“+” means at least, where counting ended early; “≈” is from the database's statistics. Running is shown against the slots of "
            "the workers that poll the queue: one that polls several counts for each. What ended is the mean of the last five minutes."
        }
    }
}

/// Jobs that ended in a minute, whatever their outcome.
fn rate(queue: &str, lately: &[QueueEvents]) -> String {
    let events = lately.iter().find(|lately| lately.queue == queue).map(|lately| lately.events);
    let ended = events.map_or(0, |events| events.succeeded + events.failed + events.cancelled);
    let (whole, tenth) =
        (ended / i64::from(RATE_MINUTES), ended % i64::from(RATE_MINUTES) * 10 / i64::from(RATE_MINUTES));
    if whole < 10 && tenth > 0 { format!("{whole}.{tenth}") } else { count(whole, false) }
}

fn count_of(number: usize) -> String {
    count(i64::try_from(number).unwrap_or(i64::MAX), false)
}

fn state(queue: &QueueNow, paused_by: Option<&String>, cx: &Context) -> Markup {
    if let Some(at) = queue.paused_at {
        return html! {
            (badge(Tone::Warn, "paused"))
            div.sub {
                (cx.age(at)) @if let Some(who) = paused_by { " by " (who) }
                @if let Some(reason) = &queue.paused_reason { ": " q { (reason) } }
            }
        };
    }
    match trouble::of_queue(queue) {
        Some(Trouble { tone, word, why, .. }) => html! { (badge(tone, word)) div.sub { (why) } },
        None if queue.workers == 0 => html! { (badge(Tone::Calm, "no worker")) },
        None if queue.running.jobs > 0 => badge(Tone::Good, "working"),
        None => badge(Tone::Good, "idle"),
    }
}

fn switch(queue: &QueueNow, cx: &Context) -> Markup {
    let name = html! { input type="hidden" name="queue" value=(queue.name); };
    if queue.paused_at.is_some() {
        return cx.form(
            "/queues/resume",
            &html! { (name) button type="submit" aria-label={ "Resume " (queue.name) } { "Resume" } },
        );
    }
    let ask = html! {
        (name)
        p { "No job of " b { (queue.name) } " will start until it is resumed. What runs goes on." }
        label { "Reason, for others to read" input type="text" name="reason" maxlength=(MAX_REASON) autocomplete="off"; }
        button.primary type="submit" { "Pause" }
    };
    parts::opens("Pause…", &cx.form("/queues/pause", &ask))
}

async fn pause(act: Act) -> axum::response::Result<Response> {
    let queue = act.fields.get("queue").unwrap_or_default();
    let reason: Option<String> = act.fields.get("reason").map(|reason| reason.chars().take(MAX_REASON).collect());
    act.call(async |client| operate::pause(client, &act.actor, queue, reason.as_deref()).await).await?;
    Ok(act.done("/queues", &format!("Paused {queue}: no job of it starts until it is resumed.")))
}

async fn resume(act: Act) -> axum::response::Result<Response> {
    let queue = act.fields.get("queue").unwrap_or_default();
    let resumed = act.call(async |client| operate::resume(client, &act.actor, queue).await).await?;
    let notice = if resumed { format!("Resumed {queue}.") } else { format!("{queue} was not paused.") };
    Ok(act.done("/queues", &notice))
}

#[cfg(test)]
mod tests {
    use super::{Data, Queues};
    use crate::samples::{now, queue, shown};
    use faultline_store::dashboard::queues::{Count, Precision, QueueNow, QueuesNow};
    use faultline_store::dashboard::series::{Events, QueueEvents};
    use jiff::ToSpan;
    use std::collections::HashMap;

    fn data(queues: Vec<QueueNow>) -> Data {
        let known = queues.len();
        Data {
            now: QueuesNow { queues, known },
            paused_by: HashMap::from([("paused".into(), "ada".into())]),
            lately: lately(),
        }
    }

    fn lately() -> Vec<QueueEvents> {
        let of = |queue: &str, succeeded| QueueEvents {
            queue: queue.into(),
            events: Events { succeeded, ..Events::default() },
        };
        vec![of("behind", 6170), of("calm", 3)]
    }

    #[test]
    fn a_newcomer_is_told_how_a_queue_comes_into_being() {
        insta::assert_snapshot!(shown(&Queues, &data(Vec::new())));
    }

    #[test]
    fn every_queue_says_how_it_is_and_why() {
        let paused = QueueNow {
            paused_at: Some(now() - 5.minutes()),
            paused_reason: Some("<b>the bank</b> is closed".into()),
            ..queue("paused")
        };
        let behind = QueueNow {
            due: Count { jobs: 29_876, precision: Precision::About },
            running: Count::exact(10),
            oldest_due_at: Some(now() - 3.minutes()),
            oldest_due_s: Some(180.0),
            ..queue("behind")
        };
        let abandoned = QueueNow {
            due: Count { jobs: 2500, precision: Precision::AtLeast },
            workers: 0,
            slots: 0,
            oldest_due_at: Some(now() - 2.hours()),
            ..queue("abandoned")
        };
        insta::assert_snapshot!(shown(&Queues, &data(vec![abandoned, behind, queue("calm"), paused])));
    }
}
