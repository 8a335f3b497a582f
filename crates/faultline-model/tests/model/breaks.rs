//! Each mistake breaks the promise that stands against it.

use crate::common::{breaks, holds};
use crate::holds::{leases, no_key, one_key, outages, rewind, stalls, transactions};
use faultline_model::{Budget, Promise, Replication, Scope, Variant};

#[test]
fn a_finish_without_the_lease_ends_the_attempt_of_another_holder() {
    breaks(leases().with(Variant::FinishWithoutLease), Promise::OwnLease);
}

/// Attempts only grow where nothing is put back or rewound: there a counter fences as well as a lease id.
#[test]
fn a_finish_by_the_attempts_number_needs_a_failover_or_a_refund_to_go_wrong() {
    let plain = Scope { budget: Budget { crashes: 1, lost: 1, late: 1, ..Budget::default() }, ..leases() };
    holds("attempts as a fence", plain.with(Variant::FinishByAttempt), &[]);
    breaks(rewind().with(Variant::FinishByAttempt), Promise::OwnLease);
    let refunds = Budget { lost: 1, put_backs: 1, ..Budget::default() };
    breaks(Scope { budget: refunds, ..leases() }.with(Variant::FinishByAttempt), Promise::OwnLease);
}

#[test]
fn a_finish_by_the_owner_ends_a_later_attempt_of_the_same_worker() {
    breaks(leases().with(Variant::FinishByOwner), Promise::OwnLease);
}

#[test]
fn a_reap_in_two_statements_ends_a_lease_that_it_has_not_judged() {
    breaks(leases().with(Variant::ReapInTwoStatements), Promise::OwnLease);
}

#[test]
fn an_attempt_charged_at_its_finish_is_not_charged_to_a_crash() {
    breaks(leases().with(Variant::AttemptChargedAtFinish), Promise::Bounded);
    breaks(leases().with(Variant::AttemptChargedAtFinish), Promise::Attempts);
}

#[test]
fn a_reap_without_a_maximum_lets_a_job_crash_for_ever() {
    breaks(leases().with(Variant::NoMaximumOnReap), Promise::Bounded);
}

#[test]
fn a_duplicate_that_writes_nothing_is_answered_from_a_row_that_a_failover_loses() {
    breaks(one_key(Replication::Synchronous).with(Variant::DoNothingOnConflict), Promise::Durable);
}

#[test]
fn a_key_that_ends_with_its_job_lets_the_next_one_in() {
    breaks(one_key(Replication::Synchronous).with(Variant::KeyOfHotJobs), Promise::OneJobPerKey);
}

#[test]
fn a_commit_that_is_blindly_retried_is_said_to_have_happened() {
    breaks(no_key().with(Variant::BlindRetryOfCommit), Promise::Durable);
    breaks(no_key().with(Variant::BlindRetryOfCommit), Promise::Truth);
    breaks(transactions().with(Variant::BlindRetryOfCommit), Promise::Truth);
}

#[test]
fn a_failed_commit_that_is_reported_as_done_is_lost() {
    breaks(no_key().with(Variant::FailedCommitIsSuccess), Promise::Durable);
    breaks(no_key().with(Variant::FailedCommitIsSuccess), Promise::Truth);
    breaks(transactions().with(Variant::FailedCommitIsSuccess), Promise::Truth);
}

#[test]
fn a_finish_after_the_look_at_a_lost_commit_ends_a_rewound_job_without_its_effects() {
    breaks(transactions().with(Variant::FinishAfterLook), Promise::Together);
}

#[test]
fn a_reaper_that_does_not_hold_off_takes_the_leases_of_those_who_outlived_the_outage() {
    breaks(outages().with(Variant::NoReapHoldoff), Promise::Survivors);
}

#[test]
fn a_reaper_that_does_not_notice_its_own_stall_takes_the_leases_of_others_who_were_stopped() {
    breaks(stalls().with(Variant::StallUnnoticed), Promise::Survivors);
}

#[test]
fn a_lease_by_the_workers_clock_ends_early() {
    breaks(outages().with(Variant::ClientClockInLease), Promise::Survivors);
}

#[test]
fn a_claim_without_a_second_look_takes_a_job_that_somebody_holds() {
    breaks(leases().with(Variant::ClaimWithoutRecheck), Promise::OneHolder);
}

#[test]
fn effects_that_are_committed_before_the_finish_happen_again() {
    breaks(transactions().with(Variant::EffectBeforeFinish), Promise::Together);
    breaks(transactions().with(Variant::EffectBeforeFinish), Promise::Once);
}

/// A limit of the shipped protocol: an enqueue without a key is only safe to repeat while the first try can't come after the
/// second one's job has ended, such as out of a connection that was given up and whose packets still arrive.
/// A key has no such limit.
#[test]
fn a_first_try_without_a_key_that_arrives_after_the_job_has_ended_runs_it_again() {
    let late = Budget { late: 1, ..Budget::default() };
    breaks(Scope { budget: late, ..no_key() }, Promise::Terminal);
    holds("one key, late", Scope { budget: late, ..one_key(Replication::Synchronous) }, &[]);
}
