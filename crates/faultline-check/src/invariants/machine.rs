//! 7 to 11: the state machine, and that rows are what their events say.

use std::collections::HashSet;

use crate::ground::Ground;
use crate::verdict::{Findings, Found};
use crate::witness::{Event, JobRow, Reason, State};

use State::{Cancelled, Failed, Queued, Running, Succeeded};

/// Invariant 7.
pub(super) fn legal_edges(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    for event in ground.lives()?.flat_map(|life| &life.events) {
        found.examine();
        if !is_legal(event) {
            found.violated(Some(event.job), "made a transition that does not exist", &[event]);
        }
    }
    Ok(found)
}

fn is_legal(event: &Event) -> bool {
    use Reason as R;
    match (event.from, event.to) {
        (None, Some(Queued)) => event.reason == R::Enqueued,
        (Some(Queued), Some(Queued)) => event.reason == R::Moved,
        (Some(Queued), Some(Running)) => event.reason == R::Claimed,
        (Some(Running), Some(Running)) => matches!(event.reason, R::Renewed | R::CancelRequested),
        (Some(Running), Some(Queued)) => {
            matches!(event.reason, R::Failed | R::Expired | R::Lost | R::Released | R::Snoozed)
        }
        (Some(Running), Some(Succeeded)) => event.reason == R::Completed,
        (Some(Running), Some(Cancelled)) => matches!(event.reason, R::Cancelled | R::WorkerLost),
        (Some(Running), Some(Failed)) => {
            matches!(event.reason, R::AttemptsExhausted | R::CrashLoop | R::Other(_))
        }
        (Some(Queued), Some(Cancelled)) => event.reason == R::Cancelled,
        _ => false,
    }
}

/// Invariant 8. What follows a terminal event is invariant 9's, a claim on top of a claim 13's.
pub(super) fn events_chain(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    for life in ground.lives()? {
        found.examine();
        if life.events[0].from.is_some() {
            found.violated(Some(life.job), "its first event is not its enqueue", &[life.events[0]]);
        }
        for (before, event) in life.steps() {
            found.examine();
            let others = before.is_terminal() || (event.is_claim() && before.to == Some(Running));
            if event.from != before.to && !others {
                found.violated(Some(life.job), "an event does not start where the last one ended", &[before, event]);
            }
        }
    }
    Ok(found)
}

/// Invariant 9. That there is one at all is invariant 31.
pub(super) fn one_terminal_event(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    for life in ground.lives()? {
        let Some(at) = life.events.iter().position(|event| event.is_terminal()) else { continue };
        found.examine();
        if let (end, Some(after)) = (life.events[at], life.events.get(at + 1)) {
            found.violated(Some(life.job), "something happened to it after its end", &[end, after]);
        }
    }
    Ok(found)
}

/// Invariant 10. A row of a snapshot is compared with the last event of the same snapshot, a row of the end with the last of all.
pub(super) fn rows_are_the_fold(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    ground.needs_events()?;
    let mut seen = HashSet::new();
    for (row, seq) in ground.rows()? {
        if !seen.insert((seq == Some(i64::MAX), row.sample, row.job)) {
            found.violated(Some(row.job), format!("has two rows in snapshot {}", row.sample), &[]);
            continue;
        }
        let Some(seq) = seq else { continue };
        found.examine();
        let last = ground.life(row.job).and_then(|life| life.events.iter().rev().find(|event| event.seq <= seq));
        match last {
            None => found.violated(Some(row.job), "has a row and no event", &[]),
            Some(event) => {
                if let Some(what) = difference(row, event) {
                    let text = format!("its row in snapshot {} is not what its events say: {what}", row.sample);
                    found.violated(Some(row.job), text, &[event]);
                }
            }
        }
    }
    if let Ok(end) = ground.end() {
        let rows: HashSet<_> = end.iter().map(|row| row.job).collect();
        for life in ground.lives()?.filter(|life| life.last().to.is_some() && !rows.contains(&life.job)) {
            found.violated(
                Some(life.job),
                "its events say that it exists, but it has no row at the end",
                &[life.last()],
            );
        }
    }
    Ok(found)
}

fn difference(row: &JobRow, event: &Event) -> Option<String> {
    if event.to != Some(row.state) {
        return Some(format!("state {}", row.state));
    }
    if event.attempt != row.attempts {
        return Some(format!("{} attempts", row.attempts));
    }
    if row.state == Running && (row.lease, row.owner) != (event.lease, event.owner) {
        return Some("another lease".to_owned());
    }
    if row.state == Running && row.lease_expires_us != event.lease_expires_us {
        return Some(format!("a lease until {:?} us", row.lease_expires_us));
    }
    None
}

/// Invariant 11.
pub(super) fn shapes_hold(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    for (row, _) in ground.rows()? {
        found.examine();
        let lease =
            [row.lease.is_some(), row.owner.is_some(), row.lease_expires_us.is_some(), row.started_us.is_some()];
        let what = match row.state {
            Running if lease.contains(&false) => "runs without a whole lease",
            Queued if lease.contains(&true) => "waits, but holds part of a lease",
            Queued if row.attempts >= row.max_attempts => "waits without an attempt left",
            _ if row.attempts < 0 || row.attempts > row.max_attempts => "has attempts out of bounds",
            _ => continue,
        };
        found.violated(Some(row.job), format!("{what} in snapshot {}", row.sample), &[]);
    }
    Ok(found)
}
