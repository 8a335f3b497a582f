//! The overview: what stands where, how fast it moves, what is wrong, what was recovered.

use crate::chart::{Chart, Line, Unit};
use crate::fields::Fields;
use crate::page::{self, Context, Entry, Page, Source};
use crate::parts::{self, Tone, badge, count, figure, jobs};
use crate::trouble::{self, Trouble};
use faultline_store::dashboard::overview::{Recovery, recoveries};
use faultline_store::dashboard::queues::{self, QueuesNow};
use faultline_store::dashboard::series::{self, ALL_QUEUES, Events, Point, Series};
use faultline_store::read::{self, Worker};
use faultline_store::{Error, observe};
use jiff::Timestamp;
use maud::{Markup, html};

pub(crate) const ENTRY: Entry = Entry { title: "Overview", path: "/", routes: page::routes::<Overview> };

/// Ranges that charts can show: their names and minutes.
const RANGES: [(&str, u32); 5] = [("15 min", 15), ("1 h", 60), ("6 h", 360), ("24 h", 1440), ("7 d", 10_080)];
/// The range unless another is asked for.
const USUAL_RANGE: u32 = 15;
/// Troubles, and recoveries, that are told at most.
const MAX_LINES: usize = 10;

/// The page.
pub(crate) struct Overview {
    /// How far back the charts reach.
    minutes: u32,
}

/// What it shows.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) queues: QueuesNow,
    pub(crate) workers: Vec<Worker>,
    pub(crate) series: Series,
    pub(crate) recoveries: Vec<Recovery>,
}

impl Page for Overview {
    const ROUTE: &'static str = "/";
    const NAV: &'static str = "/";
    type Data = Data;

    fn asked(fields: &Fields) -> Result<Self, String> {
        let Some(asked) = fields.get("minutes") else { return Ok(Self { minutes: USUAL_RANGE }) };
        let known = RANGES.iter().find(|(_, minutes)| asked == minutes.to_string());
        let known = known.ok_or_else(|| format!("“{asked}” is not one of the ranges that the charts can show."))?;
        Ok(Self { minutes: known.1 })
    }

    fn title(&self, _: Option<&Data>) -> String {
        "Overview".into()
    }

    async fn load(&self, source: &Source) -> Result<Data, Error> {
        let minutes = self.minutes;
        let load = async |client: &mut _| {
            let fleet = observe::fleet(client).await?;
            Ok(Data {
                queues: queues::queues(client, None, fleet.slots).await?,
                workers: read::workers(client).await?,
                series: series::series(client, ALL_QUEUES, minutes).await?,
                recoveries: recoveries(client).await?,
            })
        };
        source.call(load).await
    }

    fn view(&self, data: &Data, cx: &Context) -> Markup {
        html! {
            h1.sr { "Overview" }
            (cx.region("now", now(data, self.range(), cx)))
            (cx.region("trouble", troubles(data, cx)))
            section.stackless aria-labelledby="over-time" {
                div.head {
                    h2 #over-time { "Over time" }
                    nav.ranges aria-label="How far back" {
                        @for (name, minutes) in RANGES {
                            a href=(cx.query("/", &[("minutes", &minutes.to_string())])) aria-current=[(minutes == self.minutes).then_some("true")] { (name) }
                        }
                    }
                    (cx.region("counted-to", counted_to(&data.series)))
                }
                div.columns {
                    (throughput(&data.series).show(cx))
                    (start_latency(&data.series).show(cx))
                }
            }
            section.card aria-labelledby="recovered" {
                h2 #recovered { "Recovered lately" }
                (cx.region("recoveries", recovered(&data.recoveries, cx)))
            }
        }
    }
}

impl Overview {
    /// The name of its range.
    fn range(&self) -> &'static str {
        RANGES.iter().find(|(_, minutes)| *minutes == self.minutes).map_or("", |(name, _)| name)
    }
}

/// What stands where.
fn now(data: &Data, range: &str, cx: &Context) -> Markup {
    let [due, scheduled, retrying, running] = data.queues.totals();
    let oldest = data.queues.queues.iter().filter_map(|queue| queue.oldest_due_at).min();
    let alive = || data.workers.iter().filter(|worker| worker.alive);
    let slots: i64 = alive().map(|worker| i64::from(worker.slots)).sum();
    let workers = i64::try_from(alive().count()).unwrap_or(i64::MAX);
    let events = data.series.points.iter().map(|point| point.events).fold(Events::default(), Events::plus);
    html! {
        dl.figures {
            (figure("Due", &html! { (jobs(due)) }, &html! { @if let Some(oldest) = oldest { "the oldest came due " (cx.age(oldest)) } @else { "nothing waits" } }))
            (figure("Running", &html! { (jobs(running)) }, &html! { "of " (count(slots, false)) " slots" }))
            (figure("Retrying", &html! { (jobs(retrying)) }, &html! { "after a failed attempt" }))
            (figure("Scheduled", &html! { (jobs(scheduled)) }, &html! { "for later" }))
            (figure("Workers", &html! { (count(workers, false)) }, &html! { a href=(cx.url("/workers")) { "who they are" } }))
            (figure("Succeeded", &html! { (count(events.succeeded, false)) }, &html! { "within " (range) }))
            (figure("Failed", &html! { (count(events.failed, false)) }, &html! { (count(events.retried, false)) " attempts retried" }))
        }
    }
}

/// What is wrong, the worst first; or that nothing is; or how to begin.
fn troubles(data: &Data, cx: &Context) -> Markup {
    if data.queues.queues.is_empty() && data.workers.is_empty() {
        return parts::empty(
            "Nothing here yet",
            &html! {
                p { "Faultline runs jobs: a producer enqueues them, workers claim and run them, and what fails is tried again. Begin with a job and a worker:" }
                pre { "faultline job enqueue demo.echo '{\"hello\":\"world\"}'\nfaultline work --queue default --exec cat" }
            },
        );
    }
    let queues =
        data.queues.queues.iter().filter_map(|queue| Some((trouble::of_queue(queue)?, cx.queue_link(&queue.name))));
    let workers = data.workers.iter().filter_map(|worker| {
        let who = html! { a href=(cx.url("/workers")) { (worker.host) " pid " (worker.pid) } };
        Some((trouble::of_worker_alone(worker)?, who))
    });
    let mut all: Vec<(Trouble, Markup)> = queues.chain(workers).collect();
    all.sort_by_key(|(trouble, _)| trouble.tone != Tone::Bad);
    let more = all.len().saturating_sub(MAX_LINES);
    html! {
        section.card aria-labelledby="trouble" {
            h2 #trouble { "Needs a look" }
            @if all.is_empty() { p { (badge(Tone::Good, "all well")) " No queue with work is without workers, late or paused, and no worker is lost." } }
            ul.troubles {
                @for (trouble, who) in all.iter().take(MAX_LINES) {
                    li { (badge(trouble.tone, trouble.word)) b { (who) } span { (trouble.why) } }
                }
            }
            @if more > 0 { p.muted { "and " (more) " more: see " a href=(cx.url("/queues")) { "queues" } " and " a href=(cx.url("/workers")) { "workers" } "." } }
        }
    }
}

fn counted_to(series: &Series) -> Markup {
    html! { span.muted { "counted up to " time datetime=(series.reach.counted_to) { (parts::clock(series.reach.counted_to)) } " UTC" } }
}

/// The spans that are counted wholly, each with what happened in it, if anything: those before the rollups began are not known.
fn spans(series: &Series) -> Vec<(i64, Option<&Point>, bool)> {
    let step = i64::from(series.width.seconds());
    let (began, end) = (series.reach.began_at.as_second(), series.reach.counted_to.as_second());
    let mut points = series.points.iter().peekable();
    let mut spans = Vec::new();
    let mut at = series.from.as_second();
    while at + step <= end {
        while points.next_if(|point| point.at.as_second() < at).is_some() {}
        let point = points.next_if(|point| point.at.as_second() == at);
        spans.push((at, point, at + step > began));
        at += step;
    }
    spans
}

fn throughput(series: &Series) -> Chart {
    let spans = spans(series);
    let step = f64::from(series.width.seconds());
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52, and it is drawn")]
    let rates = |of: fn(&Events) -> i64| {
        let rate = |(_, point, is_known): &(i64, Option<&Point>, bool)| {
            is_known.then(|| point.map_or(0.0, |point| of(&point.events) as f64 / step))
        };
        spans.iter().map(rate).collect()
    };
    Chart {
        id: "throughput",
        title: "Jobs a second",
        unit: Unit::Count,
        times: spans.iter().map(|(at, ..)| *at).collect(),
        lines: vec![
            Line { name: "Enqueued", colour: "busy", values: rates(|events| events.enqueued) },
            Line { name: "Succeeded", colour: "good", values: rates(|events| events.succeeded) },
            Line { name: "Failed", colour: "bad", values: rates(|events| events.failed) },
            Line { name: "Retried", colour: "warn", values: rates(|events| events.retried) },
        ],
    }
}

fn start_latency(series: &Series) -> Chart {
    let spans = spans(series);
    let quantiles = |part: f64| {
        spans.iter().map(|(_, point, _)| point.and_then(|point| point.start_latency.quantile_s(part))).collect()
    };
    Chart {
        id: "start-latency",
        title: "From due to started",
        unit: Unit::Seconds,
        times: spans.iter().map(|(at, ..)| *at).collect(),
        lines: vec![
            Line { name: "Half of the jobs", colour: "busy", values: quantiles(0.5) },
            Line { name: "95 %", colour: "violet", values: quantiles(0.95) },
            Line { name: "99 %", colour: "warn", values: quantiles(0.99) },
        ],
    }
}

fn recovered(recoveries: &[Recovery], cx: &Context) -> Markup {
    if recoveries.is_empty() {
        return html! {
            p.muted { "None within the last day. When a worker dies or goes silent, its jobs are taken from it and run again; each such job is shown here." }
        };
    }
    html! {
        div.scroll {
            table.stacked {
                thead { tr {
                    th scope="col" { "Job" } th scope="col" { "What happened" } th scope="col" { "Recovered" }
                    th.num scope="col" { "Without a worker" } th scope="col" { "Since then" }
                } }
                tbody { @for recovery in recoveries.iter().take(MAX_LINES) { (recovery_row(recovery, cx)) } }
            }
        }
    }
}

fn recovery_row(recovery: &Recovery, cx: &Context) -> Markup {
    let host = recovery.host.as_deref().unwrap_or("a forgotten host");
    let delay =
        recovery.delay_ms().map(|ms| parts::span(std::time::Duration::from_millis(ms.unsigned_abs()).as_secs_f64()));
    html! {
        tr data-key={ (recovery.job) "-" (recovery.attempt) } {
            th scope="row" {
                (cx.job_link(recovery.job)) " " (recovery.kind.as_deref().unwrap_or("of a forgotten kind"))
                @if let Some(queue) = &recovery.queue { div.sub { "in " (cx.queue_link(queue)) } }
            }
            td data-label="What happened" {
                @if recovery.outcome == "lost" { "Its worker on " b { (host) } " died." } @else { "Its lease from the worker on " b { (host) } " ran out." }
                div.sub { "attempt " (recovery.attempt) @if !recovery.charged { ", not charged" } }
            }
            td data-label="Recovered" { (cx.age(recovery.recovered_at)) }
            td.num data-label="Without a worker" { @if let Some(delay) = delay { "at most " (delay) } @else { "–" } }
            td data-label="Since then" { (since_then(recovery, cx)) }
        }
    }
}

fn since_then(recovery: &Recovery, cx: &Context) -> Markup {
    let resumed = |at: Timestamp| html! { "started again " (cx.age(at)) };
    let state = recovery.state.as_deref().map(|state| match state {
        "succeeded" => badge(Tone::Good, "succeeded"),
        "failed" => badge(Tone::Bad, "failed"),
        "running" => badge(Tone::Busy, "running"),
        other => badge(Tone::Calm, other),
    });
    html! {
        @if let Some(state) = state { (state) }
        @if let Some(at) = recovery.resumed_at { div.sub { (resumed(at)) } }
    }
}

#[cfg(test)]
mod tests {
    use super::{Data, Overview, spans};
    use crate::samples::{now, queue, recovery, shown, worker, worker_id};
    use faultline_store::dashboard::queues::{Count, QueueNow, QueuesNow};
    use faultline_store::dashboard::series::{Durations, Events, Point, Reach, Series, Width};
    use faultline_store::read::Worker;
    use jiff::ToSpan;

    fn series(points: Vec<Point>) -> Series {
        let reach = Reach { began_at: now() - 40.seconds(), counted_to: now() - 10.seconds(), now: now() };
        Series { width: Width::TenSeconds, from: now() - 1.minute(), points, reach }
    }

    fn point(seconds_ago: i64, succeeded: i64) -> Point {
        let durations = |counts: &[i64]| Durations { bounds_s: &[0.1, 1.0], counts: counts.to_vec() };
        Point {
            at: now() - seconds_ago.seconds(),
            events: Events { enqueued: 20, succeeded, failed: 1, retried: 2, ..Events::default() },
            start_latency: durations(&[8, 2, 0]),
            execution: durations(&[10, 0, 0]),
        }
    }

    #[test]
    fn a_newcomer_is_told_how_to_begin() {
        let data = Data {
            queues: QueuesNow { queues: Vec::new(), known: 0 },
            workers: Vec::new(),
            series: series(Vec::new()),
            recoveries: Vec::new(),
        };
        insta::assert_snapshot!(shown(&Overview { minutes: 60 }, &data));
    }

    #[test]
    fn what_is_wrong_is_told_the_worst_first_with_numbers_over_time_and_what_was_recovered() {
        let late = QueueNow {
            due: Count::exact(12),
            oldest_due_at: Some(now() - 3.minutes()),
            oldest_due_s: Some(180.0),
            ..queue("late")
        };
        let abandoned = QueueNow { due: Count::exact(1), workers: 0, slots: 0, ..queue("<abandoned>") };
        let lost = Worker { alive: false, ..worker(2) };
        let recovery = recovery(1, worker_id(2), now() - 40.seconds());
        let data = Data {
            queues: QueuesNow { queues: vec![abandoned, late], known: 2 },
            workers: vec![worker(1), lost],
            series: series(vec![point(40, 10), point(20, 30)]),
            recoveries: vec![recovery],
        };
        insta::assert_snapshot!(shown(&Overview { minutes: 60 }, &data));
    }

    #[test]
    fn what_was_not_counted_is_no_zero() {
        let series = series(vec![point(40, 10), point(10, 99)]);
        let told: Vec<(i64, Option<i64>, bool)> = spans(&series)
            .into_iter()
            .map(|(at, point, is_known)| (at - now().as_second(), point.map(|p| p.events.succeeded), is_known))
            .collect();
        let expected =
            [(-60, None, false), (-50, None, false), (-40, Some(10), true), (-30, None, true), (-20, None, true)];
        assert_eq!(told, expected);
    }
}
