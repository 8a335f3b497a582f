//! Runs that break invariants 1 to 19, each one.

use crate::common::{SECOND, id};
use crate::good::*;
use crate::spoil::*;
use faultline_check::witness::*;

/// What breaks which invariant, up to 19.
pub(crate) const EARLIER: &[(u8, &str, Spoil)] = &[
    (1, "a created job vanished", |w| vanish(w, 7)),
    (2, "a job that nobody enqueued", |w| {
        w.history.as_mut().unwrap().retain(|o| o.record.action != Action::Enqueue || o.record.job != Some(id(6)));
    }),
    (3, "a failed enqueue left a job", |w| operation(w, Action::Enqueue, 6, 0).record.phase = Phase::Fail),
    (3, "a failed finish took place", |w| operation(w, Action::Finish, 7, 0).record.phase = Phase::Fail),
    (4, "a second job with the key", |w| end_row(w, 7).key = Some("k1".into())),
    (4, "two answers for one key", |w| {
        let second = operation(w, Action::Enqueue, 7, 0);
        (second.record.key, second.record.fingerprint) = (Some("k1".into()), Some("f1".into()));
    }),
    (5, "another request was taken for the same", |w| {
        operation(w, Action::Enqueue, 1, 1).record.fingerprint = Some("f3".into());
    }),
    (5, "the same request was refused", |w| {
        operation(w, Action::Enqueue, 1, 2).record.fingerprint = Some("f1".into());
    }),
    (6, "a duplicate was told of a job that vanished", |w| {
        vanish(w, 7);
        operation(w, Action::Enqueue, 7, 0).record.answer = Some(Answer::Duplicate);
    }),
    (7, "deleted and nowhere", |w| {
        w.end.as_mut().unwrap().retain(|row| row.job != id(6));
        operation(w, Action::Enqueue, 6, 0).record.phase = Phase::Invoke;
        let gone = last_event(w, 6);
        (gone.to, gone.reason) = (None, Reason::Deleted);
        forget_rows(w);
    }),
    (7, "a success without a reason", |w| last_event(w, 7).reason = Reason::Unexplained),
    (8, "an event is missing", |w| {
        // The failure of job 2's first attempt.
        let at = events(w).iter().position(|e| e.job == id(2) && e.reason == Reason::Failed).unwrap();
        events(w)[at].from = Some(State::Queued);
        events(w)[at].reason = Reason::Moved;
        let finish = |o: &Operation| o.record.job == Some(id(2)) && o.held() == Some((id(2), id(0xa1)));
        w.history.as_mut().unwrap().retain(|o| !(o.record.action == Action::Finish && finish(o)));
    }),
    (8, "the enqueue is missing", |w| {
        events(w).retain(|e| e.job != id(6) || e.reason != Reason::Enqueued);
        forget_counters(w);
        w.samples
            .as_mut()
            .unwrap()
            .retain(|s| !matches!(s, Sample::Job(row) if row.job == id(6) && row.state == State::Queued));
    }),
    (9, "a finished job was put back", |w| {
        append(w, 5, |e| (e.from, e.to, e.reason) = (Some(State::Failed), Some(State::Failed), Reason::Renewed));
        let at = events(w).len() - 1;
        events(w)[at].from = Some(State::Queued);
        (events(w)[at].to, events(w)[at].reason) = (Some(State::Cancelled), Reason::Cancelled);
        end_row(w, 5).state = State::Cancelled;
        operation(w, Action::Finish, 5, 0).record.phase = Phase::Info;
        let op = operation(w, Action::Finish, 5, 0).record.op;
        let mut resolve = operation(w, Action::Finish, 5, 0).clone();
        resolve.record.action = Action::Resolve;
        (resolve.record.phase, resolve.record.answer, resolve.record.of) =
            (Phase::Ok, Some(Answer::Happened), Some(op));
        w.history.as_mut().unwrap().push(resolve);
    }),
    (10, "a row in another state", |w| sampled(w, 7, State::Queued).event_seq = Some(1_000_000)),
    (10, "two rows", |w| {
        let row = end_row(w, 7).clone();
        w.end.as_mut().unwrap().push(row);
    }),
    (10, "no row", |w| {
        w.end.as_mut().unwrap().retain(|row| row.job != id(2));
        operation(w, Action::Enqueue, 2, 0).record.phase = Phase::Invoke;
    }),
    (11, "half a lease", |w| sampled(w, 1, State::Running).started_us = None),
    (11, "a waiting row with a lease", |w| sampled(w, 7, State::Queued).lease = Some(id(5))),
    (12, "two owners of one lease", |w| {
        for e in events(w).iter_mut().filter(|e| e.lease == Some(id(0xb1))) {
            e.lease = Some(id(0xa1));
        }
        for o in w.history.as_mut().unwrap().iter_mut().filter(|o| o.record.lease == Some(id(0xb1))) {
            o.record.lease = Some(id(0xa1));
        }
        forget_rows(w);
    }),
    (12, "two processes made one lease", |w| {
        let claims = w.history.as_mut().unwrap().iter_mut().filter(|o| o.record.action == Action::Claim);
        claims.into_iter().last().unwrap().record.lease = Some(id(0xa1));
    }),
    (13, "claimed from under the holder", |w| {
        // The reap of job 4 left no event.
        events(w).retain(|e| e.job != id(4) || e.reason != Reason::Expired);
    }),
    (13, "a renewal that changed the lease", |w| {
        let renewal = event(w, 7, 2);
        (renewal.lease, renewal.owner) = (Some(id(0xee)), Some(C.owner()));
        forget_rows(w);
    }),
    (14, "ended under a lease of nobody", |w| {
        last_event(w, 7).lease = Some(id(0xee));
        operation(w, Action::Finish, 7, 0).record.lease = Some(id(0xee));
        operation(w, Action::HandlerEnd, 7, 0).record.lease = Some(id(0xee));
    }),
    (15, "a zombie's finish was accepted", |w| {
        let zombie = operation(w, Action::Finish, 4, 1);
        (zombie.record.phase, zombie.record.answer) = (Phase::Ok, Some(Answer::Succeeded));
        w.run.required.clear();
    }),
    (15, "a refused finish took place", |w| {
        let finish = operation(w, Action::Finish, 7, 0);
        (finish.record.phase, finish.record.answer) = (Phase::Fail, Some(Answer::LeaseLost));
    }),
    (15, "a renewal under a lease that was never held", |w| {
        operation(w, Action::Renew, 1, 0).record.lease = Some(id(0xee));
    }),
    (16, "a renewal shortened the lease", |w| {
        event(w, 1, 2).lease_expires_us = event(w, 1, 1).lease_expires_us.map(|us| us - 1);
    }),
    (17, "reaped before the lease ended", |w| {
        let reap = event(w, 4, 2);
        reap.lease_expires_us = Some(reap.at_us + 1);
    }),
    (17, "reaped where nothing can have happened", |w| w.run.unhurt = true),
    (17, "reaped early, and nothing had happened", |w| {
        // The kill never was; what rests on it goes too.
        w.nemesis.as_mut().unwrap().retain(|fault| fault.kind != FaultKind::Kill);
        w.run.required.clear();
    }),
    (17, "reaped early, within the grace", |w| {
        let at_us = event(w, 3, 2).at_us;
        w.run.required.clear();
        let kill = w.nemesis.as_mut().unwrap().iter_mut().find(|fault| fault.kind == FaultKind::Kill).unwrap();
        kill.began_us = at_us - 1000;
    }),
    (17, "a reaper within its holdoff", |w| {
        let reap = w.history.as_mut().unwrap().iter_mut().find(|o| o.record.action == Action::Reap).unwrap();
        reap.record.contact_ns = Some(1000);
    }),
    (18, "a lease by a clock that is an hour ahead", |w| {
        let renewal = event(w, 7, 2);
        renewal.lease_expires_us = renewal.lease_expires_us.map(|us| us + 3600 * SECOND);
        forget_rows(w);
    }),
    (19, "a step after the deadline", |w| {
        operation(w, Action::HandlerStep, 7, 0).record.deadline_boot_ns = Some(1);
    }),
];
