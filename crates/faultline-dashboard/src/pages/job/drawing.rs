//! The drawing of a timeline: a lane for the waits and one for each worker, so that a job is seen to pass from one to the next.
//!
//! Attempts last milliseconds and waits last hours, so that no scale in proportion shows both. Widths grow with the logarithm of
//! the time: ten times as long is one step wider. The drawing says so, and each bar that has room says how long it is.
//! What goes on is drawn as long as the step it has reached, so that it grows now and then and not all the time.
//!
//! All places are in percent of the width and all heights in pixels: text keeps its size on every screen.

use super::timeline::{Outcome, Phase, Timeline, What};
use super::words;
use faultline_core::WorkerId;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

/// Attempts that are drawn at most: the first of them, and the last.
const FIRST_DRAWN: usize = 2;
const LAST_DRAWN: usize = 8;
/// Lanes of workers at most; those beyond share the last.
const MAX_LANES: usize = 5;
/// Heights in pixels: of a lane, of its name, of a bar.
const LANE: usize = 44;
const NAME: usize = 16;
const BAR: usize = 20;
/// The width of the drawing on a phone and on a screen at least, and of a character, in pixels.
const NARROW: f64 = 330.0;
const WIDE: f64 = 900.0;
const CHARACTER: f64 = 6.6;

/// A bar.
struct Bar {
    /// From where to where, in percent.
    from: f64,
    width: f64,
    lane: usize,
    style: &'static str,
    /// From where on it is hatched: nobody is known to hold the job.
    silent_from: Option<f64>,
    /// How long it is, and the same with a word for what it is.
    label: String,
    long_label: String,
    title: String,
    goes_on: bool,
}

/// What is drawn: a phase, or attempts that are left out.
enum Part<'a> {
    Phase(&'a Phase),
    LeftOut(usize, Timestamp, Timestamp),
}

/// Draws a timeline. `host` names a worker.
pub(crate) fn draw(timeline: &Timeline, host: impl Fn(WorkerId) -> String) -> Markup {
    let parts = drawn(timeline);
    let lanes = lanes(timeline, &parts);
    let bars = bars(timeline, &parts, &lanes);
    let height = (lanes.len() + 1) * LANE + 4;
    let shared = lanes.len() == MAX_LANES && workers(timeline, &parts).len() > MAX_LANES;
    html! {
        svg.tl width="100%" height=(height) role="img" aria-label=(words::summary(timeline)) {
            defs {
                pattern #tl-hatch width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    rect.tl-hatch-ground width="6" height="6" {}
                    rect.tl-hatch-line width="3" height="6" {}
                }
            }
            text.tl-name x="0" y="12" { "in the queue" }
            @for (index, worker) in lanes.iter().enumerate() {
                text.tl-name x="0" y=((index + 1) * LANE + 12) {
                    @match worker {
                        _ if shared && index + 1 == MAX_LANES => "other workers",
                        Some(worker) => { "on " (host(*worker)) }
                        None => "on a worker that is not known",
                    }
                }
            }
            @for lane in 0..=lanes.len() {
                line.tl-ground x1="0" x2="100%" y1=(lane * LANE + NAME + BAR) y2=(lane * LANE + NAME + BAR) {}
            }
            @for pair in bars.windows(2) {
                @if pair[0].lane != pair[1].lane {
                    line.tl-link x1=(percent(pair[1].from)) x2=(percent(pair[1].from))
                        y1=(pair[0].lane.min(pair[1].lane) * LANE + NAME) y2=(pair[0].lane.max(pair[1].lane) * LANE + NAME + BAR) {}
                }
            }
            @for bar in &bars { (draw_bar(bar)) }
        }
    }
}

fn draw_bar(bar: &Bar) -> Markup {
    let y = bar.lane * LANE + NAME;
    let fits = |label: &str, width: f64| bar.width / 100.0 * width - 8.0 > text_width(label);
    let text =
        |class: &str, label: &str| html! { text class=(class) x=(percent(bar.from)) y=(y + 14) dx="5" { (label) } };
    let best = |width: f64| [&bar.long_label, &bar.label].into_iter().find(|label| fits(label, width));
    html! {
        g class={ "tl-bar tl-" (bar.style) @if bar.goes_on { " tl-open" } } {
            title { (bar.title) }
            rect x=(percent(bar.from)) y=(y) width=(percent(bar.width)) height=(BAR) rx="2" {}
            @if let Some(silent) = bar.silent_from {
                rect.tl-silent x=(percent(silent)) y=(y) width=(percent(bar.from + bar.width - silent)) height=(BAR) fill="url(#tl-hatch)" {}
            }
            @match (best(NARROW), best(WIDE)) {
                (Some(narrow), Some(wide)) if narrow == wide => (text("tl-label", wide)),
                (narrow, wide) => {
                    @if let Some(label) = narrow { (text("tl-label tl-narrow", label)) }
                    @if let Some(label) = wide { (text("tl-label tl-wide", label)) }
                }
            }
        }
    }
}

/// The phases that are drawn: where there are many attempts, the first and the last of them.
fn drawn(timeline: &Timeline) -> Vec<Part<'_>> {
    let many = timeline.runs.len();
    if many <= FIRST_DRAWN + LAST_DRAWN + 1 {
        return timeline.phases.iter().map(Part::Phase).collect();
    }
    let is_run = |phase: &Phase, index: usize| phase.what == What::Running(index);
    let place = |index: usize| timeline.phases.iter().position(|phase| is_run(phase, index)).unwrap_or_default();
    // What is left out begins behind the last of the first attempts, and ends with the last wait before the others.
    let (first, last) = (place(FIRST_DRAWN - 1) + 1, place(many - LAST_DRAWN));
    let left_out =
        Part::LeftOut(many - FIRST_DRAWN - LAST_DRAWN, timeline.phases[first].from, timeline.phases[last].from);
    let before = timeline.phases[..first].iter().map(Part::Phase);
    before.chain([left_out]).chain(timeline.phases[last..].iter().map(Part::Phase)).collect()
}

/// The workers in the order in which they appear.
fn workers(timeline: &Timeline, parts: &[Part]) -> Vec<Option<WorkerId>> {
    let mut workers = Vec::new();
    for part in parts {
        if let Part::Phase(Phase { what: What::Running(index), .. }) = part {
            let worker = timeline.runs[*index].worker;
            if !workers.contains(&worker) {
                workers.push(worker);
            }
        }
    }
    workers
}

fn lanes(timeline: &Timeline, parts: &[Part]) -> Vec<Option<WorkerId>> {
    let mut lanes = workers(timeline, parts);
    lanes.truncate(MAX_LANES);
    lanes
}

fn bars(timeline: &Timeline, parts: &[Part], lanes: &[Option<WorkerId>]) -> Vec<Bar> {
    let sizes: Vec<f64> = parts
        .iter()
        .map(|part| match part {
            Part::Phase(phase) => size(phase.length(), phase.goes_on),
            Part::LeftOut(..) => 6.0,
        })
        .collect();
    let whole: f64 = sizes.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let mut from = 0.0;
    let mut bars = Vec::with_capacity(parts.len());
    for (part, size) in parts.iter().zip(sizes) {
        let width = size / whole * 100.0;
        bars.push(bar(timeline, part, lanes, from, width));
        from += width;
    }
    bars
}

fn bar(timeline: &Timeline, part: &Part, lanes: &[Option<WorkerId>], from: f64, width: f64) -> Bar {
    let phase = match part {
        Part::Phase(phase) => phase,
        Part::LeftOut(many, since, until) => {
            let long = words::span(until.duration_since(*since));
            let title = format!("{many} attempts that are not drawn, {long}");
            let label = format!("{many} more");
            return Bar {
                from,
                width,
                lane: 0,
                style: "gap",
                silent_from: None,
                long_label: label.clone(),
                label,
                title,
                goes_on: false,
            };
        }
    };
    let said = words::phase(timeline, phase);
    let (lane, silent_from) = match phase.what {
        What::Running(index) => {
            let run = &timeline.runs[index];
            let lane = lanes.iter().position(|worker| *worker == run.worker).map_or(lanes.len(), |index| index + 1);
            (lane, run.silent_since.map(|since| from + width * share(phase, since)))
        }
        _ => (0, None),
    };
    // Its length is not a fact that stands still: the list below counts on.
    let long = if phase.goes_on { String::new() } else { words::span(phase.length()) };
    let sign = match phase.what {
        What::Running(index) => sign(timeline.runs[index].outcome),
        _ => "",
    };
    let word = match phase.what {
        What::Running(index) => outcome_word(timeline.runs[index].outcome),
        What::Scheduled => "scheduled",
        What::Due => "due",
        What::Waiting => "waits",
        What::BackOff | What::BackOffCutShort => "back-off",
        What::Snoozed => "snoozed",
        What::NotRead => "earlier",
    };
    let label = format!("{sign}{long}");
    let long_label = format!("{sign}{word} {long}").trim_end().to_owned();
    let title = if phase.goes_on {
        format!("{}, since {} UTC", said.title, words::moment(phase.from))
    } else {
        format!("{}, {long}", said.title)
    };
    Bar { from, width, lane, style: said.style, silent_from, label, long_label, title, goes_on: phase.goes_on }
}

/// Says with a sign what the colour of an attempt says.
fn sign(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Running => "▸ ",
        Outcome::Succeeded => "✓ ",
        Outcome::Failed | Outcome::FailedForGood => "✕ ",
        Outcome::Overdue | Outcome::Expired | Outcome::Lost => "⚡ ",
        Outcome::Cancelled => "■ ",
        Outcome::Released | Outcome::Snoozed => "↩ ",
    }
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Running => "runs",
        Outcome::Overdue => "lease run out",
        Outcome::Succeeded => "succeeded",
        Outcome::Failed | Outcome::FailedForGood => "failed",
        Outcome::Cancelled => "stopped",
        Outcome::Expired | Outcome::Lost => "lost",
        Outcome::Released => "given back",
        Outcome::Snoozed => "snoozed",
    }
}

/// How wide a phase is against the others: 1 for next to nothing, one more for ten times as long.
fn size(length: SignedDuration, goes_on: bool) -> f64 {
    let step = (1.0 + length.as_secs_f64().max(0.0) / 0.01).log10();
    1.0 + if goes_on { step.ceil() } else { step }
}

/// Where in a phase a time is, by the same scale: the more that came before, the further to the right.
fn share(phase: &Phase, at: Timestamp) -> f64 {
    let (before, after) = (at.duration_since(phase.from), phase.until.duration_since(at));
    if before.is_zero() || before.is_negative() {
        return 0.0;
    }
    let (before, after) = (size(before, false), size(after, false));
    before / (before + after)
}

fn text_width(text: &str) -> f64 {
    f64::from(u32::try_from(text.chars().count()).unwrap_or(u32::MAX)) * CHARACTER
}

fn percent(value: f64) -> String {
    format!("{value:.3}%")
}

#[cfg(test)]
mod tests {
    use super::super::timeline::tests::{attempt, ended, job, running, told};
    use super::*;
    use faultline_core::State;
    use faultline_store::read::{Attempt, Job};

    fn drawing(timeline: &Timeline) -> String {
        draw(timeline, |_| "host-1".into()).into_string()
    }

    /// The widths of the bars, in percent.
    fn widths(drawing: &str) -> Vec<f64> {
        let bars = drawing.split("class=\"tl-bar").skip(1);
        bars.map(|bar| bar.split_once("width=\"").unwrap().1.split_once('%').unwrap().0.parse().unwrap()).collect()
    }

    #[test]
    fn milliseconds_and_days_are_both_seen_and_all_of_them_fill_the_width() {
        let attempts = [attempt(1, "failed", 1, 1, 200_000)];
        let job = ended(Job { attempts: 2, ..job(State::Succeeded) }, Some(200_000), 200_001);
        let widths = widths(&drawing(&told(&job, &attempts, &[], 200_010)));
        assert_eq!(widths.len(), 4);
        assert!((widths.iter().sum::<f64>() - 100.0).abs() < 0.1, "{widths:?}");
        assert!(widths.iter().all(|width| *width > 4.0), "{widths:?}");
        assert!(widths[2] > 2.0 * widths[3], "a wait of days is longer than a second: {widths:?}");
    }

    #[test]
    fn of_many_attempts_the_first_and_the_last_are_drawn_and_the_others_counted() {
        let attempts: Vec<Attempt> = (1..=100)
            .map(|n| attempt(n, "failed", i64::from(n) * 10, i64::from(n) * 10 + 1, i64::from(n) * 10 + 5))
            .collect();
        let timeline = told(&running(Job { attempts: 101, ..job(State::Running) }, 1010, 1030), &attempts, &[], 1015);
        let drawing = drawing(&timeline);
        assert!(drawing.contains("91 attempts that are not drawn"), "{drawing}");
        assert!(widths(&drawing).len() < 40);
    }

    #[test]
    fn a_worker_has_a_lane_and_too_many_share_one() {
        let lanes = |many: i32| {
            let attempts: Vec<Attempt> =
                (1..=many).map(|n| attempt(n, "lost", i64::from(n) * 10, i64::from(n) * 10 + 1, 0)).collect();
            drawing(&told(&Job { attempts: many, ..job(State::Queued) }, &attempts, &[], 500))
                .matches("tl-name")
                .count()
                - 1
        };
        assert_eq!((lanes(2), lanes(5), lanes(9)), (2, 5, 5));
    }

    #[test]
    fn what_goes_on_is_drawn_the_same_for_a_while() {
        let running = running(Job { attempts: 1, ..job(State::Running) }, 1, 1000);
        let at = |now: i64| drawing(&told(&running, &[], &[], now));
        assert_eq!(at(20), at(90));
        assert_ne!(at(20), at(900));
    }

    #[test]
    fn a_part_that_nobody_held_is_hatched() {
        let attempts = [attempt(1, "lost", 10, 20, 0)];
        let timeline = told(&Job { attempts: 1, ..job(State::Queued) }, &attempts, &[(1, 15)], 30);
        assert_eq!(drawing(&timeline).matches("tl-silent").count(), 1);
    }
}
