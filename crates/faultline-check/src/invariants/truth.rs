//! 36 to 40: what the system says of itself, what it holds on to, and that the run proved something.

use std::collections::{BTreeMap, HashSet};

use super::is_killed;
use crate::ground::{Ground, Hold, Life};
use crate::recovery::{of_killed, percentile};
use crate::verdict::{Findings, Found, NotCheckable};
use crate::witness::{
    Action, Answer, Event, Fault, FaultKind, Operation, Phase, Place, Reason, Required, Sample, State,
};

/// Invariant 36. Nothing is counted that did not happen; everything that happened is counted where no process that counted was killed.
pub(super) fn metrics_tell_the_truth(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    let mut last: BTreeMap<&str, &BTreeMap<String, f64>> = BTreeMap::new();
    for sample in ground.samples()? {
        let (process, answered, at_us, what) = match sample {
            Sample::Metrics(m) => (m.process.as_str(), m.answered, m.at_us, "/metrics"),
            Sample::Health(h) => (h.process.as_str(), h.answered, h.at_us, "/health"),
            _ => continue,
        };
        found.examine();
        if !answered {
            found.violated(None, format!("{what} of {process} did not answer at {at_us} us"), &[]);
        } else if let Sample::Metrics(metrics) = sample {
            last.insert(process, &metrics.values);
        }
    }
    if ground.run.asynchronous_failover {
        return Ok(found);
    }
    // What a process that was killed has counted went with it.
    let started = ground.operations(Action::HandlerStart).unwrap_or_default();
    let silent = |o: &&Operation| !last.contains_key(o.record.process.as_ref());
    let all_told =
        !ground.run.uncounted && !last.keys().any(|process| is_killed(ground, process)) && !started.iter().any(silent);
    // What answers that were cut would have told, whoever does not ask again cannot count.
    let cut = |kind| {
        use FaultKind::{BackendKill, DatabaseDown, Failover, FlakyNetwork, Partition};
        matches!(kind, BackendKill | DatabaseDown | Failover | FlakyNetwork | Partition)
    };
    let cuts = ground.faults().unwrap_or_default().iter().any(|fault| cut(fault.kind));
    let mut events: BTreeMap<&str, u64> = BTreeMap::new();
    for event in ground.lives()?.flat_map(|life| &life.events) {
        *events.entry(event.reason.as_str()).or_default() += 1;
    }
    let mut counted: BTreeMap<&str, f64> = BTreeMap::new();
    for (name, value) in last.values().flat_map(|values| values.iter()) {
        if name != XMIN_AGE {
            *counted.entry(name).or_default() += value;
        }
    }
    for (name, value) in counted {
        found.examine();
        let happened = events.get(name).copied().unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "counts of a run are below 2^53")]
        let uncounted = happened as f64 - value;
        if uncounted < -0.5 || (uncounted > 0.5 && all_told && !(cuts && UNREPEATED.contains(&name))) {
            found.violated(None, format!("the processes counted {value} {name}, the database did {happened}"), &[]);
        }
    }
    Ok(found)
}

const XMIN_AGE: &str = "xmin_age_seconds";
/// Transitions that nobody asks about again when the answer was lost: the API gives up on an enqueue, a reaper looks anew.
const UNREPEATED: [&str; 5] = ["enqueued", "expired", "lost", "crash_loop", "worker_lost"];

/// Invariant 37. A renewal that took as long as a lease did not get through.
pub(super) fn sessions_let_go(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    for sample in ground.samples()? {
        let Sample::Session(session) = sample else { continue };
        found.examine();
        let idle = session.idle_in_transaction_us;
        if idle > ground.run.idle_in_transaction_bound_us {
            let what =
                format!("session {} of {} was idle in a transaction for {idle} us", session.pid, session.application);
            found.violated(None, what, &[]);
        }
        if session.leaked {
            let what = format!("session {} of {} was left behind", session.pid, session.application);
            found.violated(None, what, &[]);
        }
    }
    for operation in ground.operations(Action::Renew).unwrap_or_default() {
        let (Phase::Ok, Some(took)) = (operation.record.phase, operation.took_us()) else { continue };
        found.examine();
        if took > ground.run.lease_ttl_us {
            found.violated(operation.record.job, format!("its renewal took {took} us"), &[operation]);
        }
    }
    Ok(found)
}

/// Invariant 38.
pub(super) fn schedules_fire_once(_: &Ground<'_>) -> Found {
    Err(NotCheckable(
        "no witness tells fire times apart; tests of the schedules hold the daylight-saving cases".to_owned(),
    ))
}

/// Invariant 39.
pub(super) fn the_run_proved_something(ground: &Ground<'_>) -> Found {
    if ground.run.required.is_empty() {
        return Err(NotCheckable("the run required nothing".to_owned()));
    }
    let seen = seen(ground);
    let mut found = Findings::default();
    for (required, at_least) in &ground.run.required {
        found.examine();
        let count = seen.get(required).copied().unwrap_or(0);
        if count < *at_least {
            found.violated(
                None,
                format!("{required:?} happened {count} times, at least {at_least} were required"),
                &[],
            );
        }
    }
    Ok(found)
}

/// How often each thing that may be required happened.
pub(crate) fn seen(ground: &Ground<'_>) -> BTreeMap<Required, u64> {
    let mut seen = BTreeMap::new();
    let mut add = |what: Required, count: usize| {
        seen.insert(what, count as u64);
    };
    if let Ok(lives) = ground.lives() {
        let events: Vec<_> = lives.flat_map(|life| life.events.iter().copied()).collect();
        let count = |test: &dyn Fn(&Reason) -> bool| events.iter().filter(|event| test(&event.reason)).count();
        add(Required::Success, events.iter().filter(|event| event.to == Some(State::Succeeded)).count());
        add(Required::Retry, count(&|reason| *reason == Reason::Failed));
        add(Required::Reap, count(&Reason::is_reap));
        add(Required::LostReap, count(&|reason| *reason == Reason::Lost));
        add(Required::CrashLoop, count(&|reason| *reason == Reason::CrashLoop));
        add(Required::Release, count(&|reason| *reason == Reason::Released));
        add(Required::Renewal, count(&|reason| *reason == Reason::Renewed));
        let late = |event: &&Event| event.lease_expires_us.is_some_and(|expires| event.at_us > expires);
        let successes = events.iter().copied().filter(|event| event.to == Some(State::Succeeded));
        add(Required::LateSuccess, successes.filter(late).count());
    }
    if let Ok(lives) = ground.lives() {
        let outlasted = |hold: &Hold<'_>| {
            let left = hold.left.filter(|left| left.to == Some(State::Succeeded));
            left.is_some_and(|left| left.at_us - hold.claim.at_us > ground.run.lease_ttl_us)
        };
        add(Required::Outlasted, lives.flat_map(Life::holds).filter(outlasted).count());
    }
    if let Ok(operations) = ground.all_operations() {
        let count = |action: Action, test: &dyn Fn(&Operation) -> bool| {
            operations.iter().filter(|o| o.record.action == action && test(o)).count()
        };
        let unknown = |o: &Operation| o.record.phase == Phase::Info;
        let lost = |o: &Operation| o.is(Phase::Fail, Answer::LeaseLost);
        add(Required::RefusedZombie, count(Action::Finish, &lost));
        add(Required::RefusedRenewal, count(Action::Renew, &lost));
        add(Required::AmbiguousEnqueue, count(Action::Enqueue, &unknown));
        add(Required::AmbiguousClaim, count(Action::Claim, &unknown));
        add(Required::AmbiguousFinish, count(Action::Finish, &unknown));
        add(Required::DuplicateHit, count(Action::Enqueue, &|o| o.is(Phase::Ok, Answer::Duplicate)));
        add(Required::Conflict, count(Action::Enqueue, &|o| o.is(Phase::Fail, Answer::Conflict)));
        add(Required::FailedEnqueue, count(Action::Enqueue, &|o| o.record.phase == Phase::Fail));
        add(Required::Shutdown, count(Action::Shutdown, &|o| o.record.phase == Phase::Ok));
        add(Required::Stalled, count(Action::Stalled, &|_| true));
        add(Required::NoSession, count(Action::Connect, &|o| o.record.phase == Phase::Fail));
        add(Required::Claim, count(Action::Claim, &|o| o.record.phase == Phase::Ok));
        add(Required::Reconnect, count(Action::Connect, &|o| o.record.phase == Phase::Ok));
        add(Required::Step, count(Action::HandlerStep, &|o| o.record.deadline_boot_ns.is_some()));
        add(Required::Refused, count(Action::Enqueue, &|o| o.is(Phase::Fail, Answer::Refused)));
        add(Required::ResolvedHappened, count(Action::Resolve, &|o| o.is(Phase::Ok, Answer::Happened)));
        add(Required::ResolvedAbsent, count(Action::Resolve, &|o| o.is(Phase::Ok, Answer::Absent)));
        add(Required::ShutdownAtOnce, count(Action::Shutdown, &|o| o.is(Phase::Ok, Answer::AtOnce)));
    }
    add(Required::LostAck, super::lost_acks(ground).len());
    if let Ok(faults) = ground.faults() {
        let count = |kind: FaultKind| faults.iter().filter(|fault| fault.kind == kind && !fault.missed).count();
        add(Required::Kill, count(FaultKind::Kill));
        add(Required::HeldSnapshot, count(FaultKind::HeldSnapshot));
        add(Required::ClockSkew, count(FaultKind::ClockSkew));
        add(Required::Partition, count(FaultKind::Partition));
        add(Required::BackendKill, count(FaultKind::BackendKill));
        add(Required::Deaf, count(FaultKind::Deaf));
        add(Required::FlakyNetwork, count(FaultKind::FlakyNetwork));
        add(Required::SplitBrain, count(FaultKind::SplitBrain));
        add(Required::Outage, faults.iter().filter(|fault| fault.is_outage()).count());
        add(Required::Recovery, of_killed(ground).iter().filter(|recovered| recovered.next.is_some()).count());
        add(Required::Exit, count(FaultKind::Exited));
        let points = faults.iter().filter(|fault| fault.kind == FaultKind::Kill).filter_map(|fault| fault.at.as_ref());
        add(Required::KillPoint, points.map(|at| &at.point).collect::<HashSet<_>>().len());
        let (shutdowns, finishes) = (ground.operations(Action::Shutdown), ground.operations(Action::Finish));
        let in_outage = |o: &&&Operation| {
            let at_us = o.record.wall_ns / 1000;
            o.record.phase == Phase::Ok && faults.iter().any(|f| f.is_outage() && f.overlaps(at_us, at_us))
        };
        add(Required::ShutdownInOutage, shutdowns.unwrap_or_default().iter().filter(in_outage).count());
        for (what, point) in REFUSED_AT {
            let refused = |o: &&&Operation| o.is(Phase::Fail, Answer::LeaseLost) && stopped_at(faults, point, o);
            add(what, finishes.as_deref().unwrap_or_default().iter().filter(refused).count());
        }
    }
    seen
}

/// The points at which drills stop a worker past its leases.
const REFUSED_AT: [(Required, &str); 4] = [
    (Required::RefusedAfterClaim, "after-claim"),
    (Required::RefusedMidHandler, "mid-handler"),
    (Required::RefusedAfterEffect, "after-effect"),
    (Required::RefusedFinishSent, "finish-sent"),
];

/// Whether the worker was stopped at this point of the very attempt that it finished later.
fn stopped_at(faults: &[Fault], point: &str, finish: &Operation) -> bool {
    let same = |at: &Place| at.lease == finish.record.lease && at.job.is_none_or(|job| finish.record.job == Some(job));
    faults.iter().any(|f| f.kind == FaultKind::Stop && f.is_at(point) && f.at.as_ref().is_some_and(same))
}

/// Invariant 40.
pub(super) fn a_held_snapshot_is_seen_and_survived(ground: &Ground<'_>) -> Found {
    let held: Vec<_> = ground.faults()?.iter().filter(|fault| fault.kind == FaultKind::HeldSnapshot).collect();
    if held.is_empty() {
        return Err(NotCheckable("the run held no snapshot".to_owned()));
    }
    let mut found = Findings::default();
    for fault in held {
        let until = fault.ended_us.unwrap_or(ground.run.ended_us);
        let within = |at_us: i64| at_us >= fault.began_us && at_us <= until;
        let mut claims: Vec<i64> = ground
            .operations(Action::Claim)?
            .iter()
            .filter(|o| o.record.phase == Phase::Ok && within(o.record.wall_ns / 1000))
            .filter_map(|o| o.took_us())
            .collect();
        claims.sort_unstable();
        found.examined += claims.len() as u64;
        if !claims.is_empty() && percentile(&claims, 99) > ground.run.claim_p99_bound_us {
            let what = format!("claims took {} us (99th percentile) under a held snapshot", percentile(&claims, 99));
            found.violated(None, what, &[]);
        }
        // The metric must have come to show at least half of the time.
        #[expect(clippy::cast_precision_loss, reason = "a run lasts less than 2^53 us")]
        let half_s = (until - fault.began_us) as f64 / 2e6;
        let ages = ground.samples()?.iter().filter_map(|sample| match sample {
            Sample::Metrics(m) if within(m.at_us) => m.values.get(XMIN_AGE).copied(),
            _ => None,
        });
        found.examine();
        if ages.fold(0.0, f64::max) < half_s {
            found.violated(
                None,
                format!("{XMIN_AGE} did not show a snapshot that was held for {} s", half_s * 2.0),
                &[],
            );
        }
    }
    Ok(found)
}
