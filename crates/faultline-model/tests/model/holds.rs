//! The shipped protocol keeps its promises, in worlds that are each searched to the last state.

use crate::common::holds;
use faultline_model::{Budget, Replication, Requests, Scope, Time, Witness as W};

/// One job, two workers, every way to end an attempt, and late statements of both.
pub(crate) fn leases() -> Scope {
    let budget = Budget { crashes: 1, lost: 1, late: 1, put_backs: 1, ..Budget::default() };
    Scope { slots: 2, budget, ..Scope::default() }
}

/// The same with an operator who cancels.
pub(crate) fn cancels() -> Scope {
    let budget = Budget { lost: 1, put_backs: 1, cancels: 1, ..Budget::default() };
    Scope { slots: 2, budget, ..Scope::default() }
}

/// Three workers over one job.
pub(crate) fn three_workers() -> Scope {
    let budget = Budget { lost: 1, put_backs: 1, ..Budget::default() };
    Scope { workers: 3, max_attempts: 3, budget, ..Scope::default() }
}

/// Two jobs beside each other, so that a reap judges both.
pub(crate) fn neighbours() -> Scope {
    let budget = Budget { crashes: 1, ..Budget::default() };
    Scope { jobs: 2, slots: 2, max_attempts: 2, other_endings: false, budget, ..Scope::default() }
}

/// Asynchronous replication: a failover goes back to any earlier moment.
pub(crate) fn rewind() -> Scope {
    let budget = Budget { lost: 1, failovers: 1, ..Budget::default() };
    Scope { slots: 2, budget, ..Scope::default() }
}

/// Handlers write through `complete_in`, and failovers rewind.
pub(crate) fn transactions() -> Scope {
    let budget = Budget { crashes: 1, lost: 1, failovers: 1, ..Budget::default() };
    Scope { in_transaction: true, budget, ..Scope::default() }
}

/// The same where a COMMIT may come later than anybody waits for.
pub(crate) fn late_commits() -> Scope {
    let budget = Budget { lost: 1, late: 1, ..Budget::default() };
    Scope { in_transaction: true, budget, ..Scope::default() }
}

/// Two producers with one key, on two servers with synchronous replication.
pub(crate) fn one_key(replication: Replication) -> Scope {
    let budget = Budget { lost: 2, late: 1, failovers: 1, ..Budget::default() };
    Scope {
        workers: 1,
        jobs: 2,
        requests: Requests::SameKey,
        other_endings: false,
        max_attempts: 1,
        replication,
        budget,
        ..Scope::default()
    }
}

/// A producer without a key.
pub(crate) fn no_key() -> Scope {
    let budget = Budget { lost: 3, failovers: 1, ..Budget::default() };
    Scope { workers: 1, requests: Requests::NoKey, replication: Replication::Synchronous, budget, ..Scope::default() }
}

/// Time in ticks: the database goes away while workers are stopped and die.
pub(crate) fn outages() -> Scope {
    let budget = Budget { crashes: 1, lost: 1, outages: 1, pauses: 1, ..Budget::default() };
    Scope { time: Time::Ticks, other_endings: false, budget, ..Scope::default() }
}

/// Time in ticks: all workers are stopped, and sessions end.
pub(crate) fn stalls() -> Scope {
    let budget = Budget { crashes: 1, stalls: 1, cuts: 1, ..Budget::default() };
    Scope { time: Time::Ticks, other_endings: false, budget, ..Scope::default() }
}

#[test]
fn leases_fence_whoever_comes_late() {
    let required = [
        W::Claimed,
        W::Succeeded,
        W::Retried,
        W::Exhausted,
        W::PutBack,
        W::ZombieRefused,
        W::ZombieReaped,
        W::LossTold,
        W::FinishRepeated,
        W::ClaimRecovered,
        W::ClaimUndone,
        W::ArrivedLate,
        W::Reaped,
        W::CrashLoop,
    ];
    holds("leases", leases(), &required);
}

#[test]
fn a_cancelled_job_ends_once() {
    holds("cancels", cancels(), &[W::CancelledQueued, W::CancelledRunning, W::Succeeded, W::FinishRepeated]);
}

#[test]
fn three_workers_share_one_job() {
    holds("three workers", three_workers(), &[W::ZombieRefused, W::ZombieReaped, W::CrashLoop, W::FinishRepeated]);
}

#[test]
fn jobs_that_fall_together_are_judged_together() {
    holds("neighbours", neighbours(), &[W::NeighbourSpared, W::CrashLoop, W::Reaped, W::ZombieRefused]);
}

#[test]
fn a_rewound_database_refuses_those_whom_it_has_forgotten() {
    let required = [W::ClaimRewound, W::EndRewound, W::ZombieRefused, W::FinishRepeated, W::ClaimUndone];
    holds("rewind", rewind(), &required);
}

#[test]
fn effects_and_success_are_one_commit() {
    let required = [W::CommitLost, W::CommitUndone, W::ZombieRefused, W::EndRewound, W::CrashLoop];
    holds("transactions", transactions(), &required);
    holds("late commits", late_commits(), &[W::CommitLost, W::CommitUndone, W::ArrivedLate, W::ZombieRefused]);
}

#[test]
fn two_producers_with_one_key_are_told_of_one_job() {
    let required = [W::Duplicate, W::EnqueueRepeated, W::EnqueueMadeGood, W::ArrivedLate, W::Succeeded];
    holds("one key, synchronous", one_key(Replication::Synchronous), &required);
    let required = [W::Duplicate, W::AckLost, W::EndRewound];
    holds("one key, asynchronous", one_key(Replication::Asynchronous), &required);
}

#[test]
fn an_enqueue_that_is_asked_again_is_one_job() {
    holds("no key", no_key(), &[W::EnqueueRepeated, W::EnqueueMadeGood, W::Succeeded]);
}

#[test]
fn who_outlives_an_outage_keeps_its_leases() {
    let required = [W::HeldOff, W::RenewedExpired, W::Reaped, W::ReapedAbsent, W::ZombieReaped, W::ClaimRecovered];
    holds("outages", outages(), &required);
}

#[test]
fn who_was_stopped_with_all_others_keeps_its_leases() {
    holds("stalls", stalls(), &[W::HeldOff, W::RenewedExpired, W::ReapedAbsent]);
}
