//! 30 to 35: things that must happen in time.

use std::collections::{HashMap, HashSet};
use uuid::Uuid;

use crate::ground::Ground;
use crate::recovery::of_killed;
use crate::verdict::{Findings, Found, NotCheckable};
use crate::witness::{Action, Answer, Event, Fault, FaultKind, Phase, Reason, State};

/// Invariant 30. After an outage reapers hold off first.
pub(super) fn no_overdue_lease(ground: &Ground<'_>) -> Found {
    let run = ground.run;
    let mut found = Findings::default();
    for (row, _) in ground.rows()?.filter(|(row, _)| row.state == State::Running) {
        let Some(expires) = row.lease_expires_us else { continue };
        found.examine();
        let healed = ground.last_outage_before(row.at_us).map_or(i64::MIN, |ended| ended + run.holdoff_us);
        let overdue = row.at_us - expires.max(healed);
        if overdue > run.reap_bound_us {
            let what = format!("still ran {overdue} us after its lease had ended, in snapshot {}", row.sample);
            found.violated(Some(row.job), what, &[]);
        }
    }
    Ok(found)
}

/// Invariant 31.
pub(super) fn everything_due_ends(ground: &Ground<'_>) -> Found {
    if !ground.run.drained {
        return Err(NotCheckable("the run was not drained".to_owned()));
    }
    let mut found = Findings::default();
    for life in ground.lives()? {
        found.examine();
        let last = life.last();
        let due = last.to == Some(State::Queued) && last.next_run_us <= ground.run.ended_us;
        if life.end().is_none() && (due || last.to == Some(State::Running)) {
            found.violated(Some(life.job), "was due and never ended", &[last]);
        }
    }
    Ok(found)
}

/// Invariant 32. Where an outage came between, only the statistics count the wait.
pub(super) fn recovery_is_bounded(ground: &Ground<'_>) -> Found {
    ground.needs_events()?;
    let faults = ground.faults()?;
    let mut found = Findings::default();
    for recovered in of_killed(ground) {
        let kill_us = recovered.kill.began_us;
        let until = recovered.next.map_or(ground.run.ended_us, |next| next.at_us);
        if faults.iter().any(|fault| fault.is_outage() && fault.overlaps(kill_us, until)) {
            continue;
        }
        found.examine();
        let waited = until - kill_us;
        if waited > ground.run.recovery_bound_us {
            let what = match recovered.next {
                Some(_) => format!("waited {waited} us after its worker was killed at {kill_us} us"),
                None => format!("was not recovered in the {waited} us after its worker was killed"),
            };
            found.violated(Some(recovered.job), what, &[recovered.held]);
        }
    }
    Ok(found)
}

/// Invariant 33. Connects are jittered when no two thirds of the processes begin one within 20 ms after an outage; fewer than six processes
/// are too few to tell. An enqueue is answered in time, never by an internal error, and where nothing stands in its way in every case.
pub(super) fn processes_outlive_an_outage(ground: &Ground<'_>) -> Found {
    const WINDOW_NS: i64 = 20_000_000;
    const ENOUGH: usize = 6;
    let faults = ground.faults()?;
    let mut found = Findings::default();
    for outage in faults.iter().filter(|fault| fault.is_outage()) {
        found.examine();
        let exits = faults.iter().filter(|f| f.kind == FaultKind::Exited && f.began_us >= outage.began_us);
        for exit in exits {
            let process = exit.process.as_deref().unwrap_or("a process");
            found.violated(
                None,
                format!("{process} ended by itself at {} us, after an outage had begun", exit.began_us),
                &[],
            );
        }
        let Some(ended) = outage.ended_us else { continue };
        let mut connects: Vec<(i64, &str)> = ground
            .operations(Action::Connect)?
            .iter()
            .map(|o| (o.record.wall_ns, &*o.record.process))
            .filter(|(at, _)| at / 1000 >= ended)
            .collect();
        connects.sort_unstable();
        let processes = connects.iter().map(|(_, process)| process).collect::<HashSet<_>>().len();
        if let Some((most, at)) = most_within(&connects, 100_000_000)
            && ground.run.connects_per_100ms > 0
            && most > ground.run.connects_per_100ms
        {
            let bound = ground.run.connects_per_100ms;
            found.violated(
                None,
                format!("{most} sessions were opened within 100 ms of {at} ns, more than {bound}"),
                &[],
            );
        }
        for (n, (at, _)) in connects.iter().enumerate().filter(|_| processes >= ENOUGH) {
            let together = connects[n..].iter().take_while(|(other, _)| other - at <= WINDOW_NS);
            let herd = together.map(|(_, process)| process).collect::<HashSet<_>>().len();
            if herd * 3 > processes * 2 {
                found.violated(None, format!("{herd} of {processes} processes connected within 20 ms of {at} ns"), &[]);
                break;
            }
        }
    }
    for operation in ground.operations(Action::Enqueue)? {
        let Some(took) = operation.took_us() else { continue };
        found.examine();
        if took > ground.run.enqueue_deadline_us {
            found.violated(operation.record.job, format!("its enqueue was answered after {took} us"), &[operation]);
        }
    }
    for operation in ground.operations(Action::Enqueue)? {
        let unanswered = operation.record.answer.is_none() && operation.record.phase != Phase::Ok;
        if operation.record.answer == Some(Answer::Broken) {
            found.violated(operation.record.job, "its enqueue was answered by an internal error", &[operation]);
        } else if ground.run.uninterrupted && unanswered {
            found.violated(
                operation.record.job,
                "its enqueue was not answered, and nothing stood in its way",
                &[operation],
            );
        }
    }
    Ok(found)
}

/// The largest number of connects within so long, and when the first of them began.
fn most_within(connects: &[(i64, &str)], window_ns: i64) -> Option<(u64, i64)> {
    let from = |n: usize| connects[n..].partition_point(|(at, _)| at - connects[n].0 < window_ns);
    (0..connects.len()).map(|n| (from(n) as u64, connects[n].0)).max()
}

/// Invariant 34. A worker that another fault has hit before may lose jobs; one that only sat through the outage may not, nor is an
/// attempt charged whose handler neither failed nor used the database.
pub(super) fn an_outage_costs_nothing(ground: &Ground<'_>) -> Found {
    let faults = ground.faults()?;
    let Some(first) = faults.iter().filter(|fault| fault.is_outage()).map(|fault| fault.began_us).min() else {
        return Err(NotCheckable("the run had no outage".to_owned()));
    };
    let was_hit = |owner, at_us| faults.iter().any(|fault| fault.owner == Some(owner) && fault.began_us <= at_us);
    let enqueues = ground.operations(Action::Enqueue).unwrap_or_default();
    let jobs = |with: bool| enqueues.iter().filter(move |o| o.record.effect_tx == with).filter_map(|o| o.record.job);
    let using: HashSet<Uuid> = jobs(true).collect();
    let known: HashSet<Uuid> = jobs(false).collect();
    let ended = ground.operations(Action::HandlerEnd).unwrap_or_default();
    let returned: HashSet<(Uuid, Uuid)> = ended.iter().filter_map(|o| o.held()).collect();
    let erred: HashSet<_> =
        ended.iter().filter(|o| o.record.answer == Some(Answer::Erred)).filter_map(|o| o.held()).collect();
    let mut found = Findings::default();
    for event in ground.lives()?.flat_map(|life| &life.events) {
        let survivor = event.owner.filter(|owner| !was_hit(*owner, event.at_us));
        if event.at_us < first || survivor.is_none() || !event.leaves_running() {
            continue;
        }
        found.examine();
        // A finish that went with an asynchronous failover leaves a lease behind that its holder has let go.
        let let_go =
            ground.run.asynchronous_failover && event.lease.is_some_and(|lease| returned.contains(&(event.job, lease)));
        if event.reason.is_reap() && !let_go {
            found.violated(Some(event.job), "was taken from a worker that had survived the outage", &[event]);
        }
        let failed = matches!(event.reason, Reason::Failed | Reason::AttemptsExhausted);
        let by_handler = using.contains(&event.job)
            || !known.contains(&event.job)
            || event.lease.is_some_and(|lease| erred.contains(&(event.job, lease)));
        if failed && !by_handler {
            found.violated(Some(event.job), "was charged for an outage that its handler had no part in", &[event]);
        }
    }
    Ok(found)
}

/// Invariant 35. Whoever could tell nobody, since the database was away for longer than a worker waits, may leave rows. Rows that a process left are judged by its last lease; a release that is charged also breaks 20.
pub(super) fn shutdowns_are_clean(ground: &Ground<'_>) -> Found {
    let mut held: HashMap<Uuid, Vec<(&Event, Option<&Event>)>> = HashMap::new();
    for life in ground.lives()? {
        for hold in life.holds() {
            if let Some(owner) = hold.claim.owner {
                held.entry(owner).or_default().push((hold.claim, hold.left));
            }
        }
    }
    let mut found = Findings::default();
    for operation in ground.operations(Action::Shutdown)? {
        let r = &operation.record;
        let since = ground.run.ended_us - r.wall_ns / 1000;
        if r.phase == Phase::Invoke && since > ground.run.shutdown_bound_us {
            found.violated(None, format!("{} had not stopped {since} us after the signal", r.process), &[operation]);
        }
        if r.phase != Phase::Ok {
            continue;
        }
        let (Some(owner), Some(exit_ns), Some(took)) = (r.owner, operation.ended_wall_ns, operation.took_us()) else {
            continue;
        };
        found.examine();
        let bound =
            if r.answer == Some(Answer::AtOnce) { ground.run.at_once_bound_us } else { ground.run.shutdown_bound_us };
        if took > bound {
            found.violated(None, format!("{} took {took} us to stop, more than {bound} us", r.process), &[operation]);
        }
        let signal_us = r.wall_ns / 1000;
        let away = |fault: &Fault| {
            let until = fault.ended_us.unwrap_or(i64::MAX).min(exit_ns / 1000);
            fault.is_outage() && until - fault.began_us.max(signal_us) > ground.run.last_words_us
        };
        if r.answer == Some(Answer::AtOnce) || ground.faults().unwrap_or_default().iter().any(away) {
            continue;
        }
        let latest = exit_ns / 1000 + ground.run.clock_tolerance_us;
        for (claim, left) in held.get(&owner).map(Vec::as_slice).unwrap_or_default() {
            if left.is_none_or(|left| left.at_us > latest) {
                found.violated(
                    Some(claim.job),
                    "was still running under a process that had stopped",
                    &[operation, claim],
                );
            }
        }
    }
    Ok(found)
}
