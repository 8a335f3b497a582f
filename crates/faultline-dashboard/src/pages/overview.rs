//! The overview: what stands where, who works, what is wrong.

use crate::fields::Fields;
use crate::page::{self, Context, Entry, Page, Source};
use crate::parts::{self, count, figure};
use faultline_store::Error;
use faultline_store::read::{self, Queue, Worker};
use maud::{Markup, html};

pub(crate) const ENTRY: Entry = Entry { title: "Overview", path: "/", built: true, routes: page::routes::<Overview> };

/// The page.
pub(crate) struct Overview;

/// What it shows.
pub(crate) struct Data {
    queues: Vec<Queue>,
    workers: Vec<Worker>,
}

impl Page for Overview {
    const ROUTE: &'static str = "/";
    const NAV: &'static str = "/";
    type Data = Data;

    fn asked(_: &Fields) -> Result<Self, String> {
        Ok(Self)
    }

    fn title(&self, _: Option<&Data>) -> String {
        "Overview".into()
    }

    async fn load(&self, source: &Source) -> Result<Data, Error> {
        source
            .call(async |client| {
                Ok(Data { queues: read::queues(client, None).await?, workers: read::workers(client).await? })
            })
            .await
    }

    fn view(&self, data: &Data, cx: &Context) -> Markup {
        html! {
            h1 { "Overview" }
            (cx.region("states", states(data, cx)))
        }
    }
}

fn states(data: &Data, cx: &Context) -> Markup {
    if data.queues.is_empty() {
        return parts::empty(
            "No queues yet",
            &html! {
                p { "A queue comes into being with its first job or its first worker. Start with one of each:" }
                pre { "faultline enqueue greet '{\"name\": \"Ada\"}'\nfaultline work --exec 'greet=cat'" }
            },
        );
    }
    let bounded = data.queues.iter().any(|queue| queue.bounded);
    let sum = |part: fn(&Queue) -> i64| count(data.queues.iter().map(part).sum(), bounded);
    let oldest = data.queues.iter().filter_map(|queue| queue.oldest_due_at).min();
    let alive = data.workers.iter().filter(|worker| worker.alive);
    let (workers, slots) =
        alive.fold((0, 0), |(workers, slots), worker| (workers + 1, slots + i64::from(worker.slots)));
    html! {
        dl.figures {
            (figure("Due", &html! { (sum(|q| q.due)) }, &html! { @if let Some(oldest) = oldest { "oldest " (cx.age(oldest)) } }))
            (figure("Running", &html! { (sum(|q| q.running)) }, &html! { "of " (count(slots, false)) " slots" }))
            (figure("Waiting for their time", &html! { (sum(|q| q.scheduled)) }, &html! {}))
            (figure("Workers", &html! { (workers) }, &html! {}))
        }
    }
}
