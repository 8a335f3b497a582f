//! Drills: what was broken on purpose, what the checker found, and a button to break something now.

use crate::dashboard::Dashboard;
use crate::drills::{DrillRun, Report, Reports, Summary};
use crate::fields::Fields;
use crate::layout;
use crate::page::{self, Context, Entry, Page, Source};
use crate::parts::{self, Tone, badge};
use crate::visit::{Act, Visitor};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use faultline_store::Error;
use faultline_store::dashboard::people;
use maud::{Markup, html};
use std::sync::Arc;

pub(crate) const ENTRY: Entry = Entry { title: "Drills", path: "/drills", routes };

/// A report is a page by somebody else: it may be styled and drawn, and do nothing.
const REPORT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; \
                             form-action 'none'; sandbox";

fn routes() -> Router<Arc<Dashboard>> {
    page::routes::<Drills>().route("/drills/run", post(run)).route("/drills/reports/{name}", get(report))
}

/// The page.
pub(crate) struct Drills;

/// What it shows.
pub(crate) struct Data {
    /// The directory with the reports and what it holds, or why it can't be read.
    reports: Option<(String, Result<Reports, String>)>,
    can_run: bool,
    run: Option<DrillRun>,
}

impl Page for Drills {
    const ROUTE: &'static str = "/drills";
    const NAV: &'static str = "/drills";
    type Data = Data;

    fn asked(_: &Fields) -> Result<Self, String> {
        Ok(Self)
    }

    fn title(&self, _: Option<&Data>) -> String {
        "Drills".into()
    }

    async fn load(&self, source: &Source) -> Result<Data, Error> {
        let drills = source.drills.clone();
        let reports = match drills.dir().map(|dir| dir.display().to_string()) {
            Some(shown) => {
                let drills = drills.clone();
                let read = tokio::task::spawn_blocking(move || drills.reports()).await;
                let read =
                    read.map_err(|error| error.to_string()).and_then(|read| read.map_err(|error| error.to_string()));
                Some((shown, read))
            }
            None => None,
        };
        // Nothing here is of the database, but every page says whether it answers.
        source.call(async |client| people::now(client).await).await?;
        let runner = drills.runner();
        Ok(Data { reports, can_run: runner.is_some(), run: runner.and_then(|runner| runner.run()) })
    }

    fn view(&self, data: &Data, cx: &Context) -> Markup {
        html! {
            div.head {
                h1 { "Drills" }
                p.muted { "A drill breaks a Faultline of its own on purpose, under load, and lets a checker judge what is left. Nothing here is touched." }
            }
            @if data.can_run { (cx.region("run", now(data.run.as_ref(), cx))) }
            (cx.region("reports", reports(data, cx)))
        }
    }
}

fn now(run: Option<&DrillRun>, cx: &Context) -> Markup {
    let is_under_way = run.is_some_and(|run| run.ended.is_none());
    html! {
        section.card.stack aria-labelledby="run-title" {
            h2 #run-title { "Kill workers, now" }
            p.muted {
                "Starts a Postgres, an API and three workers beside this one, gives them jobs, kills workers with "
                code { "kill -9" } " at the worst moments, and checks that every job ran and took effect once. About half a minute."
            }
            @if !is_under_way {
                @if cx.may_operate {
                    (cx.form("/drills/run", &html! { button.primary type="submit" { "Run kill-worker" } }))
                } @else {
                    p.muted { "Running it takes a token of the role operate." }
                }
            }
            @if let Some(run) = run { (told(run, cx)) }
        }
    }
}

fn told(run: &DrillRun, cx: &Context) -> Markup {
    html! {
        div.drill {
            p {
                @match &run.ended {
                    None => { (badge(Tone::Busy, "under way")) " begun " (cx.age(run.began)) },
                    Some(Ok(name)) => {
                        (badge(Tone::Good, "passed")) " begun " (cx.age(run.began)) ": "
                        a href=(cx.url(&format!("/drills/reports/{name}"))) { "what it did to whom, and what was checked" }
                    },
                    Some(Err(why)) => { (badge(Tone::Bad, "failed")) " begun " (cx.age(run.began)) ": " (why) },
                }
            }
            (lanes(&run.lines))
            ol.told reversed aria-label="What the drill tells, the latest first" {
                @for line in run.lines.iter().rev() { li { (line.trim()) } }
            }
        }
    }
}

/// What a worker went through, in seconds since the load began.
#[derive(Debug, PartialEq)]
struct Fall {
    worker: usize,
    down_s: f64,
    up_s: Option<f64>,
    how: String,
}

/// Lanes at most, and how much of a lane a second is when little has happened yet.
const MAX_LANES: usize = 16;
const LEAST_S: f64 = 20.0;
/// The drawing, in units of its view box.
const WIDTH: f64 = 900.0;
const LABEL: f64 = 80.0;
const LANE: f64 = 22.0;

/// A lane for each worker: when it was dead.
fn lanes(lines: &[Arc<str>]) -> Markup {
    let falls = falls(lines);
    if falls.is_empty() {
        return html! {};
    }
    let lanes = falls.iter().map(|fall| fall.worker + 1).max().unwrap_or(0).max(3);
    let end_s = falls.iter().map(|fall| fall.up_s.unwrap_or(fall.down_s + 1.0)).fold(LEAST_S, f64::max) + 1.0;
    let x = |seconds: f64| LABEL + (WIDTH - LABEL) * seconds / end_s;
    #[expect(clippy::cast_precision_loss, reason = "at most 16 lanes")]
    let y = |lane: usize| lane as f64 * LANE + LANE;
    let label = format!("{} deaths of {lanes} workers; the list below tells each", falls.len());
    html! {
        div.lanes-room tabindex="0" role="region" aria-label="Deaths of workers" {
        svg.lanes viewBox={ "0 0 " (WIDTH) " " (y(lanes) + 4.0) } role="img" aria-label=(label) {
            @for second in (0..).step_by(5).take_while(|second| f64::from(*second) < end_s) {
                line.grid x1=(x(f64::from(second))) x2=(x(f64::from(second))) y1="14" y2=(y(lanes)) {}
                text x=(x(f64::from(second)) + 2.0) y="11" { (second) " s" }
            }
            @for lane in 0..lanes {
                text x="0" y=(y(lane) + 14.0) { "worker " (lane) }
                rect.up x=(x(0.0)) y=(y(lane) + 4.0) width=(WIDTH - LABEL) height=(LANE - 8.0) rx="3" {}
            }
            @for fall in falls.iter().filter(|fall| fall.worker < MAX_LANES) {
                @let (from, to) = (x(fall.down_s), x(fall.up_s.unwrap_or(end_s)));
                rect.down x=(format!("{from:.1}")) y=(y(fall.worker) + 4.0) width=(format!("{:.1}", (to - from).max(3.0))) height=(LANE - 8.0) rx="3" {
                    title { (fall.how) }
                }
            }
        }
        }
    }
}

/// Reads `4.8 s  kill -9 of worker 0` and `5.3 s  over: kill -9 of worker 0`.
fn falls(lines: &[Arc<str>]) -> Vec<Fall> {
    let mut falls: Vec<Fall> = Vec::new();
    for line in lines {
        let Some((at, what)) = line.trim().split_once(" s  ") else { continue };
        let Ok(at_s) = at.trim().parse::<f64>() else { continue };
        if let Some(over) = what.strip_prefix("over: ") {
            if let Some(fall) = falls.iter_mut().rev().find(|fall| fall.how == over && fall.up_s.is_none()) {
                fall.up_s = Some(at_s);
            }
            continue;
        }
        let worker = what.split_once("worker ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        if let Some(worker) = worker.filter(|worker| *worker < MAX_LANES) {
            falls.push(Fall { worker, down_s: at_s, up_s: None, how: what.to_owned() });
        }
    }
    falls
}

fn reports(data: &Data, cx: &Context) -> Markup {
    let Some((dir, read)) = &data.reports else {
        return parts::empty(
            "No reports are shown here",
            &html! {
                p { "Run drills with " code { "--report" } ", and name the same directory to the server:" }
                pre { "faultline drill run fast --report drills\nfaultline serve --drill-reports drills" }
            },
        );
    };
    let reports = match read {
        Ok(reports) => reports,
        Err(why) => {
            return parts::empty("The reports can't be read", &html! { p { (dir) ": " (why) } });
        }
    };
    if reports.shown.is_empty() && reports.unreadable.is_empty() {
        return parts::empty(
            "No drill has been run yet",
            &html! {
                p { "Reports appear here once they are in " code { (dir) } ":" }
                pre { "faultline drill run kill-worker --report " (dir) }
            },
        );
    }
    html! {
        div.scroll {
            table {
                thead { tr {
                    th scope="col" { "Verdict" } th scope="col" { "Drill" } th scope="col" { "Run" } th scope="col" { "What was done" }
                    th.num scope="col" { "Jobs" } th.num scope="col" { "Lost" } th.num scope="col" { "Duplicated" }
                    th.num scope="col" { "Refused" } th.num scope="col" { "Recovery" } th.num scope="col" { "Invariants held" }
                    th scope="col" { span.sr { "Report" } }
                } }
                tbody { @for report in &reports.shown { (row(report, cx)) } }
            }
        }
        @if reports.has_more { p.muted { "Older ones are in " code { (dir) } "." } }
        @if !reports.unreadable.is_empty() {
            p.muted { "Not readable as reports: " (reports.unreadable.join(", ")) "." }
        }
    }
}

fn row(report: &Report, cx: &Context) -> Markup {
    let Summary { drill, seed, duration_s, workers, passed, jobs, faults, lost, duplicated_effects, .. } =
        &report.summary;
    let (held, violated, unchecked) = report.summary.invariants;
    let faults: Vec<String> = faults.iter().map(|(fault, times)| format!("{times} × {fault}")).collect();
    let recovery = report.summary.recovery;
    let s = |ms: f64| format!("{:.1} s", ms / 1000.0);
    html! {
        tr data-key=(report.name) {
            td { (badge(if *passed { Tone::Good } else { Tone::Bad }, if *passed { "passed" } else { "FAILED" })) }
            th.whole scope="row" { (drill) div.sub { "seed " (seed) } }
            td.whole { (cx.age(report.at)) div.muted { (duration_s) " s, " (workers) " workers" } }
            td { @if faults.is_empty() { "–" } @else { (faults.join(", ")) } }
            td.num { (jobs) }
            td.num.bad[*lost > 0] { (lost) }
            td.num.bad[*duplicated_effects > 0] { (duplicated_effects) }
            td.num { (report.summary.stale_writes_refused) }
            td.num {
                @match &recovery {
                    Some(took) => { (s(took.p50_ms)) div.muted { "p99 " (s(took.p99_ms)) ", longest " (s(took.max_ms)) ", of " (took.count) } }
                    None => { "–" }
                }
            }
            td.num {
                (held) " of " (held + violated)
                @if violated > 0 { div.bad { (violated) " violated" } }
                div.muted { (unchecked) " not of this drill" }
            }
            td { a href=(cx.url(&format!("/drills/reports/{}", report.name))) { "Report" span.sr { " of " (report.name) } } }
        }
    }
}

async fn run(State(dashboard): State<Arc<Dashboard>>, act: Act) -> Response {
    let Some(runner) = dashboard.source.drills.runner() else {
        return act.refused("There is no drill to run here", "Drills are run from here under `faultline dev` only.");
    };
    match runner.start() {
        Ok(()) => {
            tracing::info!(actor = %act.actor, "a drill is run from the dashboard");
            act.done("/drills", "It runs: watch it below.")
        }
        Err(why) => act.refused("The drill does not start", &why),
    }
}

async fn report(State(dashboard): State<Arc<Dashboard>>, visitor: Visitor, Path(name): Path<String>) -> Response {
    let drills = dashboard.source.drills.clone();
    drop(visitor);
    let page = tokio::task::spawn_blocking(move || drills.page(&name)).await;
    match page.ok().flatten() {
        Some(page) => {
            let headers =
                [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, REPORT_POLICY)];
            (headers, page).into_response()
        }
        None => {
            layout::message(&dashboard, StatusCode::NOT_FOUND, "There is no such report", "It may have been removed.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Arc<str>> {
        text.lines().map(Arc::from).collect()
    }

    #[test]
    fn what_a_drill_tells_becomes_falls_of_workers() {
        let told = lines(
            "  seed 3, 10 faults planned\n  the API and 3 workers run on a Postgres of their own\n\
             \x20   1.0 s  worker 1 dies at mid-handler\n    2.0 s  over: worker 1 dies at mid-handler\n\
             \x20   4.8 s  kill -9 of worker 0\n  healed; waiting until everything due has ended",
        );
        let fall = |worker, down_s, up_s, how: &str| Fall { worker, down_s, up_s, how: how.to_owned() };
        let expected =
            [fall(1, 1.0, Some(2.0), "worker 1 dies at mid-handler"), fall(0, 4.8, None, "kill -9 of worker 0")];
        assert_eq!(falls(&told), expected);
    }

    #[test]
    fn what_it_tells_is_escaped() {
        let cx = Context::for_test();
        let lines = lines("  1.0 s  kill -9 of worker 0 <img src=x onerror=alert(1)>");
        let run = DrillRun { began: cx.now, lines, ended: Some(Err("<b>".into())) };
        let html = told(&run, &cx).into_string();
        assert!(!html.contains("<img") && !html.contains("<b>"), "{html}");
    }
}
