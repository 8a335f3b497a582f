//! The workers: who they are, what they do, when they were last heard of.

use crate::fields::Fields;
use crate::page::{self, Context, Entry, Page, Source};
use crate::parts::{self, Tone, badge};
use faultline_store::Error;
use faultline_store::read::{self, Worker};
use maud::{Markup, html};

pub(crate) const ENTRY: Entry =
    Entry { title: "Workers", path: "/workers", built: true, routes: page::routes::<Workers> };

/// The page.
pub(crate) struct Workers;

impl Page for Workers {
    const ROUTE: &'static str = "/workers";
    const NAV: &'static str = "/workers";
    type Data = Vec<Worker>;

    fn asked(_: &Fields) -> Result<Self, String> {
        Ok(Self)
    }

    fn title(&self, _: Option<&Vec<Worker>>) -> String {
        "Workers".into()
    }

    async fn load(&self, source: &Source) -> Result<Vec<Worker>, Error> {
        source.call(async |client| read::workers(client).await).await
    }

    fn view(&self, workers: &Vec<Worker>, cx: &Context) -> Markup {
        html! {
            h1 { "Workers" }
            (cx.region("workers", table(workers, cx)))
        }
    }
}

fn table(workers: &[Worker], cx: &Context) -> Markup {
    if workers.is_empty() {
        return parts::empty(
            "No worker has registered yet",
            &html! {
                p { "A worker is a process that runs jobs. Start one:" }
                pre { "faultline work --exec 'greet=cat'" }
            },
        );
    }
    html! {
        div.scroll {
            table {
                thead { tr {
                    th scope="col" { "State" } th scope="col" { "Host" } th scope="col" { "Queues" }
                    th.num scope="col" { "Running" } th scope="col" { "Last contact" }
                } }
                tbody {
                    @for worker in workers {
                        tr {
                            td { (state(worker)) }
                            th scope="row" { (worker.host) span.muted { " pid " (worker.pid) " · " (worker.version) } }
                            td { (worker.queues.join(", ")) }
                            td.num { (worker.running) " / " (worker.slots) }
                            td { (cx.age(worker.heartbeat_at)) }
                        }
                    }
                }
            }
        }
    }
}

fn state(worker: &Worker) -> Markup {
    match (worker.alive, worker.stopped_at) {
        (_, Some(_)) => badge(Tone::Calm, "stopped"),
        (true, None) if worker.draining => badge(Tone::Warn, "draining"),
        (true, None) => badge(Tone::Good, "working"),
        (false, None) => badge(Tone::Bad, "silent"),
    }
}
