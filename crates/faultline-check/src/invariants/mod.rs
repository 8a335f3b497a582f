//! The invariants, one function each. An invariant that found nothing to look at is not checked: nothing is passed by silence.

mod attempts;
mod effects;
mod identity;
mod leases;
mod liveness;
mod machine;
mod truth;

pub(crate) use truth::seen;

use uuid::Uuid;

use crate::ground::Ground;
use crate::verdict::{Found, NotCheckable, Outcome, Status};
use crate::witness::FaultKind;

/// Something that must hold of every run.
pub struct Invariant {
    /// Its number.
    pub number: u8,
    /// What it says.
    pub title: &'static str,
    check: for<'g, 'w> fn(&'g Ground<'w>) -> Found,
}

impl std::fmt::Debug for Invariant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.number, self.title)
    }
}

impl Invariant {
    pub(crate) fn judge(&self, ground: &Ground<'_>) -> Outcome {
        let (examined, status) = match (self.check)(ground) {
            Err(NotCheckable(reason)) => (0, Status::NotChecked { reason }),
            Ok(found) if found.count > 0 => {
                (found.examined, Status::Violated { count: found.count, violations: found.kept })
            }
            Ok(found) if found.examined == 0 => {
                (0, Status::NotChecked { reason: "nothing in this run put it to the test".to_owned() })
            }
            Ok(found) => (found.examined, Status::Passed),
        };
        Outcome { number: self.number, title: self.title, examined, status }
    }
}

macro_rules! invariants {
    ($($number:literal $title:literal $check:path,)*) => {
        /// All of them, by number.
        pub const INVARIANTS: &[Invariant] = &[$(Invariant { number: $number, title: $title, check: $check },)*];
    };
}

invariants! {
    1 "no acknowledged job is lost" identity::no_lost_ack,
    2 "no job that nobody asked for" identity::no_phantom,
    3 "what was answered as failed left no trace" identity::fail_means_fail,
    4 "one job for a key" identity::one_job_a_key,
    5 "another request under a key is a conflict" identity::another_request_conflicts,
    6 "an ok for a duplicate is durable" identity::a_duplicates_ok_is_durable,
    7 "only transitions that exist" machine::legal_edges,
    8 "each event starts where the last one ended" machine::events_chain,
    9 "one end, and nothing after it" machine::one_terminal_event,
    10 "rows are what their events say" machine::rows_are_the_fold,
    11 "rows have the shape of their state" machine::shapes_hold,
    12 "lease ids are unique" leases::lease_ids_are_unique,
    13 "no claim while somebody holds the job" leases::no_claim_over_a_claim,
    14 "only the holder, a reaper or an operator ends a lease" leases::only_the_holder_leaves,
    15 "the fence refuses everybody else" leases::the_fence_answers_truly,
    16 "a renewal never shortens a lease" leases::renewals_never_shorten,
    17 "no early reap" leases::no_early_reap,
    18 "leases are on the database's clock" leases::leases_are_on_the_databases_clock,
    19 "no step of a strict handler after its deadline" leases::no_step_after_the_deadline,
    20 "attempts add up" attempts::attempts_add_up,
    21 "every ending has a cause" attempts::endings_have_a_cause,
    22 "delays stay inside their envelope" attempts::delays_stay_inside_the_envelope,
    23 "no queue stands still" attempts::no_convoy,
    24 "poison is contained" attempts::poison_is_contained,
    25 "one effect in the database for each success" effects::one_effect_a_success,
    26 "extra effects outside are explained" effects::extra_effects_are_explained,
    27 "unknowns resolve, truly" effects::unknowns_resolve,
    28 "repeating a finish is answered as the first time" effects::repeating_a_finish_is_idempotent,
    29 "done is only said of what is done" effects::done_is_only_said_of_what_is,
    30 "no job runs long past its lease" liveness::no_overdue_lease,
    31 "everything due ends" liveness::everything_due_ends,
    32 "killed workers' jobs recover in time" liveness::recovery_is_bounded,
    33 "processes outlive an outage" liveness::processes_outlive_an_outage,
    34 "an outage costs no attempt" liveness::an_outage_costs_nothing,
    35 "shutdowns are clean" liveness::shutdowns_are_clean,
    36 "metrics and health tell the truth" truth::metrics_tell_the_truth,
    37 "sessions let go of transactions" truth::sessions_let_go,
    38 "schedules fire once" truth::schedules_fire_once,
    39 "what was required happened" truth::the_run_proved_something,
    40 "a held snapshot is seen and survived" truth::a_held_snapshot_is_seen_and_survived,
}

/// The acknowledged jobs that are gone.
pub(crate) fn lost_acks(ground: &Ground<'_>) -> Vec<Uuid> {
    identity::lost_acks(ground).into_iter().collect()
}

/// Whether the supervisor killed a process.
fn is_killed(ground: &Ground<'_>, process: &str) -> bool {
    let faults = ground.faults().unwrap_or_default();
    faults.iter().any(|fault| fault.kind == FaultKind::Kill && fault.process.as_deref() == Some(process))
}
