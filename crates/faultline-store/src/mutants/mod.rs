//! Deliberate defects, to show that the tests and drills have teeth: behind the feature `mutants`, for tests alone, the
//! environment variable `FAULTLINE_MUTANT` switches one of [`ALL`] on. Without the feature nothing of this is compiled.
//!
//! Most are other texts of a shipped statement ([`Edit`]); what is a defect of the programs stands at its place,
//! guarded by [`crate::mutant!`]. An edit whose text is not found panics, so that no mutant turns into the real thing
//! when the SQL changes.

mod catalogue;
mod edit;

pub use catalogue::{ALL, Killer, Mutant};
pub use edit::{Edit, Of};
pub(crate) use edit::{edited_functions, edited_options, edited_statement, reap_in_two_statements};

use std::sync::LazyLock;

/// The name of the environment variable.
pub const VARIABLE: &str = "FAULTLINE_MUTANT";

/// Whether this mutant is switched on.
///
/// # Panics
/// For a name that is no mutant's, here or in the environment.
pub fn on(name: &str) -> bool {
    assert!(ALL.iter().any(|mutant| mutant.name == name), "{name} is no mutant");
    chosen().is_some_and(|mutant| mutant.name == name)
}

fn chosen() -> Option<&'static Mutant> {
    static CHOSEN: LazyLock<Option<&'static Mutant>> = LazyLock::new(|| {
        let name = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())?;
        let mutant = ALL.iter().find(|mutant| mutant.name == name);
        Some(mutant.unwrap_or_else(|| panic!("{VARIABLE}: {name} is no mutant")))
    });
    *CHOSEN
}
