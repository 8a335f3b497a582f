//! Where to find what in the witnesses, to spoil it.

use crate::common::id;
use faultline_check::Witnesses;
use faultline_check::witness::*;

/// Breaks a correct run.
pub(crate) type Spoil = fn(&mut Witnesses);

pub(crate) fn events(w: &mut Witnesses) -> &mut Vec<Event> {
    w.events.as_mut().unwrap()
}

/// The `n`th event of a job.
pub(crate) fn event(w: &mut Witnesses, job: u128, n: usize) -> &mut Event {
    events(w).iter_mut().filter(|e| e.job == id(job)).nth(n).unwrap()
}

pub(crate) fn last_event(w: &mut Witnesses, job: u128) -> &mut Event {
    events(w).iter_mut().rfind(|e| e.job == id(job)).unwrap()
}

/// The `n`th operation that does this with that job.
pub(crate) fn operation(w: &mut Witnesses, action: Action, job: u128, n: usize) -> &mut Operation {
    let all = w.history.as_mut().unwrap().iter_mut();
    all.filter(|o| o.record.action == action && o.record.job == Some(id(job))).nth(n).unwrap()
}

pub(crate) fn end_row(w: &mut Witnesses, job: u128) -> &mut JobRow {
    w.end.as_mut().unwrap().iter_mut().find(|row| row.job == id(job)).unwrap()
}

pub(crate) fn sampled(w: &mut Witnesses, job: u128, in_state: State) -> &mut JobRow {
    let rows = w.samples.as_mut().unwrap().iter_mut().filter_map(|s| match s {
        Sample::Job(row) => Some(row),
        _ => None,
    });
    rows.into_iter().find(|row| row.job == id(job) && row.state == in_state).unwrap()
}

/// A job that nobody sees any more, as if it had never been stored.
pub(crate) fn vanish(w: &mut Witnesses, job: u128) {
    events(w).retain(|e| e.job != id(job));
    w.end.as_mut().unwrap().retain(|row| row.job != id(job));
    w.effects_tx.as_mut().unwrap().retain(|effect| effect.job != id(job));
    w.samples.as_mut().unwrap().retain(|s| !matches!(s, Sample::Job(row) if row.job == id(job)));
    w.history.as_mut().unwrap().retain(|o| o.record.action == Action::Enqueue || o.record.job != Some(id(job)));
    for sample in w.samples.as_mut().unwrap() {
        if let Sample::Metrics(metrics) = sample {
            metrics.values.remove("enqueued");
        }
    }
}

/// An event that copies the last of a job and comes after everything.
pub(crate) fn append(w: &mut Witnesses, job: u128, change: impl Fn(&mut Event)) {
    let mut event = last_event(w, job).clone();
    event.seq = 1_000_000;
    change(&mut event);
    events(w).push(event);
}

pub(crate) fn forget_counters(w: &mut Witnesses) {
    for sample in w.samples.as_mut().unwrap() {
        if let Sample::Metrics(metrics) = sample {
            metrics.values.remove("enqueued");
        }
    }
}

/// The rows of the snapshots no longer say which event they follow.
pub(crate) fn forget_rows(w: &mut Witnesses) {
    for sample in w.samples.as_mut().unwrap() {
        if let Sample::Job(row) = sample {
            row.event_seq = None;
        }
    }
}

pub(crate) fn forget_samples(w: &mut Witnesses) {
    w.samples.as_mut().unwrap().retain(|sample| !matches!(sample, Sample::Job(_)));
}

pub(crate) fn metrics(w: &mut Witnesses, name: &str, value: f64) {
    for sample in w.samples.as_mut().unwrap() {
        if let Sample::Metrics(metrics) = sample
            && metrics.values.contains_key(name)
        {
            metrics.values.insert(name.to_owned(), value);
        }
    }
}
