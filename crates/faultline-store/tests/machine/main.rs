//! The statements against a reference that knows nothing of SQL: random sequences of everything that producers, workers,
//! reapers and operators ask for, also late, twice and by those who have lost their lease. Every answer, and after every step
//! every row, must be what the reference says. A sequence that fails is shrunk to a short one.
//!
//! One session at a time: what two do at once is told by `tests/store/races.rs`, what any number do by the model.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod command;
mod database;
mod names;
mod reference;
mod rows;

use crate::command::{Command, commands};
use crate::database::Store;
use crate::reference::Reference;
use proptest::prelude::{BoxedStrategy, Just, ProptestConfig, Strategy};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

/// Sequences of one run, unless PROPTEST_CASES says otherwise: each takes some 250 ms on a busy machine.
const CASES: u32 = 36;
/// Steps of a sequence at most: enough for three attempts of a few jobs and what comes late.
const STEPS: usize = 50;
/// Shorter sequences to try when one has failed.
const SHRINK_STEPS: u32 = 500;

struct Machine;

impl ReferenceStateMachine for Machine {
    type State = Reference;
    type Transition = Command;

    fn init_state() -> BoxedStrategy<Reference> {
        Just(Reference::default()).boxed()
    }

    fn transitions(_: &Reference) -> BoxedStrategy<Command> {
        commands()
    }

    fn apply(mut state: Reference, command: &Command) -> Reference {
        state.take(command);
        state
    }
}

impl StateMachineTest for Machine {
    type SystemUnderTest = &'static Store;
    type Reference = Self;

    fn init_test(_: &Reference) -> &'static Store {
        Store::empty()
    }

    fn apply(store: &'static Store, reference: &Reference, command: Command) -> &'static Store {
        let answer = store.take(&reference.asked);
        assert_eq!(answer, reference.answer, "the answer to {command:?}, which is {:?}", reference.asked);
        store
    }

    fn check_invariants(store: &&'static Store, reference: &Reference) {
        assert_eq!(store.rows(), reference.rows(), "the rows after {:?}", reference.asked);
    }
}

fn config() -> ProptestConfig {
    let config =
        ProptestConfig { max_shrink_iters: SHRINK_STEPS, failure_persistence: None, ..ProptestConfig::default() };
    let is_asked_for = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig { cases: if is_asked_for { config.cases } else { CASES }, ..config }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn whatever_is_asked_in_whatever_order_is_answered_and_stored_as_the_reference_says(sequential 1..STEPS => Machine);
}

/// Random sequences prove nothing of what they never get to: in a handful of runs they get everywhere.
#[test]
fn sequences_get_to_everything_that_they_are_for() {
    let mut runner = TestRunner::deterministic();
    let mut seen = String::new();
    for _ in 0..5 * CASES {
        let sequence = Machine::sequential_strategy(1..STEPS).new_tree(&mut runner).unwrap().current();
        let mut reference = sequence.0;
        for command in &sequence.1 {
            reference.take(command);
            seen.push_str(&reference.answer);
            seen.push_str(&reference.rows().concat());
        }
    }
    for wanted in [
        "lost",
        "FLT02",
        "done",
        "duplicate",
        "conflict",
        "fatal",
        "attempts_exhausted",
        "crash_loop",
        "worker_lost",
        "reason cancelled",
        "expired charged true",
        "expired charged false",
        "released",
        "snoozed",
        "moved to now",
        "already due",
        "created true",
        "created false",
        "Requested",
        "Finished",
        "Unknown",
        "crashes 2",
        "paused",
    ] {
        assert!(seen.contains(wanted), "no sequence gets to: {wanted}");
    }
}
