//! That the explorer can fail: this very program again, with a defect in the statements. `make mutants` tries all of
//! them.

use faultline_store::mutants::VARIABLE;
use std::process::Command;

/// The output of one of the tests here, which must fail with the mutant.
fn fails_with(mutant: &str, test: &str) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let ran = command.args(["--exact", test]).env(VARIABLE, mutant).output().unwrap();
    let output = String::from_utf8(ran.stdout).unwrap();
    assert!(!ran.status.success() && output.contains(&format!("test {test} ... FAILED")), "{mutant}: {output}");
    output
}

#[test]
fn a_fence_that_compares_attempts_is_seen_by_the_checker() {
    let test = "leases::a_holder_that_gave_back_and_finishes_after_all_ends_nobody_elses_attempt";
    let output = fails_with("finish-with-attempt-only", test);
    assert!(output.contains("invariant 12") && output.contains("invariant 15"), "{output}");
}

#[test]
fn a_claim_that_does_not_look_again_is_refused_by_the_table() {
    let output = fails_with("claim-without-recheck", "leases::claims_of_one_job_in_any_order");
    assert!(output.contains("illegal transition"), "{output}");
}
