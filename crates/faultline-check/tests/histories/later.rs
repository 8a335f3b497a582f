//! Runs that break invariants 20 to 40, each one.

use crate::common::{LEASE_TTL, SECOND, START_US, id};
use crate::spoil::*;
use faultline_check::witness::*;

/// What breaks which invariant, from 20 on.
pub(crate) const LATER: &[(u8, &str, Spoil)] = &[
    (20, "a failure that was not charged", |w| {
        for e in events(w).iter_mut().filter(|e| e.job == id(2)).skip(2) {
            e.attempt -= 1;
        }
        end_row(w, 2).attempts -= 1;
        forget_samples(w);
    }),
    (20, "more attempts than allowed", |w| event(w, 2, 3).max_attempts = 1),
    (20, "two starts under one lease", |w| {
        let start = operation(w, Action::HandlerStart, 7, 0).clone();
        w.history.as_mut().unwrap().push(start);
    }),
    (21, "succeeded without a handler", |w| operation(w, Action::HandlerEnd, 7, 0).record.answer = Some(Answer::Erred)),
    (21, "failed without an error", |w| end_row(w, 5).has_error = false),
    (22, "a delay beyond the envelope", |w| {
        let failed = event(w, 2, 2);
        failed.next_run_us = failed.at_us + SECOND + 1;
        // And the claim waits for it.
        let claim = event(w, 2, 3);
        claim.at_us += SECOND;
        claim.lease_expires_us = claim.lease_expires_us.map(|us| us + SECOND);
    }),
    (22, "claimed before it was due", |w| {
        let due = event(w, 7, 0);
        due.next_run_us += 100 * SECOND;
    }),
    (23, "a queue stood still", |w| {
        for at_us in [START_US + 3600 * SECOND, START_US + 3604 * SECOND] {
            let queue = QueueSample { sample: 1, at_us, queue: "q".into(), claimable: 1, free_slots: 1 };
            w.samples.as_mut().unwrap().push(Sample::Queue(queue));
        }
    }),
    (23, "a deadlock", |w| w.run.deadlocks = 1),
    (25, "a second effect", |w| {
        let effect = w.effects_tx.as_ref().unwrap()[0].clone();
        w.effects_tx.as_mut().unwrap().push(effect);
    }),
    (25, "a success without its effect", |w| w.effects_tx.as_mut().unwrap().clear()),
    (25, "an effect without a success", |w| {
        w.effects_tx.as_mut().unwrap().push(Effect { job: id(5), lease: id(0xa1) });
    }),
    (26, "two effects under one lease", |w| {
        w.effects_ext.as_mut().unwrap().push(Effect { job: id(3), lease: id(0xb3) });
    }),
    (26, "an effect under a lease of nobody", |w| {
        w.effects_ext.as_mut().unwrap().push(Effect { job: id(3), lease: id(1) });
    }),
    (27, "an unknown that nobody asked about", |w| {
        w.history.as_mut().unwrap().retain(|o| o.record.action != Action::Resolve);
    }),
    (27, "an unknown resolved against the database", |w| {
        let resolve = w.history.as_mut().unwrap().iter_mut().find(|o| o.record.action == Action::Resolve).unwrap();
        resolve.record.answer = Some(Answer::Absent);
    }),
    (27, "a lost claim whose jobs were not found", |w| {
        let all = w.history.as_mut().unwrap();
        let claim = all.iter_mut().find(|o| o.record.action == Action::Claim && o.record.jobs == [id(7)]).unwrap();
        claim.record.phase = Phase::Info;
        let mut resolve = claim.clone();
        (resolve.record.phase, resolve.record.action, resolve.record.op) = (Phase::Ok, Action::Resolve, 1_000_000);
        (resolve.record.of, resolve.record.answer) = (Some(claim.record.op), Some(Answer::Absent));
        resolve.record.wall_ns += 2 * SECOND * 1000;
        all.push(resolve);
    }),
    (28, "a repeated finish was refused", |w| {
        let repeat = operation(w, Action::Finish, 1, 1);
        (repeat.record.phase, repeat.record.answer) = (Phase::Fail, Some(Answer::LeaseLost));
    }),
    (29, "done was said of what failed", |w| operation(w, Action::Said, 7, 0).record.job = Some(id(5))),
    (30, "a row ran on", |w| {
        let row = sampled(w, 1, State::Running);
        row.at_us = row.lease_expires_us.unwrap() + 2 * SECOND;
    }),
    (31, "a job was forgotten", |w| {
        let next_run_us = last_event(w, 2).at_us;
        let end = last_event(w, 2).clone();
        events(w).retain(|e| *e != end);
        let e = last_event(w, 2);
        assert_eq!(e.to, Some(State::Running));
        (e.next_run_us, end_row(w, 2).state) = (next_run_us, State::Running);
        let (lease, owner, expires) = {
            let e = last_event(w, 2);
            (e.lease, e.owner, e.lease_expires_us)
        };
        let row = end_row(w, 2);
        (row.lease, row.owner, row.lease_expires_us, row.started_us) = (lease, owner, expires, Some(1));
        row.at_us = 0;
        w.history
            .as_mut()
            .unwrap()
            .retain(|o| o.held() != Some((id(2), id(0xb2))) && o.record.action != Action::Shutdown);
        w.history.as_mut().unwrap().retain(|o| o.record.action != Action::Said || o.record.job != Some(id(2)));
        forget_samples(w);
    }),
    (32, "a recovery that took too long", |w| w.run.recovery_bound_us = SECOND / 2),
    (33, "a process ended in the outage", |w| {
        let mut exit = w.nemesis.as_ref().unwrap().iter().find(|fault| fault.is_outage()).unwrap().clone();
        exit.kind = FaultKind::Exited;
        w.nemesis.as_mut().unwrap().push(exit);
    }),
    (33, "everybody connected at once", |w| {
        for o in w.history.as_mut().unwrap().iter_mut().filter(|o| o.record.action == Action::Connect) {
            o.record.wall_ns = (START_US + 3600 * SECOND) * 1000;
        }
    }),
    (33, "an enqueue was not answered in time", |w| {
        let enqueue = operation(w, Action::Enqueue, 7, 0);
        enqueue.ended_boot_ns = Some(enqueue.record.boot_ns + 2 * SECOND * 1000);
    }),
    (33, "more sessions at once than may be", |w| w.run.connects_per_100ms = 1),
    (33, "an internal error", |w| operation(w, Action::Enqueue, 2, 0).record.answer = Some(Answer::Broken)),
    (33, "no answer without a reason", |w| w.run.uninterrupted = true),
    (34, "a survivor lost its job", |w| {
        // It ends as a reap would end it, after its lease.
        let end = last_event(w, 7);
        (end.to, end.reason, end.lease_expires_us) = (Some(State::Failed), Reason::CrashLoop, Some(end.at_us - 1));
        let row = end_row(w, 7);
        (row.state, row.reason, row.has_error) = (State::Failed, Some("crash_loop".into()), true);
        w.history.as_mut().unwrap().retain(|o| {
            o.record.job != Some(id(7))
                || !matches!(o.record.action, Action::Finish | Action::Said | Action::HandlerEnd)
        });
    }),
    (34, "a handler that does without the database was charged for its outage", |w| {
        // 7 is put back once more after the outage, although its handler says nothing of a failure.
        let (claim, renewal) = (event(w, 7, 1).clone(), event(w, 7, 2).clone());
        let mut failed = renewal.clone();
        (failed.from, failed.to, failed.reason) = (Some(State::Running), Some(State::Queued), Reason::Failed);
        (failed.seq, failed.at_us, failed.next_run_us) = (renewal.seq + 1, renewal.at_us + 1, renewal.at_us + 1);
        let mut again = claim;
        (again.seq, again.at_us, again.attempt) = (renewal.seq + 2, renewal.at_us + 2, renewal.attempt + 1);
        (again.lease, again.lease_expires_us) = (Some(id(0xb9)), Some(again.at_us + LEASE_TTL));
        again.next_run_us = failed.next_run_us;
        for e in events(w).iter_mut().filter(|e| e.job == id(7) && e.seq > renewal.seq) {
            e.seq += 10;
            (e.attempt, e.lease, e.lease_expires_us) = (again.attempt, again.lease, again.lease_expires_us);
            e.next_run_us = again.next_run_us;
        }
        events(w).extend([failed, again]);
        for o in w.history.as_mut().unwrap().iter_mut().filter(|o| o.record.job == Some(id(7))) {
            if matches!(o.record.action, Action::Finish | Action::HandlerStep | Action::HandlerEnd) {
                o.record.lease = Some(id(0xb9));
            }
        }
        let row = end_row(w, 7);
        (row.attempts, row.lease, row.next_run_us, row.event_seq) = (2, Some(id(0xb9)), renewal.at_us + 1, None);
        forget_samples(w);
    }),
    (35, "a worker that never stopped", |w| {
        let shutdown = w.history.as_mut().unwrap().iter_mut().find(|o| o.record.action == Action::Shutdown).unwrap();
        (shutdown.record.phase, shutdown.ended_boot_ns, shutdown.ended_wall_ns) = (Phase::Invoke, None, None);
        w.run.shutdown_bound_us = 0;
    }),
    (35, "a job ran on under a process that had stopped", |w| {
        let shutdown = w.history.as_mut().unwrap().iter_mut().find(|o| o.record.action == Action::Shutdown).unwrap();
        shutdown.ended_wall_ns = Some((START_US + SECOND) * 1000);
    }),
    (35, "a shutdown that took too long", |w| {
        let shutdown = w.history.as_mut().unwrap().iter_mut().find(|o| o.record.action == Action::Shutdown).unwrap();
        shutdown.ended_boot_ns = Some(shutdown.record.boot_ns + 6 * SECOND * 1000);
    }),
    (35, "a second signal that was not heard", |w| {
        let shutdown = w.history.as_mut().unwrap().iter_mut().find(|o| o.record.action == Action::Shutdown).unwrap();
        shutdown.record.answer = Some(Answer::AtOnce);
        shutdown.ended_boot_ns = Some(shutdown.record.boot_ns + 4 * SECOND * 1000);
    }),
    (36, "a counter that counts too much", |w| metrics(w, "enqueued", 9.0)),
    (36, "metrics that did not answer", |w| {
        for sample in w.samples.as_mut().unwrap() {
            if let Sample::Health(health) = sample {
                health.answered = false;
            }
        }
    }),
    (37, "a session idle in its transaction", |w| {
        for sample in w.samples.as_mut().unwrap() {
            if let Sample::Session(session) = sample {
                session.idle_in_transaction_us = 2 * SECOND;
            }
        }
    }),
    (37, "a session that nobody knows", |w| {
        for sample in w.samples.as_mut().unwrap() {
            if let Sample::Session(session) = sample {
                session.leaked = true;
            }
        }
    }),
    (37, "a renewal that did not get through", |w| {
        let renewal = operation(w, Action::Renew, 7, 0);
        renewal.ended_boot_ns = Some(renewal.record.boot_ns + 3 * SECOND * 1000);
    }),
    (39, "no drill", |w| {
        w.run.required.insert(Required::CrashLoop, 1);
    }),
    (40, "claims under a held snapshot took long", |w| {
        w.run.claim_p99_bound_us = 1;
    }),
    (40, "a held snapshot that no metric shows", |w| metrics(w, "xmin_age_seconds", 0.1)),
];

/// The same, for runs in which only poison kills.
pub(crate) const POISONED: &[(u8, &str, Spoil)] = &[
    (24, "a neighbour was never finished for its own sake", |w| {
        w.run.poison.push(id(2));
    }),
    (24, "a neighbour lost two attempts", |w| {
        let (reap, claim) = (event(w, 2, 2).clone(), event(w, 2, 1).clone());
        for e in events(w).iter_mut().filter(|e| e.job == id(2)).skip(3) {
            e.attempt += 1;
        }
        for (template, seq) in [(claim, 1), (reap.clone(), 2)] {
            let mut e = template;
            e.lease = Some(id(0xee));
            (e.seq, e.at_us, e.attempt) = (reap.seq, reap.at_us + seq, 2);
            e.lease_expires_us = e.lease_expires_us.map(|_| e.at_us + LEASE_TTL);
            e.next_run_us = reap.at_us;
            events(w).push(e);
        }
        end_row(w, 2).attempts += 1;
    }),
];
