//! For every invariant: a correct history passes it, and a history that breaks it is caught by it and by no other.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod earlier;
mod good;
mod later;
mod spoil;

use common::{SECOND, id, status, violated};
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
