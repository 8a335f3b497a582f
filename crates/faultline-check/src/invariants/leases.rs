//! 12 to 19: who holds a job, and that nobody else can move it.

use std::collections::{HashMap, HashSet};
use uuid::Uuid;

use crate::ground::Ground;
use crate::verdict::{Findings, Found, NotCheckable};
use crate::witness::{Action, Answer, Event, Operation, Phase, Reason, State};

/// Invariant 12. One claim call may take many jobs under one lease; the lease is then theirs, once each, and its owner's alone.
pub(super) fn lease_ids_are_unique(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    let mut owners: HashMap<Uuid, &Event> = HashMap::new();
    let mut taken: HashSet<(Uuid, Uuid)> = HashSet::new();
    ground.needs_events()?;
    for claim in ground.claims() {
        let Some(lease) = claim.lease else { continue };
        found.examine();
        let first = owners.entry(lease).or_insert(claim);
        if first.owner != claim.owner {
            found.violated(Some(claim.job), "its lease id was used by two workers", &[first, claim]);
        } else if !taken.insert((claim.job, lease)) {
            found.violated(Some(claim.job), "was claimed twice under one lease id", &[claim]);
        }
    }
    // What the old primary did before the failover is in both; what it did alone must have other leases.
    for claim in ground.old().iter().flat_map(Ground::claims) {
        let Some(first) = claim.lease.and_then(|lease| owners.get(&lease)) else { continue };
        found.examine();
        if first.owner != claim.owner {
            found.violated(Some(claim.job), "its lease id was used by two workers, one on each side", &[first, claim]);
        }
    }
    // A failover may have rewound the events; the processes remember.
    let mut calls: HashMap<Uuid, &Operation> = HashMap::new();
    for operation in ground.operations(Action::Claim).unwrap_or_default() {
        let Some(lease) = operation.record.lease else { continue };
        if let Some(first) = calls.insert(lease, operation)
            && first.record.process != operation.record.process
        {
            found.violated(None, format!("two processes made lease id {lease}"), &[first, operation]);
        }
    }
    Ok(found)
}

/// Invariant 13.
pub(super) fn no_claim_over_a_claim(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    for life in ground.lives()? {
        for (before, event) in life.steps().filter(|(_, event)| event.to == Some(State::Running)) {
            found.examine();
            let was_held = before.to == Some(State::Running);
            if was_held && (event.is_claim() || (event.lease, event.owner) != (before.lease, before.owner)) {
                found.violated(Some(life.job), "was taken from a holder who had not let go", &[before, event]);
            }
        }
    }
    Ok(found)
}

/// Invariant 14. The log notes the lease that the row had, so that after a reaper or an operator too it is the last claim's.
/// Invariant 15 compares it with what the workers were told.
pub(super) fn only_the_holder_leaves(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    for life in ground.lives()? {
        for hold in life.holds() {
            let Some(left) = hold.left else { continue };
            found.examine();
            if left.lease != hold.claim.lease {
                found.violated(Some(life.job), "was ended under a lease that is not its holder's", &[hold.claim, left]);
            }
        }
    }
    Ok(found)
}

/// Invariant 15. Who was told that it took place has an event under its own lease; who was told that the lease is lost has none.
pub(super) fn the_fence_answers_truly(ground: &Ground<'_>) -> Found {
    if ground.run.asynchronous_failover {
        return Err(NotCheckable("an asynchronous failover takes events with it".to_owned()));
    }
    ground.needs_events()?;
    let mut found = Findings::default();
    let finishes = ground.operations(Action::Finish)?;
    let happened: HashSet<(Uuid, Uuid)> = finishes
        .iter()
        .filter(|o| o.may_have_happened() || o.record.answer != Some(Answer::LeaseLost))
        .filter_map(|o| o.held())
        .collect();
    for operation in finishes {
        let Some((job, lease)) = operation.held() else { continue };
        let left = ground.left_under(job, lease);
        match (operation.record.phase, operation.record.answer) {
            (Phase::Ok, answer) => {
                found.examine();
                match left {
                    None => found.violated(
                        Some(job),
                        "a finish was accepted under a lease that ended nothing",
                        &[operation],
                    ),
                    Some(left) if !agrees(answer, left) => {
                        found.violated(
                            Some(job),
                            "a finish was accepted that the events do not have",
                            &[operation, left],
                        );
                    }
                    Some(_) => {}
                }
            }
            (Phase::Fail, Some(Answer::LeaseLost)) => {
                found.examine();
                let by_holder = left.filter(|left| !left.reason.is_reap());
                if let Some(left) = by_holder
                    && !happened.contains(&(job, lease))
                {
                    found.violated(Some(job), "a finish was refused and took place", &[operation, left]);
                }
            }
            _ => {}
        }
    }
    for operation in ground.operations(Action::Renew)?.iter().filter(|o| o.record.phase == Phase::Ok) {
        let Some((job, lease)) = operation.held() else { continue };
        found.examine();
        let claimed =
            ground.life(job).is_some_and(|life| life.events.iter().any(|e| e.is_claim() && e.lease == Some(lease)));
        if !claimed {
            found.violated(Some(job), "a renewal was accepted under a lease that never held it", &[operation]);
        }
    }
    Ok(found)
}

/// Whether what a worker was told is what happened under its lease.
fn agrees(answer: Option<Answer>, left: &Event) -> bool {
    let told = match answer {
        Some(Answer::Succeeded) => State::Succeeded,
        Some(Answer::Failed) => State::Failed,
        Some(Answer::Cancelled) => State::Cancelled,
        Some(Answer::Queued) => State::Queued,
        _ => return true,
    };
    left.to == Some(told) && !left.reason.is_reap()
}

/// Invariant 16.
pub(super) fn renewals_never_shorten(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    for life in ground.lives()? {
        for (before, event) in life.steps() {
            let same = event.lease.is_some() && event.lease == before.lease;
            if event.is_claim() || event.to != Some(State::Running) || !same {
                continue;
            }
            found.examine();
            if event.lease_expires_us < before.lease_expires_us {
                found.violated(Some(life.job), "its lease became shorter", &[before, event]);
            }
        }
    }
    Ok(found)
}

/// Invariant 17. A reap because of an expired lease comes after its end. One before needs a fault that can have cost the worker its
/// session, and the grace. A reaper has been in contact for the holdoff. Where nothing can have cost a worker its lease, none is reaped.
pub(super) fn no_early_reap(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    if ground.run.unhurt {
        found.examined += ground.lives()?.flat_map(|life| &life.events).filter(|event| event.is_claim()).count() as u64;
    }
    for left in ground.lives()?.flat_map(|life| &life.events).filter(|event| event.reason.is_reap()) {
        let (Some(expires), Some(owner)) = (left.lease_expires_us, left.owner) else { continue };
        if ground.run.unhurt {
            found.examine();
            found.violated(Some(left.job), "was reaped from a worker that nothing had happened to", &[left]);
            continue;
        }
        if left.at_us >= expires {
            found.examine();
            continue;
        }
        if left.reason == Reason::Expired {
            found.examine();
            found.violated(Some(left.job), "was reaped as expired before its lease ended", &[left]);
            continue;
        }
        let latest = left.at_us - ground.run.presence_grace_us + ground.run.clock_tolerance_us;
        let Ok(faults) = ground.faults() else { continue };
        found.examine();
        if !faults.iter().any(|fault| fault.hits(owner) && fault.began_us <= latest) {
            found.violated(
                Some(left.job),
                "was reaped before its lease ended, and nothing had happened to its worker",
                &[left],
            );
        }
    }
    for operation in ground.operations(Action::Reap).unwrap_or_default() {
        let r = &operation.record;
        let (Some(contact_ns), false) = (r.contact_ns, r.jobs.is_empty()) else { continue };
        found.examine();
        if contact_ns / 1000 < ground.run.holdoff_us {
            found.violated(None, "reaped before its holdoff was over", &[operation]);
        }
    }
    Ok(found)
}

/// How long a statement may take from reading the clock to its event, on a machine that is kept busy: a lease is shorter by so much.
const SLOW_STATEMENT_US: i64 = 5_000_000;

/// Invariant 18. A lease lasts as long as it should by the database's clock alone, from the claim and from each renewal.
pub(super) fn leases_are_on_the_databases_clock(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    for event in ground.lives()?.flat_map(|life| &life.events) {
        let (Some(State::Running), Some(expires)) = (event.to, event.lease_expires_us) else { continue };
        found.examine();
        let length = expires - event.at_us;
        let (ttl, tolerance) = (ground.run.lease_ttl_us, ground.run.clock_tolerance_us);
        let short = event.reason != Reason::CancelRequested && length < ttl - tolerance - SLOW_STATEMENT_US;
        if short || length > ttl + tolerance {
            let what =
                format!("has a lease of {length} us instead of {ttl} us: it was not made by the database's clock");
            found.violated(Some(event.job), what, &[event]);
        }
    }
    Ok(found)
}

/// Invariant 19.
pub(super) fn no_step_after_the_deadline(ground: &Ground<'_>) -> Found {
    if !ground.run.strict {
        return Err(NotCheckable("the run was not in strict mode".to_owned()));
    }
    let mut found = Findings::default();
    for operation in ground.operations(Action::HandlerStep)? {
        let Some(deadline) = operation.record.deadline_boot_ns else { continue };
        found.examine();
        if operation.record.boot_ns > deadline {
            found.violated(operation.record.job, "its handler went on after its local deadline", &[operation]);
        }
    }
    Ok(found)
}
