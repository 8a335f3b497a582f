//! For every invariant: a correct history passes it, and a history that breaks it is caught by it and by no other.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod earlier;
mod good;
mod later;
mod spoil;

use common::{SECOND, World, id, status, violated};
use earlier::EARLIER;
use faultline_check::witness::*;
use faultline_check::{INVARIANTS, Status, Witnesses, check};
use good::{good, poisoned};
use later::{LATER, POISONED};
use spoil::vanish;
use std::collections::BTreeSet;

#[test]
fn a_correct_run_passes_everything_that_it_puts_to_the_test() {
    let verdict = check(&good());
    assert!(verdict.holds(), "{verdict}");
    for invariant in INVARIANTS.iter().filter(|invariant| !matches!(invariant.number, 24 | 38)) {
        assert_eq!(status(&verdict, invariant.number), &Status::Passed, "{invariant:?}\n{verdict}");
    }
    let verdict = check(&poisoned());
    assert!(verdict.holds(), "{verdict}");
    assert_eq!(status(&verdict, 24), &Status::Passed);
}

#[test]
fn every_spoilt_run_is_caught_by_its_invariant_and_no_other() {
    let mut wrong = String::new();
    for (base, spoilt) in [(good as fn() -> Witnesses, EARLIER), (good, LATER), (poisoned, POISONED)] {
        for (number, name, spoil) in spoilt {
            let mut witnesses = base();
            spoil(&mut witnesses);
            let verdict = check(&witnesses);
            if violated(&verdict) != [*number] {
                let found: Vec<_> = verdict.violated().collect();
                wrong += &format!("{number} {name}: {:?}\n{found:#?}\n", violated(&verdict));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_checkable_invariant_has_a_run_that_breaks_it() {
    let broken: BTreeSet<u8> = EARLIER.iter().chain(LATER).chain(POISONED).map(|(number, ..)| *number).collect();
    let all: BTreeSet<u8> = (1..=40).filter(|number| *number != 38).collect();
    assert_eq!(broken, all);
    assert!(INVARIANTS.iter().map(|invariant| invariant.number).eq(1..=40));
}

#[test]
fn what_a_drill_may_require_is_counted() {
    let mut w = good();
    let at = |point: &str, lease| Some(Place { point: point.into(), job: Some(id(4)), lease: Some(id(lease)) });
    let nemesis = w.nemesis.as_mut().unwrap();
    let find = |kind, faults: &mut Vec<Fault>| faults.iter().position(|fault| fault.kind == kind).unwrap();
    let (kill, stop) = (find(FaultKind::Kill, nemesis), find(FaultKind::Stop, nemesis));
    (nemesis[kill].at, nemesis[stop].at) = (at("after-claim", 0xa2), at("mid-handler", 0xc1));
    let another = Fault { at: at("in-renewal", 0), ..nemesis[kill].clone() };
    nemesis.extend([another.clone(), another]);
    let shutdown = w.history.as_mut().unwrap().iter_mut().find(|o| o.record.action == Action::Shutdown).unwrap();
    shutdown.record.answer = Some(Answer::AtOnce);
    shutdown.record.wall_ns = w.nemesis.as_ref().unwrap().iter().find(|f| f.is_outage()).unwrap().began_us * 1000;
    let success = w.events.as_mut().unwrap().iter_mut().find(|e| e.to == Some(State::Succeeded)).unwrap();
    success.lease_expires_us = Some(success.at_us - 1);
    let verdict = check(&w);
    let seen = |what| verdict.seen[&what];
    assert_eq!(seen(Required::KillPoint), 2, "points count once");
    assert_eq!(
        (seen(Required::ShutdownAtOnce), seen(Required::ShutdownInOutage), seen(Required::LateSuccess)),
        (1, 1, 1)
    );
    let refused = [
        Required::RefusedAfterClaim,
        Required::RefusedMidHandler,
        Required::RefusedAfterEffect,
        Required::RefusedFinishSent,
    ];
    assert_eq!(refused.map(seen), [0, 1, 0, 0], "only where that very attempt was stopped");
    assert_eq!(check(&poisoned()).seen[&Required::Exit], 5);
}

#[test]
fn a_fault_that_found_nothing_to_act_on_is_none() {
    let mut w = World::new();
    for (fault, end) in [(1, Phase::Fail), (2, Phase::Ok)] {
        w.fault(fault, Phase::Invoke, FaultKind::Deaf, None);
        w.fault(fault, end, FaultKind::Deaf, None);
    }
    assert_eq!(check(&w.end()).seen[&Required::Deaf], 1);
}

#[test]
fn a_worker_that_could_tell_nobody_may_leave_rows_behind() {
    let stopped_at = |seconds: i64, away: bool| {
        let mut w = good();
        let outage = w.nemesis.as_ref().unwrap().iter().find(|f| f.is_outage()).unwrap().began_us;
        let shutdown = w.history.as_mut().unwrap().iter_mut().find(|o| o.record.action == Action::Shutdown).unwrap();
        // Stopped in the outage, in which it held a job.
        shutdown.record.wall_ns = outage * 1000;
        shutdown.ended_wall_ns = Some((outage + seconds * SECOND) * 1000);
        w.run.last_words_us = if away { SECOND } else { 5 * SECOND };
        violated(&check(&w))
    };
    assert_eq!(stopped_at(2, true), Vec::<u8>::new());
    assert_eq!(stopped_at(2, false), [35], "there was time to tell");
}

#[test]
fn an_outage_of_seven_seconds_is_no_excuse_for_rows_left_behind() {
    let rows_left_after = |seconds: i64| {
        let mut w = good();
        let outage = w.nemesis.as_mut().unwrap().iter_mut().find(|f| f.is_outage()).unwrap();
        let began = outage.began_us;
        outage.ended_us = Some(began + seconds * SECOND);
        let shutdown = w.history.as_mut().unwrap().iter_mut().find(|o| o.record.action == Action::Shutdown).unwrap();
        shutdown.record.wall_ns = began * 1000;
        shutdown.ended_wall_ns = Some((began + 20 * SECOND) * 1000);
        (w.run.last_words_us, w.run.shutdown_bound_us) = (Run::default().last_words_us, 35 * SECOND);
        // Nobody ended what it held.
        let owner = shutdown.record.owner;
        w.events.as_mut().unwrap().retain(|e| e.owner != owner || e.from != Some(State::Running) || e.to == e.from);
        violated(&check(&w)).contains(&35)
    };
    assert!(rows_left_after(7));
    assert!(!rows_left_after(9));
}

#[test]
fn nothing_is_passed_without_witnesses() {
    let verdict = check(&Witnesses::default());
    assert_eq!(verdict.counts(), (0, 0, 40), "{verdict}");
}

#[test]
fn the_waits_of_a_killed_workers_jobs_are_measured() {
    let recovery = check(&good()).recovery.unwrap();
    assert_eq!(recovery.jobs, 1);
    assert!((SECOND..SECOND + SECOND / 10).contains(&recovery.max_us), "{recovery:?}");
}

#[test]
fn an_asynchronous_failover_reports_what_it_lost_instead_of_failing() {
    let mut w = good();
    vanish(&mut w, 7);
    w.run.asynchronous_failover = true;
    let verdict = check(&w);
    assert_eq!(verdict.lost_acks, [id(7)]);
    assert!(
        matches!(status(&verdict, 1), Status::NotChecked { reason } if reason.contains("1 acknowledgements")),
        "{verdict}"
    );
}

/// A run whose failover lost job 7, with the old primary as a witness.
fn failed_over() -> Witnesses {
    let mut w = good();
    vanish(&mut w, 7);
    w.run.asynchronous_failover = true;
    let mut old = good();
    old.run.asynchronous_failover = true;
    w.old = Some(Box::new(old));
    w
}

#[test]
fn acknowledgements_that_the_old_primary_has_are_lost_and_others_are_violations() {
    let verdict = check(&failed_over());
    assert_eq!(verdict.lost_acks, [id(7)]);
    assert_eq!(verdict.seen.get(&Required::LostAck), Some(&1));
    assert!(verdict.holds() && *status(&verdict, 1) == Status::Passed, "{verdict}");
    let mut nowhere = failed_over();
    vanish(nowhere.old.as_mut().unwrap(), 7);
    assert_eq!(violated(&check(&nowhere)), [1]);
}

#[test]
fn the_old_primary_is_judged_for_itself() {
    let mut w = failed_over();
    let (_, _, spoil) = EARLIER.iter().find(|(number, ..)| *number == 13).unwrap();
    spoil(w.old.as_mut().unwrap());
    let verdict = check(&w);
    assert!(violated(&verdict).is_empty() && !verdict.holds(), "{verdict}");
    assert_eq!(violated(verdict.old.as_ref().unwrap()), [13]);
}

#[test]
fn a_lease_id_of_both_sides_has_one_owner() {
    let mut w = failed_over();
    let events = w.old.as_mut().unwrap().events.as_mut().unwrap();
    let lease = events.iter().find(|event| event.is_claim()).unwrap().lease;
    events.iter_mut().filter(|event| event.lease == lease).for_each(|event| event.owner = Some(id(4711)));
    assert!(violated(&check(&w)).contains(&12));
}

/// The first was answered by a primary that took its answer with it.
#[test]
fn a_finish_that_a_failover_lost_may_be_refused_when_it_is_repeated() {
    let mut w = good();
    let history = w.history.as_mut().unwrap();
    let first = history.iter().rfind(|o| o.record.action == Action::Finish && o.record.phase == Phase::Ok).unwrap();
    let mut again = first.clone();
    (again.record.op, again.record.phase, again.record.answer) = (u64::MAX, Phase::Fail, Some(Answer::LeaseLost));
    again.record.boot_ns += 1;
    history.push(again);
    assert!(violated(&check(&w)).contains(&28));
    w.run.asynchronous_failover = true;
    assert!(!violated(&check(&w)).contains(&28));
}

#[test]
fn a_reap_of_what_its_holder_had_finished_is_the_failovers_and_any_other_is_not() {
    let mut w = good();
    let (_, _, spoil) = LATER.iter().find(|(number, ..)| *number == 34).unwrap();
    spoil(&mut w);
    w.run.asynchronous_failover = true;
    assert_eq!(violated(&check(&w)), [34]);
    let reaped: Vec<_> = w.events.iter().flatten().filter(|e| e.reason.is_reap()).map(|e| (e.job, e.lease)).collect();
    let mut ended = w.history.iter().flatten().find(|o| o.record.action == Action::HandlerEnd).unwrap().clone();
    for (job, lease) in reaped {
        (ended.record.job, ended.record.lease) = (Some(job), lease);
        w.history.as_mut().unwrap().push(ended.clone());
    }
    assert!(!violated(&check(&w)).contains(&34));
}
