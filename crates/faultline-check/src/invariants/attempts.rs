//! 20 to 24: what an attempt costs, when the next one comes, and who pays for a crash.

use std::collections::{HashMap, HashSet};

use crate::ground::{Ground, Life};
use crate::verdict::{Findings, Found, NotCheckable};
use crate::witness::{Action, Answer, Event, FaultKind, Reason, Sample, State};

/// Invariant 20.
pub(super) fn attempts_add_up(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    for life in ground.lives()? {
        for (before, event) in life.steps() {
            found.examine();
            let added = event.attempt - before.attempt;
            let right = match (event.from, event.to) {
                _ if event.is_claim() => added == 1,
                (Some(State::Running), Some(State::Queued)) => match event.reason {
                    Reason::Released | Reason::Snoozed => added == -1,
                    Reason::Expired | Reason::Lost => added == 0 || added == -1,
                    _ => added == 0,
                },
                _ => added == 0,
            };
            if !right {
                found.violated(Some(life.job), "its count of attempts does not add up", &[before, event]);
            } else if event.attempt > event.max_attempts {
                found.violated(Some(life.job), "was started more often than it may be", &[event]);
            }
        }
    }
    let mut started = HashSet::new();
    for operation in ground.operations(Action::HandlerStart).unwrap_or_default() {
        let Some(held) = operation.held() else { continue };
        found.examine();
        if !started.insert(held) {
            found.violated(Some(held.0), "a handler was started twice under one lease", &[operation]);
        }
    }
    Ok(found)
}

/// Invariant 21.
pub(super) fn endings_have_a_cause(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    let returned: HashSet<_> = ground
        .operations(Action::HandlerEnd)?
        .iter()
        .filter(|o| o.record.answer == Some(Answer::Returned))
        .filter_map(|o| o.held())
        .collect();
    for end in ground.lives()?.filter_map(Life::end).filter(|end| end.to == Some(State::Succeeded)) {
        found.examine();
        if !end.lease.is_some_and(|lease| returned.contains(&(end.job, lease))) {
            found.violated(Some(end.job), "succeeded, but no handler returned well under that lease", &[end]);
        }
    }
    for row in ground.end()?.iter().filter(|row| row.state == State::Failed) {
        found.examine();
        if row.reason.is_none() || !row.has_error {
            found.violated(Some(row.job), "failed without a stored reason and error", &[]);
        }
    }
    Ok(found)
}

/// Invariant 22.
pub(super) fn delays_stay_inside_the_envelope(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    let run = ground.run;
    for life in ground.lives()? {
        for (before, event) in life.steps() {
            if event.is_claim() {
                found.examine();
                if event.at_us < before.next_run_us {
                    found.violated(Some(life.job), "was claimed before it was due", &[before, event]);
                }
            } else if event.to == Some(State::Queued) && event.reason == Reason::Failed {
                found.examine();
                let envelope = envelope_us(run.backoff_base_us, run.backoff_cap_us, event.attempt);
                let delay = event.next_run_us - event.at_us;
                if delay > envelope || delay < -run.clock_tolerance_us {
                    let what = format!("is to be tried again after {delay} us, outside of 0 to {envelope} us");
                    found.violated(Some(life.job), what, &[event]);
                }
            }
        }
    }
    Ok(found)
}

/// `min(cap, base * 2^(attempt - 1))`, for any attempt.
fn envelope_us(base_us: i64, cap_us: i64, attempt: i32) -> i64 {
    let doublings = u32::try_from(attempt - 1).unwrap_or(0).min(62);
    base_us.saturating_mul(1 << doublings).min(cap_us)
}

/// Invariant 23. Time in an outage does not count, nor does the time in which leases of an outage run out. Nobody waits in a circle either.
pub(super) fn no_convoy(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    if ground.run.deadlocks > 0 {
        found.violated(None, format!("the database had to end {} deadlocks", ground.run.deadlocks), &[]);
    }
    let mut claims: Vec<i64> =
        ground.lives()?.flat_map(|life| &life.events).filter(|e| e.is_claim()).map(|e| e.at_us).collect();
    claims.sort_unstable();
    let mut waiting_since: HashMap<&str, i64> = HashMap::new();
    for sample in ground.samples()? {
        let Sample::Queue(queue) = sample else { continue };
        if queue.claimable == 0 || queue.free_slots == 0 {
            waiting_since.remove(queue.queue.as_str());
            continue;
        }
        found.examine();
        let since = waiting_since.entry(&queue.queue).or_insert(queue.at_us);
        let outage = ground.last_outage_before(queue.at_us).unwrap_or(i64::MIN);
        let last_claim = claims[..claims.partition_point(|at| *at <= queue.at_us)].last().copied().unwrap_or(i64::MIN);
        *since = (*since).max(outage).max(last_claim);
        let waited = queue.at_us - *since;
        if waited > ground.run.claim_gap_bound_us {
            let what = format!(
                "queue {} had {} jobs due and {} free slots, and nothing was claimed for {waited} us before {} us",
                queue.queue, queue.claimable, queue.free_slots, queue.at_us
            );
            found.violated(None, what, &[]);
            *since = queue.at_us;
        }
    }
    Ok(found)
}

/// Invariant 24. Judged where poison is the only thing that kills.
pub(super) fn poison_is_contained(ground: &Ground<'_>) -> Found {
    let poison: HashSet<_> = ground.run.poison.iter().collect();
    if poison.is_empty() {
        return Err(NotCheckable("the run had no job that kills its process".to_owned()));
    }
    let others =
        |kind| matches!(kind, FaultKind::Kill | FaultKind::Stop | FaultKind::Partition | FaultKind::DatabaseDown);
    if ground.faults().unwrap_or_default().iter().any(|fault| others(fault.kind)) {
        return Err(NotCheckable("other faults cost attempts too".to_owned()));
    }
    let mut found = Findings::default();
    for life in ground.lives()? {
        found.examine();
        if poison.contains(&life.job) {
            let contained =
                life.end().is_some_and(|end| end.to == Some(State::Failed) && end.reason == Reason::CrashLoop);
            if !contained {
                found.violated(Some(life.job), "kills its process, but did not end in a crash loop", &[life.last()]);
            }
            continue;
        }
        let charged: Vec<&Event> = life
            .steps()
            .filter(|(before, event)| event.reason.is_reap() && event.attempt == before.attempt)
            .map(|(_, event)| event)
            .collect();
        if charged.len() > 1 {
            found.violated(
                Some(life.job),
                "a neighbour of poison lost more than one attempt",
                &[charged[0], charged[1]],
            );
        } else if life.end().is_some_and(|end| end.reason == Reason::CrashLoop) {
            found.violated(Some(life.job), "a neighbour of poison ended in a crash loop", &[life.last()]);
        }
    }
    Ok(found)
}
