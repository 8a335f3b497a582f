//! A search, and what it says of itself.

use faultline_model::{Promise, Protocol, Scope, Witness};
use stateright::{Checker, HasDiscoveries, Model};
use std::time::{Duration, Instant};

/// Threads of one search: with one, the path to a broken promise is one of the shortest. Tests run beside each other anyway.
const THREADS: usize = 1;
/// No search takes anywhere near as long: one that does was given too large a world.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// Searches the whole world of `scope`: every promise must hold, and everything in `required` be seen.
pub(crate) fn holds(name: &str, scope: Scope, required: &[Witness]) {
    let began = Instant::now();
    let model = Protocol::new(scope);
    let witnesses = model.witnesses.clone();
    let tested: Vec<&str> = Promise::ALL.iter().filter(|p| model.tests(**p)).map(|p| p.text()).collect();
    let checker = model.checker().threads(THREADS).timeout(TIME_LIMIT).spawn_bfs().join();
    let found = |witness: &Witness| witnesses.seen(*witness);
    println!(
        "{name}: {} states, {} transitions, depth {}, {:.1?}; promises: {}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed(),
        tested.join(", "),
    );
    let seen: Vec<String> =
        Witness::ALL.iter().filter(|w| found(w) > 0).map(|w| format!("{w:?} {}", found(w))).collect();
    println!("  seen: {}", seen.join(", "));
    if let Some((property, path)) = checker.discoveries().into_iter().next() {
        let actions: Vec<String> = path.clone().into_actions().iter().map(|action| format!("{action:?}")).collect();
        panic!("{name}: \"{property}\" is broken by {}\nlast: {:#?}", actions.join(" · "), path.last_state());
    }
    assert!(checker.is_done(), "{name}: not searched to the end");
    let missing: Vec<&Witness> = required.iter().filter(|witness| found(witness) == 0).collect();
    assert!(missing.is_empty(), "{name}: never seen: {missing:?}");
}

/// Searches until `promise` breaks, which it must.
pub(crate) fn breaks(scope: Scope, promise: Promise) {
    let began = Instant::now();
    let variant = scope.variant;
    let model = Protocol::new(scope);
    assert!(model.tests(promise), "this world can't test it");
    let wanted = HasDiscoveries::AnyOf([promise.text()].into());
    let checker = model.checker().threads(THREADS).timeout(TIME_LIMIT).finish_when(wanted).spawn_bfs().join();
    let path = checker.discovery(promise.text()).unwrap_or_else(|| panic!("{variant:?} breaks no promise"));
    let actions: Vec<String> = path.into_actions().iter().map(|action| format!("{action:?}")).collect();
    println!(
        "{variant:?} breaks \"{}\" ({} states, {:.1?}): {}",
        promise.text(),
        checker.unique_state_count(),
        began.elapsed(),
        actions.join(" · ")
    );
}
