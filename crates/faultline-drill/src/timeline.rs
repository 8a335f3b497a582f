//! The report as one HTML page that needs nothing else: the figures, the timeline drawn, the invariants.

use crate::report::Report;
use faultline_check::Status;
use faultline_check::witness::{Event, FaultKind, Witnesses};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use uuid::Uuid;

/// Jobs that are drawn; more make a line thinner than the eye sees.
const MAX_JOBS: usize = 600;
/// Width of the drawing.
const WIDTH: f64 = 1200.0;
/// Height of a job's line.
const ROW: f64 = 5.0;
/// Colours of workers, in the order of their first claim.
const COLOURS: [&str; 8] = ["#4878a8", "#e49444", "#5a9e6f", "#967bb6", "#85b6b2", "#b8860b", "#7f7f7f", "#d1615d"];

const STYLE: &str = "body{font:14px system-ui,sans-serif;margin:2rem;max-width:1260px;color:#222;background:#fff}\
    pre{background:#f5f5f5;padding:1rem;overflow:auto}table{border-collapse:collapse}td{padding:.2rem .8rem .2rem 0;\
    vertical-align:top;border-top:1px solid #ddd}.bad{color:#b00;font-weight:bold}.none{color:#777}svg{width:100%;height:auto}";

/// The page.
pub(crate) fn html(report: &Report, witnesses: &Witnesses) -> String {
    let (verdict, class) = if report.passed { ("passed", "") } else { ("FAILED", "bad") };
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>drill {name}</title><style>{STYLE}</style>\
         <h1>{name}: <span class=\"{class}\">{verdict}</span></h1><pre>{table}</pre><h2>Timeline</h2>\
         <p>Each line is a job, from its enqueue (grey: waiting) through its leases (a colour a worker). A red end: the lease \
         was reaped. A green dot: succeeded; a black one: failed. Red bands and lines are faults.</p>",
        name = report.drill,
        table = escape(&report.table()),
    );
    draw(&mut page, witnesses);
    page.push_str("<h2>Invariants</h2><table>");
    for outcome in &report.verdict.outcomes {
        let said = match &outcome.status {
            Status::Passed => format!("held, {} examined", outcome.examined),
            Status::NotChecked { reason } => format!("<span class=none>not checked: {}</span>", escape(reason)),
            Status::Violated { count, violations } => {
                let shown: Vec<String> = violations.iter().take(20).map(|v| escape(&v.to_string())).collect();
                format!("<span class=bad>violated {count} times</span><pre>{}</pre>", shown.join("\n"))
            }
        };
        let _ = write!(page, "<tr><td>{}<td>{}<td>{said}", outcome.number, escape(outcome.title));
    }
    page.push_str("</table></html>\n");
    page
}

fn draw(page: &mut String, witnesses: &Witnesses) {
    let events = witnesses.events.as_deref().unwrap_or_default();
    let Some((from, to)) = events.iter().map(|e| (e.at_us, e.at_us)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else {
        return;
    };
    let mut jobs: BTreeMap<(i64, Uuid), Vec<&Event>> = BTreeMap::new();
    let mut born: HashMap<Uuid, i64> = HashMap::new();
    for event in events {
        let at = *born.entry(event.job).or_insert(event.at_us);
        jobs.entry((at, event.job)).or_default().push(event);
    }
    #[expect(clippy::cast_precision_loss, reason = "a drawing's coordinates need no more than a float holds")]
    let (x, height) = (
        |at: i64| (at - from) as f64 / (to - from).max(1) as f64 * WIDTH,
        jobs.len().min(MAX_JOBS) as f64 * ROW + 20.0,
    );
    let _ = write!(
        page,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"timeline of jobs and faults\">"
    );
    for second in 0..=(to - from) / 5_000_000 {
        let at = x(from + second * 5_000_000);
        let _ = write!(
            page,
            "<path d=\"M{at:.1} 12V{height:.0}\" stroke=\"#eee\"/><text x=\"{at:.1}\" y=\"10\" font-size=\"9\" fill=\"#777\">{} s</text>",
            second * 5
        );
    }
    for fault in witnesses.nemesis.iter().flatten() {
        let (start, end) = (x(fault.began_us), x(fault.ended_us.unwrap_or(to)));
        let fill = if fault.kind == FaultKind::Stop { "#e8a33d" } else { "#d33" };
        let title = format!("{:?} {}", fault.kind, fault.process.as_deref().unwrap_or(""));
        let _ = write!(
            page,
            "<rect x=\"{start:.1}\" y=\"12\" width=\"{:.1}\" height=\"{height:.0}\" fill=\"{fill}\" opacity=\".25\"><title>{}</title></rect>",
            (end - start).max(1.5),
            escape(&title)
        );
    }
    let mut colours: HashMap<Uuid, &str> = HashMap::new();
    let mut y = 16.0;
    for events in jobs.values().take(MAX_JOBS) {
        job(page, events, y, &x, &mut colours);
        y += ROW;
    }
    page.push_str("</svg>");
    if jobs.len() > MAX_JOBS {
        let _ = write!(page, "<p>The first {MAX_JOBS} of {} jobs.</p>", jobs.len());
    }
}

fn job(
    page: &mut String,
    events: &[&Event],
    y: f64,
    x: &impl Fn(i64) -> f64,
    colours: &mut HashMap<Uuid, &'static str>,
) {
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return };
    let (start, end) = (x(first.at_us), x(last.at_us));
    let mid = y + ROW / 2.0;
    let _ =
        write!(page, "<path d=\"M{start:.1} {mid:.1}H{end:.1}\" stroke=\"#ccc\"><title>{}</title></path>", first.job);
    let mut claim: Option<&Event> = None;
    for event in events {
        if event.is_claim() {
            claim = Some(event);
        } else if event.leaves_running()
            && let Some(claim) = claim.take()
        {
            let next = COLOURS[colours.len() % COLOURS.len()];
            let colour = claim.owner.map_or("#999", |owner| colours.entry(owner).or_insert(next));
            let (from, to) = (x(claim.at_us), x(event.at_us));
            let title = format!("{} attempt {}: {}", event.job, claim.attempt, event.reason.as_str());
            let _ = write!(
                page,
                "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"4\" fill=\"{colour}\"><title>{}</title></rect>",
                (to - from).max(0.8),
                escape(&title)
            );
            if event.reason.is_reap() {
                let _ = write!(page, "<path d=\"M{to:.1} {y:.1}v4\" stroke=\"#d00\" stroke-width=\"2\" />");
            }
        }
        if event.is_terminal() {
            let good = event.to == Some(faultline_check::witness::State::Succeeded);
            let fill = if good { "#2a8f3c" } else { "#111" };
            let _ = write!(page, "<circle cx=\"{:.1}\" cy=\"{mid:.1}\" r=\"1.6\" fill=\"{fill}\" />", x(event.at_us));
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
