//! What must hold in every state and on every transition.

use crate::database::{Job, Place, Token};
use crate::model::Protocol;
use crate::scope::{Replication, Requests, Time};
use crate::state::{Producer, State};
use stateright::Property;
use std::collections::BTreeSet;

macro_rules! promises {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A promise of the protocol. README.md says which guarantee each belongs to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Promise { $($(#[$doc])* $name,)* }

        impl Promise {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// In words; the name under which a search reports it.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

promises! {
    /// A claim takes only what waits, and nobody but one attempt holds the row's lease.
    OneHolder = "one valid holder",
    /// What leaves `running` does so by the word of the row's lease, or by a reap that judged that very lease.
    OwnLease = "only the row's lease ends it",
    /// No transition leaves a terminal state.
    Terminal = "nothing after the end",
    /// `attempts` is the claims without those that were refunded.
    Attempts = "attempts = claims - refunds",
    /// No job starts more often than its maximum, refunds aside.
    Bounded = "starts are bounded",
    /// What a handler writes is there if its job has succeeded, and else not at all.
    Together = "effects and success are one commit",
    /// What a handler writes is there once at most.
    Once = "effects at most once",
    /// At most one job a key, and every answer names it.
    OneJobPerKey = "one job per key",
    /// What was acknowledged is there.
    Durable = "no acknowledged enqueue is lost",
    /// What is said of an enqueue or a finish is true when it is said.
    Truth = "every ok is true",
    /// No lease is taken from a worker that kept renewing while the database answered.
    Survivors = "who outlived it keeps its lease",
}

/// A set of promises.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Promises(BTreeSet<Promise>);

impl Promises {
    pub(crate) fn add(&mut self, promise: Promise) {
        self.0.insert(promise);
    }

    fn has(&self, promise: Promise) -> bool {
        self.0.contains(&promise)
    }
}

pub(crate) fn properties() -> Vec<Property<Protocol>> {
    macro_rules! always {
        ($($promise:ident $(and $holds:path)?,)*) => { vec![$(Property::always(
            Promise::$promise.text(),
            |_model: &Protocol, state: &State| !state.broken.has(Promise::$promise) $(&& $holds(_model, state))?,
        ),)*] };
    }
    always![
        OneHolder and one_holder,
        OwnLease,
        Terminal,
        Attempts and attempts_add_up,
        Bounded and starts_are_bounded,
        Together and effects_and_success,
        Once and effects_are_once,
        OneJobPerKey and one_job_per_key,
        Durable and acknowledged_is_there,
        Truth,
        Survivors,
    ]
}

fn one_holder(_: &Protocol, state: &State) -> bool {
    let holders = |token: Token| {
        let runs = state.workers.iter().flat_map(|worker| &worker.runs);
        runs.filter(|run| run.token == token).count()
    };
    state.database.jobs.iter().all(|job| match job.place {
        Place::Running(lease) => holders(lease.token) <= 1,
        _ => true,
    })
}

fn attempts_add_up(_: &Protocol, state: &State) -> bool {
    state.database.jobs.iter().all(|job| usize::from(job.attempts) == job.claims() - job.refunds())
}

fn starts_are_bounded(model: &Protocol, state: &State) -> bool {
    state.database.jobs.iter().all(|job| job.claims() <= usize::from(model.scope.max_attempts) + job.refunds())
}

fn effects_and_success(model: &Protocol, state: &State) -> bool {
    let is_right = |job: &Job| (job.effects > 0) == (job.place == Place::Succeeded);
    !model.scope.in_transaction || state.database.jobs.iter().all(is_right)
}

fn effects_are_once(_: &Protocol, state: &State) -> bool {
    state.database.jobs.iter().all(|job| job.effects <= 1)
}

/// After an asynchronous failover two producers may have been told of two jobs, one of which is lost.
fn one_job_per_key(model: &Protocol, state: &State) -> bool {
    if model.scope.requests != Requests::SameKey {
        return true;
    }
    let told: BTreeSet<u8> = state
        .producers
        .iter()
        .filter_map(|producer| if let Producer::Told(job) = producer { Some(*job) } else { None })
        .collect();
    let jobs = state.database.jobs.iter().filter(|job| job.place != Place::Nowhere).count();
    jobs <= 1 && (told.len() <= 1 || state.may_have_lost)
}

fn acknowledged_is_there(_: &Protocol, state: &State) -> bool {
    state.producers.iter().all(|producer| match producer {
        Producer::Told(job) => state.may_have_lost || state.database.jobs[usize::from(*job)].place != Place::Nowhere,
        Producer::Idle | Producer::Unanswered => true,
    })
}

impl Protocol {
    /// Whether this search can put a promise to the test.
    #[must_use]
    pub fn tests(&self, promise: Promise) -> bool {
        match promise {
            Promise::Together | Promise::Once => self.scope.in_transaction,
            Promise::OneJobPerKey => self.scope.requests == Requests::SameKey,
            Promise::Durable => {
                self.scope.requests != Requests::None
                    && (self.scope.budget.failovers == 0 || self.scope.replication == Replication::Synchronous)
            }
            Promise::Survivors => self.scope.time == Time::Ticks,
            _ => true,
        }
    }
}
