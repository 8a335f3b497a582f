//! Random runs of a correct system pass; the same with one thing changed are caught.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{API, LEASE_TTL, Process, SECOND, World, id, violated};
use faultline_check::witness::*;
use faultline_check::{Witnesses, check};
use proptest::prelude::*;
use proptest::sample::Index;

/// What may happen next; it does if it can.
#[derive(Debug, Clone, Copy)]
enum Step {
    Enqueue,
    Claim,
    Renew,
    Complete,
    PutBack,
    FailForGood,
    Expire,
    Cancel,
    Snapshot,
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<(Step, Index, u128)>> {
    use Step::*;
    let step = prop_oneof![
        3 => Just(Enqueue), 4 => Just(Claim), 3 => Just(Renew), 3 => Just(Complete), 2 => Just(PutBack),
        1 => Just(FailForGood), 2 => Just(Expire), 1 => Just(Cancel), 1 => Just(Snapshot), 1 => Just(Wait),
    ];
    prop::collection::vec((step, any::<Index>(), 1..4u128), 1..60)
}

/// Runs the steps, then lets everything end.
fn run(steps: &[(Step, Index, u128)]) -> Witnesses {
    let mut world = World::new();
    let (mut jobs, mut leases) = (0, 0);
    world.enqueue(1_000);
    for (step, at, who) in steps {
        take(&mut world, *step, *at, Process(*who), &mut jobs, &mut leases);
    }
    for _ in 0..common::MAX_ATTEMPTS + 1 {
        world.wait(60 * SECOND);
        for job in in_state(&world, State::Running) {
            world.reap(API, job, "expired");
        }
        for job in in_state(&world, State::Queued) {
            leases += 1;
            world.claim(Process(1), &[job], leases);
            complete(&mut world, Process(1), job);
        }
    }
    world.snapshot();
    world.end()
}

fn in_state(world: &World, state: State) -> Vec<u128> {
    world.rows.values().filter(|row| row.state == state).map(|row| row.job.as_u128()).collect()
}

fn complete(world: &mut World, who: Process, job: u128) {
    world.effect(job, false);
    if job.is_multiple_of(2) && job < 1_000 {
        world.effect(job, true);
    }
    world.complete(who, job);
}

fn take(world: &mut World, step: Step, at: Index, who: Process, jobs: &mut u128, leases: &mut u128) {
    let running: Vec<u128> = in_state(world, State::Running);
    let due: Vec<u128> = in_state(world, State::Queued)
        .into_iter()
        .filter(|job| world.rows[&id(*job)].next_run_us <= world.now_us)
        .collect();
    let pick = |from: &[u128]| if from.is_empty() { None } else { Some(*at.get(from)) };
    // Only its holder ends a lease.
    let held = pick(&running).map(|job| (job, Process(world.rows[&id(job)].owner.unwrap().as_u128() - 1_000)));
    match (step, held) {
        (Step::Enqueue, _) => {
            *jobs += 1;
            if jobs.is_multiple_of(2) { world.enqueue_with_effect(*jobs) } else { world.enqueue(*jobs) }
        }
        (Step::Claim, _) if !due.is_empty() => {
            *leases += 1;
            world.claim(who, &due[..due.len().min(1 + at.index(3))], *leases);
        }
        (Step::Renew, Some((job, holder))) => world.renew(holder, job),
        (Step::Complete, Some((job, holder))) => complete(world, holder, job),
        (Step::FailForGood, Some((job, holder))) => world.fail_for_good(holder, job),
        (Step::PutBack, Some((job, holder))) => match at.index(3) {
            0 if world.rows[&id(job)].attempts < common::MAX_ATTEMPTS => {
                world.put_back(holder, job, "failed", 0, SECOND);
            }
            1 => world.put_back(holder, job, "released", 1, -2000),
            _ => world.put_back(holder, job, "snoozed", 1, SECOND),
        },
        (Step::Expire, Some((job, holder))) => {
            world.wait(LEASE_TTL + SECOND);
            let lease = world.rows[&id(job)].lease.unwrap().as_u128();
            world.reap(API, job, "expired");
            world.told(holder, Action::Finish, Phase::Fail, Some(Answer::LeaseLost), (job, lease));
        }
        (Step::Cancel, _) => {
            if let Some(job) = pick(&due) {
                world.leave(job, State::Cancelled, "cancelled", 0, 0);
            }
        }
        (Step::Snapshot, _) if running.is_empty() => world.snapshot(),
        (Step::Wait, _) => world.wait(SECOND),
        _ => {}
    }
}

/// Changes one thing that a correct system never does; false where there is nothing to change.
type Mutation = fn(&mut Witnesses, Index) -> bool;

fn change(w: &mut Witnesses, at: Index, which: fn(&Event) -> bool, how: fn(&mut Event)) -> bool {
    let mut events: Vec<&mut Event> = w.events.as_mut().unwrap().iter_mut().filter(|event| which(event)).collect();
    if events.is_empty() {
        return false;
    }
    let at = at.index(events.len());
    how(events[at]);
    true
}

const MUTATIONS: &[(&str, Mutation)] = &[
    ("an event is dropped", |w, at| {
        let events = w.events.as_mut().unwrap();
        let some: Vec<i64> = events.iter().filter(|e| e.reason != Reason::Renewed).map(|e| e.seq).collect();
        let gone = *at.get(&some);
        events.retain(|event| event.seq != gone);
        true
    }),
    ("an event happens twice", |w, at| {
        let events = w.events.as_mut().unwrap();
        let some: Vec<usize> = (0..events.len()).filter(|n| events[*n].reason != Reason::Renewed).collect();
        let again = events[*at.get(&some)].clone();
        events.push(again);
        true
    }),
    ("a lease ends under another id", |w, at| change(w, at, Event::leaves_running, |e| e.lease = Some(id(0xee)))),
    ("a holder changes", |w, at| change(w, at, |e| e.reason == Reason::Renewed, |e| e.owner = Some(id(0xee)))),
    ("a lease gets shorter", |w, at| {
        change(w, at, |e| e.reason == Reason::Renewed, |e| e.lease_expires_us = Some(e.at_us - 10 * SECOND))
    }),
    ("a lease is too long", |w, at| {
        change(w, at, |e| e.to == Some(State::Running), |e| e.lease_expires_us = Some(e.at_us + 3600 * SECOND))
    }),
    ("an attempt is not counted", |w, at| change(w, at, Event::is_claim, |e| e.attempt -= 1)),
    ("a job is reaped early", |w, at| {
        change(w, at, |e| e.reason == Reason::Expired, |e| e.lease_expires_us = Some(e.at_us + SECOND))
    }),
    ("a claim comes too early", |w, at| change(w, at, Event::is_claim, |e| e.at_us -= 10_000 * SECOND)),
    ("a job ends without a trace", |w, at| {
        change(w, at, Event::is_terminal, |e| (e.to, e.reason) = (None, Reason::Deleted))
    }),
    ("a job is lost", |w, at| {
        let end = w.end.as_mut().unwrap();
        end.swap_remove(at.index(end.len()));
        true
    }),
    ("an effect happens twice", |w, at| {
        let effects = if at.index(2) == 0 { &mut w.effects_tx } else { &mut w.effects_ext };
        let effects = effects.as_mut().unwrap();
        let Some(again) = effects.first().cloned() else { return false };
        effects.push(again);
        true
    }),
    ("a zombie is told that it finished", |w, at| {
        let zombies = w.history.as_mut().unwrap().iter_mut();
        let mut zombies: Vec<_> = zombies.filter(|o| o.record.answer == Some(Answer::LeaseLost)).collect();
        if zombies.is_empty() {
            return false;
        }
        let at = at.index(zombies.len());
        (zombies[at].record.phase, zombies[at].record.answer) = (Phase::Ok, Some(Answer::Succeeded));
        true
    }),
    ("a handler never returned", |w, at| {
        let ends = w.history.as_mut().unwrap().iter_mut();
        let mut ends: Vec<_> = ends.filter(|o| o.record.answer == Some(Answer::Returned)).collect();
        if ends.is_empty() {
            return false;
        }
        let at = at.index(ends.len());
        ends[at].record.answer = Some(Answer::Dropped);
        true
    }),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_correct_system_does_passes(steps in steps()) {
        let verdict = check(&run(&steps));
        prop_assert!(verdict.holds(), "{}", verdict);
    }

    #[test]
    fn one_changed_thing_is_caught(steps in steps(), at in any::<Index>()) {
        let correct = run(&steps);
        for (name, mutate) in MUTATIONS {
            let mut witnesses = correct.clone();
            if mutate(&mut witnesses, at) {
                let verdict = check(&witnesses);
                prop_assert!(!verdict.holds(), "{} was not caught", name);
                prop_assert!(!violated(&verdict).is_empty());
            }
        }
    }
}
