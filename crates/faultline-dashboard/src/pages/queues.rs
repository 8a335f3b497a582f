//! The queues: what stands in them, and pausing.

use crate::dashboard::Dashboard;
use crate::fields::Fields;
use crate::page::{self, Context, Entry, Page, Source};
use crate::parts::{self, Tone, badge, count};
use crate::visit::Act;
use axum::Router;
use axum::response::Response;
use axum::routing::post;
use faultline_store::read::{self, Queue};
use faultline_store::{Error, operate};
use maud::{Markup, html};
use std::sync::Arc;

pub(crate) const ENTRY: Entry = Entry { title: "Queues", path: "/queues", built: true, routes };

fn routes() -> Router<Arc<Dashboard>> {
    page::routes::<Queues>().route("/queues/pause", post(pause)).route("/queues/resume", post(resume))
}

/// The page.
pub(crate) struct Queues;

impl Page for Queues {
    const ROUTE: &'static str = "/queues";
    const NAV: &'static str = "/queues";
    type Data = Vec<Queue>;

    fn asked(_: &Fields) -> Result<Self, String> {
        Ok(Self)
    }

    fn title(&self, _: Option<&Vec<Queue>>) -> String {
        "Queues".into()
    }

    async fn load(&self, source: &Source) -> Result<Vec<Queue>, Error> {
        source.call(async |client| read::queues(client, None).await).await
    }

    fn view(&self, queues: &Vec<Queue>, cx: &Context) -> Markup {
        html! {
            h1 { "Queues" }
            (cx.region("queues", table(queues, cx)))
        }
    }
}

fn table(queues: &[Queue], cx: &Context) -> Markup {
    if queues.is_empty() {
        return parts::empty(
            "No queues yet",
            &html! {
                p { "A queue comes into being with its first job or its first worker. Enqueue a job:" }
                pre { "faultline enqueue greet '{\"name\": \"Ada\"}'" }
            },
        );
    }
    html! {
        div.scroll {
            table {
                thead { tr {
                    th scope="col" { "Queue" } th scope="col" { "State" } th.num scope="col" { "Due" }
                    th scope="col" { "Oldest due" } th.num scope="col" { "Waiting" } th.num scope="col" { "Running" }
                    th.num scope="col" { "Workers" }
                    @if cx.may_operate { th scope="col" { span.sr { "Actions" } } }
                } }
                tbody {
                    @for queue in queues {
                        tr {
                            th scope="row" { (queue.name) }
                            td { (state(queue, cx)) }
                            td.num { (count(queue.due, queue.bounded)) }
                            td { @if let Some(at) = queue.oldest_due_at { (cx.age(at)) } @else { "–" } }
                            td.num { (count(queue.scheduled, queue.bounded)) }
                            td.num { (count(queue.running, false)) }
                            td.num { (count(queue.workers, false)) }
                            @if cx.may_operate { td.acts { (switch(queue, cx)) } }
                        }
                    }
                }
            }
        }
    }
}

fn state(queue: &Queue, cx: &Context) -> Markup {
    match queue.paused_at {
        Some(at) => html! {
            (badge(Tone::Warn, "paused")) " " span.muted { (cx.age(at)) @if let Some(reason) = &queue.paused_reason { ": " (reason) } }
        },
        None if queue.workers == 0 && queue.due > 0 => badge(Tone::Bad, "no worker"),
        None => badge(Tone::Good, "open"),
    }
}

fn switch(queue: &Queue, cx: &Context) -> Markup {
    let name = html! { input type="hidden" name="queue" value=(queue.name); };
    if queue.paused_at.is_some() {
        return cx.form("/queues/resume", &html! { (name) button type="submit" { "Resume" } });
    }
    let ask = html! {
        (name)
        label { "Reason, for others to read" input type="text" name="reason" maxlength="500" autocomplete="off"; }
        p.muted { "No job of this queue will start until it is resumed; what runs goes on." }
        button.primary type="submit" { "Pause " (queue.name) }
    };
    parts::opens("Pause…", &cx.form("/queues/pause", &ask))
}

async fn pause(act: Act) -> axum::response::Result<Response> {
    let queue = act.fields.get("queue").unwrap_or_default();
    let reason = act.fields.get("reason");
    act.call(async |client| operate::pause(client, &act.actor, queue, reason).await).await?;
    Ok(act.done("/queues", &format!("Paused {queue}: no job of it starts until it is resumed.")))
}

async fn resume(act: Act) -> axum::response::Result<Response> {
    let queue = act.fields.get("queue").unwrap_or_default();
    let resumed = act.call(async |client| operate::resume(client, &act.actor, queue).await).await?;
    let notice = if resumed { format!("Resumed {queue}.") } else { format!("{queue} was not paused.") };
    Ok(act.done("/queues", &notice))
}
