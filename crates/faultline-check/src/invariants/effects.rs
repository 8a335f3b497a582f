//! 25 to 29: effects, and what nobody could tell at the time.

use std::collections::{HashMap, HashSet};
use uuid::Uuid;

use super::is_killed;
use crate::ground::{Ground, Hold, Life};
use crate::verdict::{Findings, Found, NotCheckable};
use crate::witness::{Action, Answer, FaultKind, Operation, Phase, State};

/// Invariant 25.
pub(super) fn one_effect_a_success(ground: &Ground<'_>) -> Found {
    let mut effects: HashMap<Uuid, u64> = HashMap::new();
    for effect in ground.effects_tx()? {
        *effects.entry(effect.job).or_default() += 1;
    }
    let expected: HashSet<Uuid> = ground
        .operations(Action::Enqueue)?
        .iter()
        .filter(|o| o.record.effect_tx)
        .filter_map(|o| o.record.job)
        .collect();
    let jobs: HashSet<Uuid> = effects.keys().chain(&expected).copied().collect();
    ground.needs_events()?;
    let mut found = Findings::default();
    for job in jobs {
        found.examine();
        let count = effects.get(&job).copied().unwrap_or(0);
        let succeeded = ground.ended_as(job, State::Succeeded);
        if count != u64::from(succeeded) {
            let ended = if succeeded { "succeeded" } else { "did not succeed" };
            found.violated(Some(job), format!("{ended} and has {count} effects in the database"), &[]);
        }
    }
    Ok(found)
}

/// Invariant 26. Every lease but a job's last ended before the next began, so one effect a lease is explained; what nobody claimed is not.
pub(super) fn extra_effects_are_explained(ground: &Ground<'_>) -> Found {
    ground.needs_events()?;
    let mut found = Findings::default();
    let mut seen = HashSet::new();
    for effect in ground.effects_ext()? {
        found.examine();
        let claimed = ground
            .life(effect.job)
            .is_some_and(|life| life.holds().iter().any(|h| h.claim.lease == Some(effect.lease)));
        let lease = format!("lease {}", effect.lease);
        if !claimed && !ground.run.asynchronous_failover {
            found.violated(Some(effect.job), "had an effect outside under a lease that it never had", &[&lease]);
        } else if !seen.insert((effect.job, effect.lease)) {
            found.violated(Some(effect.job), "had two effects outside under one lease", &[&lease]);
        }
    }
    Ok(found)
}

/// Invariant 27. Who lives on after an answer that told nothing asks again, and what it is told then agrees with the database.
pub(super) fn unknowns_resolve(ground: &Ground<'_>) -> Found {
    let existing = ground.existing()?;
    let resolves: HashMap<(&str, u64), &Operation> = ground
        .operations(Action::Resolve)?
        .iter()
        .filter(|o| o.record.phase == Phase::Ok)
        .filter_map(|o| Some(((&*o.record.process, o.record.of?), *o)))
        .collect();
    let claimed: Option<HashSet<Uuid>> = ground.lives().ok().map(|lives| {
        lives.flat_map(|life| &life.events).filter(|event| event.is_claim()).filter_map(|event| event.lease).collect()
    });
    let mut found = Findings::default();
    for operation in ground.all_operations()?.iter().filter(|o| o.record.phase == Phase::Info) {
        let r = &operation.record;
        if !matches!(r.action, Action::Enqueue | Action::Finish | Action::Claim) {
            continue;
        }
        found.examine();
        let Some(resolve) = resolves.get(&(&*r.process, r.op)) else {
            if !is_killed(ground, &r.process) {
                found.violated(r.job, "an unknown was never resolved by the process that had it", &[operation]);
            }
            continue;
        };
        let told = resolve.record.answer == Some(Answer::Happened);
        let is_so = match r.action {
            Action::Enqueue => r.job.or(resolve.record.job).map(|job| existing.contains(&job)),
            Action::Finish => operation
                .held()
                .map(|(job, lease)| ground.left_under(job, lease).is_some_and(|left| !left.reason.is_reap())),
            // Who is told of a claim's jobs finds those that its lease still holds.
            _ if told => r.lease.zip(claimed.as_ref()).map(|(lease, claimed)| claimed.contains(&lease)),
            _ => r.lease.map(|lease| held_at(ground, lease, resolve.record.wall_ns / 1000)),
        };
        // The attempt may have been ended by another finish, sent after this one was found not to have happened.
        let is_explained = !told
            && r.action == Action::Finish
            && ground
                .operations(Action::Finish)?
                .iter()
                .any(|o| o.record.op != r.op && o.held() == operation.held() && o.may_have_happened());
        if is_so.is_some_and(|is_so| is_so != told) && !is_explained && !ground.run.asynchronous_failover {
            found.violated(r.job, "an unknown was resolved against what the database has", &[operation, resolve]);
        }
    }
    Ok(found)
}

/// Whether a lease held a job at a time, for certain.
fn held_at(ground: &Ground<'_>, lease: Uuid, at_us: i64) -> bool {
    let tolerance = ground.run.clock_tolerance_us;
    let is_held = |hold: &Hold<'_>| {
        hold.claim.lease == Some(lease)
            && hold.claim.at_us < at_us - tolerance
            && hold.left.is_none_or(|left| left.at_us > at_us + tolerance)
    };
    ground.lives().is_ok_and(|lives| lives.flat_map(Life::holds).any(|hold| is_held(&hold)))
}

/// Invariant 28. Finishes of one process come in the order in which they began.
pub(super) fn repeating_a_finish_is_idempotent(ground: &Ground<'_>) -> Found {
    if ground.faults().unwrap_or_default().iter().any(|fault| fault.kind == FaultKind::SplitBrain) {
        // A handler's own session may be on the one, its worker's on the other.
        return Err(NotCheckable("two primaries answer for themselves".to_owned()));
    }
    let mut first: HashMap<(Uuid, Uuid), &Operation> = HashMap::new();
    let mut finishes: Vec<&Operation> = ground.operations(Action::Finish)?.to_vec();
    finishes.sort_by_key(|o| o.record.boot_ns);
    let mut found = Findings::default();
    for operation in finishes {
        let Some(held) = operation.held() else { continue };
        let Some(before) = first.get(&held) else {
            if operation.record.phase == Phase::Ok {
                first.insert(held, operation);
            }
            continue;
        };
        // What was refused or lost on the way says nothing about the first; nor does a primary that has never heard of it.
        let refused = operation.is(Phase::Fail, Answer::LeaseLost) && !ground.run.asynchronous_failover;
        let answered = operation.record.phase == Phase::Ok || refused;
        if answered {
            found.examine();
            if operation.record.answer != before.record.answer {
                found.violated(Some(held.0), "a repeated finish was not answered as the first", &[before, operation]);
            }
        }
    }
    Ok(found)
}

/// Invariant 29.
pub(super) fn done_is_only_said_of_what_is(ground: &Ground<'_>) -> Found {
    if ground.run.asynchronous_failover {
        return Err(NotCheckable("an asynchronous failover takes events with it".to_owned()));
    }
    ground.needs_events()?;
    let mut found = Findings::default();
    for operation in ground.operations(Action::Said)? {
        let Some(job) = operation.record.job else { continue };
        found.examine();
        if !ground.ended_as(job, State::Succeeded) {
            found.violated(Some(job), "a log or metric called it done, but it never succeeded", &[operation]);
        }
    }
    Ok(found)
}
