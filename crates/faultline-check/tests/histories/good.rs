//! Runs in which everything is as it should be.

use crate::common::{API, Process, SECOND, World, id};
use faultline_check::Witnesses;
use faultline_check::witness::*;

pub(crate) const A: Process = Process(1);
pub(crate) const B: Process = Process(2);
pub(crate) const C: Process = Process(3);

/// A run in which nearly everything happens that may, and all of it as it should.
pub(crate) fn good() -> Witnesses {
    let mut w = World::new();
    w.out.run.strict = true;
    enqueues(&mut w);
    claims_and_failures(&mut w);
    kill_and_stop(&mut w);
    outage(&mut w);
    held_snapshot(&mut w);
    shutdown(&mut w);
    w.metrics(API, &[("enqueued", 8.0)]);
    let session = SessionSample {
        sample: 9,
        at_us: w.now_us,
        pid: 7,
        application: "x".into(),
        idle_in_transaction_us: 5,
        leaked: false,
    };
    w.sample(Sample::Session(session));
    w.out.run.required = [(Required::Kill, 1), (Required::RefusedZombie, 1), (Required::Recovery, 1)].into();
    w.end()
}

/// Jobs 1 to 8; job 2 by an enqueue whose answer was lost, job 99 refused.
fn enqueues(w: &mut World) {
    w.insert(1, Some("k1"));
    w.keyed("k1", "f1", Phase::Ok, Answer::Created, 1);
    w.keyed("k1", "f1", Phase::Ok, Answer::Duplicate, 1);
    w.keyed("k1", "f2", Phase::Fail, Answer::Conflict, 1);
    w.insert(2, None);
    let op = w.operate(API, Action::Enqueue, Phase::Info, None, |r| r.job = Some(id(2)));
    w.operate(API, Action::Resolve, Phase::Ok, Some(Answer::Happened), |r| r.of = Some(op));
    w.operate(API, Action::Enqueue, Phase::Fail, Some(Answer::Refused), |r| r.job = Some(id(99)));
    for job in 3..=7 {
        w.enqueue(job);
    }
    w.enqueue_with_effect(8);
    w.queue(8, 3);
}

/// 1 succeeds, and its finish is repeated; 2 fails and is tried again; 5 fails for good; 6 is cancelled; 8 has an effect.
fn claims_and_failures(w: &mut World) {
    w.claim(A, &[1, 2, 5], 0xa1);
    w.snapshot();
    w.renew(A, 1);
    w.complete(A, 1);
    w.told(A, Action::Finish, Phase::Ok, Some(Answer::Succeeded), (1, 0xa1));
    w.told(A, Action::Finish, Phase::Fail, None, (2, 0xa1));
    w.put_back(A, 2, "failed", 0, SECOND / 2);
    w.fail_for_good(A, 5);
    w.leave(6, State::Cancelled, "cancelled", 0, 0);
    w.claim(B, &[8], 0xb1);
    w.effect(8, true);
    w.complete(B, 8);
    w.wait(SECOND);
    w.snapshot();
    w.claim(B, &[2], 0xb2);
    w.complete(B, 2);
}

/// A is killed while it runs 3; C is stopped while it runs 4, and finds its lease gone when it goes on.
fn kill_and_stop(w: &mut World) {
    w.claim(A, &[3], 0xa2);
    w.effect(3, false);
    w.fault(1, Phase::Invoke, FaultKind::Kill, Some(A));
    w.wait(SECOND);
    w.reap(B, 3, "lost");
    w.claim(B, &[3], 0xb3);
    w.effect(3, false);
    w.complete(B, 3);
    w.claim(C, &[4], 0xc1);
    w.fault(2, Phase::Invoke, FaultKind::Stop, Some(C));
    w.wait(3 * SECOND);
    w.reap(B, 4, "expired");
    w.claim(B, &[4], 0xb4);
    w.complete(B, 4);
    w.fault(2, Phase::Ok, FaultKind::Stop, Some(C));
    w.told(C, Action::Finish, Phase::Fail, Some(Answer::LeaseLost), (4, 0xc1));
    w.told(C, Action::Renew, Phase::Fail, Some(Answer::LeaseLost), (4, 0xc1));
    w.snapshot();
}

/// B holds 7 through it, renews first, and is done.
fn outage(w: &mut World) {
    w.claim(B, &[7], 0xb5);
    w.fault(3, Phase::Invoke, FaultKind::DatabaseDown, None);
    w.wait(4 * SECOND);
    w.fault(3, Phase::Ok, FaultKind::DatabaseDown, None);
    for n in 1..=6 {
        w.wait(50_000);
        w.operate(Process(n), Action::Connect, Phase::Ok, None, |_| {});
    }
    w.snapshot();
    w.renew(B, 7);
    w.wait(SECOND);
    w.snapshot();
}

fn held_snapshot(w: &mut World) {
    w.fault(4, Phase::Invoke, FaultKind::HeldSnapshot, None);
    w.complete(B, 7);
    w.wait(SECOND);
    w.operate(B, Action::Claim, Phase::Ok, None, |r| r.lease = Some(id(0xb6)));
    w.wait(SECOND);
    w.metrics(B, &[("xmin_age_seconds", 2.0)]);
    w.fault(4, Phase::Ok, FaultKind::HeldSnapshot, None);
}

fn shutdown(w: &mut World) {
    w.operate(B, Action::Shutdown, Phase::Ok, None, |r| r.owner = Some(B.owner()));
}

/// A run in which only poison kills: 1 does, 2 is its neighbour.
pub(crate) fn poisoned() -> Witnesses {
    let mut w = World::new();
    w.out.run.poison = vec![id(1)];
    w.enqueue(1);
    w.enqueue(2);
    for n in 1..=5 {
        let who = Process(n);
        w.claim(who, if n == 1 { &[1, 2] } else { &[1] }, n);
        w.fault(u64::try_from(n).unwrap(), Phase::Invoke, FaultKind::Exited, Some(who));
        w.wait(SECOND);
        w.reap(B, 1, "lost");
        if n == 1 {
            w.reap(B, 2, "lost");
        }
    }
    w.claim(Process(9), &[2], 9);
    w.complete(Process(9), 2);
    w.end()
}
