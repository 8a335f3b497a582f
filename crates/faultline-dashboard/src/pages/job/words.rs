//! The words of a timeline: what each phase is called, and what is to be said of it.

use super::timeline::{Outcome, Phase, Run, Timeline, What};
use faultline_core::durations::rough;
use jiff::{SignedDuration, Timestamp};

/// A phase in words.
pub(crate) struct Said {
    /// The name of its colour; the legend and the drawing use the same.
    pub(crate) style: &'static str,
    /// What it is.
    pub(crate) title: String,
    /// What is to be said of it, if anything.
    pub(crate) detail: Option<String>,
}

/// Says what a phase is.
pub(crate) fn phase(timeline: &Timeline, phase: &Phase) -> Said {
    let said = |style, title: &str, detail: Option<String>| Said { style, title: title.to_owned(), detail };
    let is_last = timeline.phases.last() == Some(phase);
    let due_at = timeline.due_at.filter(|_| is_last).map(|at| format!("due at {} UTC", moment(at)));
    match phase.what {
        What::Scheduled => said("later", "Scheduled: waits for its time", due_at),
        What::Due => said("due", "Due: waits for a worker", None),
        What::Waiting => {
            let detail = "The row no longer tells since when it was due: the first retry has moved that time.";
            said("due", "In the queue", Some(detail.to_owned()))
        }
        What::BackOff => said("later", "Back-off: waits before it is tried again", due_at),
        What::BackOffCutShort => {
            let detail = "Somebody moved it to run sooner than its back-off had planned.";
            said("later", "Back-off, cut short", Some(detail.to_owned()))
        }
        What::Snoozed => said("later", "Snoozed: its handler asked to be called again later", due_at),
        What::Running(index) => run(&timeline.runs[index]),
        What::NotRead => {
            said("gap", "Earlier attempts, and the waits between them", Some("Too many to be shown.".into()))
        }
    }
}

fn run(run: &Run) -> Said {
    let (style, what) = match run.outcome {
        Outcome::Running => ("run", "running"),
        Outcome::Overdue => ("lost", "its lease has run out and was not renewed"),
        Outcome::Succeeded => ("good", "succeeded"),
        Outcome::Failed => ("bad", "failed"),
        Outcome::FailedForGood => ("bad", "failed, and with it the job"),
        Outcome::Cancelled => ("calm", "stopped, since somebody asked for that"),
        Outcome::Expired => ("lost", "lost: its lease ran out"),
        Outcome::Lost => ("lost", "lost: its worker was gone"),
        Outcome::Released => ("calm", "given back by its worker"),
        Outcome::Snoozed => ("calm", "asked to be called again later"),
    };
    let mut facts = Vec::new();
    match (run.outcome, run.silent_since) {
        (Outcome::Overdue, Some(since)) => facts.push(format!(
            "The lease ended at {} UTC; nobody holds it since, and any process may take the job back.",
            moment(since)
        )),
        (_, Some(since)) if since <= run.from => facts.push(format!(
            "Nothing was heard of its worker after it had taken the job; {} later the job was taken from it.",
            span(run.until.duration_since(since))
        )),
        (_, Some(since)) => facts.push(format!(
            "Its worker was last heard of at {} UTC; {} later the job was taken from it.",
            moment(since),
            span(run.until.duration_since(since))
        )),
        (Outcome::Expired | Outcome::Lost, None) => {
            facts.push("When its worker fell silent is not known.".to_owned());
        }
        _ => {}
    }
    if let Some(at) = run.renewed_at {
        facts.push(format!("The lease was last renewed at {} UTC.", moment(at)));
    }
    if !run.charged {
        facts.push("Not charged: it does not count as an attempt.".to_owned());
    }
    let detail = (!facts.is_empty()).then(|| facts.join(" "));
    Said { style, title: format!("Attempt {}: {what}", run.number), detail }
}

/// A time of day to the millisecond.
pub(crate) fn moment(at: Timestamp) -> String {
    at.strftime("%T%.3f").to_string()
}

/// How long a phase is.
pub(crate) fn span(duration: SignedDuration) -> String {
    match i64::try_from(duration.as_millis()).unwrap_or(i64::MAX) {
        ..=0 => "under 1 ms".to_owned(),
        ms => rough(ms),
    }
}

/// The whole timeline in a sentence, for those who don't see the drawing.
pub(crate) fn summary(timeline: &Timeline) -> String {
    let attempts = timeline.runs.len();
    let many = if attempts == 1 { "1 attempt".to_owned() } else { format!("{attempts} attempts") };
    let phases = timeline.phases.len();
    let end = match (timeline.end, timeline.phases.last()) {
        (Some((at, state)), _) => format!("it {} at {} UTC", ended(state), moment(at)),
        (None, Some(last)) => format!("now: {}", phase(timeline, last).title),
        (None, None) => "it has just been enqueued".to_owned(),
    };
    format!("The life of the job in {phases} phases with {many}; {end}. The list below says the same.")
}

/// The verb of a state at the end.
pub(crate) fn ended(state: faultline_core::State) -> &'static str {
    match state {
        faultline_core::State::Succeeded => "succeeded",
        faultline_core::State::Failed => "failed",
        faultline_core::State::Cancelled => "was cancelled",
        faultline_core::State::Queued | faultline_core::State::Running => "goes on",
    }
}
