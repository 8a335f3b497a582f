//! `make mutants`: runs every mutant against its killers, and the killers without a mutant, and writes docs/mutants.md.
//!
//! `cargo run -p faultline-store --features mutants --example mutants [NAME…]`. With names only those are run, and
//! nothing is written. Ends with 1 if a mutant survives, or if a killer fails without one: a test that always fails
//! kills everybody.

mod build;
mod run;

use build::Programs;
use faultline_store::mutants::{ALL, Killer, Mutant};
use run::Ran;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Instant;

const INTRODUCTION: &str = include_str!("introduction.md");

fn main() -> ExitCode {
    match run_all() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run_all() -> Result<bool, String> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let chosen: Vec<&Mutant> = ALL.iter().filter(|mutant| names.is_empty() || is_named(mutant, &names)).collect();
    if chosen.len() < names.len() {
        return Err(format!("one of {names:?} is no mutant"));
    }
    let began = Instant::now();
    let programs = Programs::build(chosen.iter().flat_map(|mutant| mutant.killers))?;
    println!("built after {} s", began.elapsed().as_secs());
    let sound = controls(&chosen, &programs)?;
    let (mut killed, mut rows) = (0, String::new());
    for mutant in &chosen {
        let row = attack(mutant, &programs)?;
        killed += usize::from(row.is_some());
        rows += &row.unwrap_or_default();
    }
    println!("{killed} of {} mutants killed after {} s", chosen.len(), began.elapsed().as_secs());
    let passed = sound && killed == chosen.len();
    if passed && names.is_empty() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/mutants.md");
        std::fs::write(path, format!("{INTRODUCTION}{rows}"))
            .map_err(|error| format!("cannot write {path}: {error}"))?;
    }
    Ok(passed)
}

fn is_named(mutant: &Mutant, names: &[String]) -> bool {
    names.iter().any(|name| name == mutant.name)
}

/// Each killer once without a mutant; whether all passed.
fn controls(mutants: &[&Mutant], programs: &Programs) -> Result<bool, String> {
    let mut done: Vec<&Killer> = Vec::new();
    let mut sound = true;
    for killer in mutants.iter().flat_map(|mutant| mutant.killers) {
        if done.contains(&killer) {
            continue;
        }
        done.push(killer);
        if let Ran::Failed(how) = run::run(killer, None, programs)? {
            sound = false;
            println!("without a mutant: {killer} fails: {how}");
        }
    }
    println!("{} tests and drills were run without a mutant", done.len());
    Ok(sound)
}

/// A mutant against each of its killers; its row of the table, if all of them failed.
fn attack(mutant: &Mutant, programs: &Programs) -> Result<Option<String>, String> {
    let mut row = format!("| `{}` | {} | {} | ", mutant.name, mutant.does, mutant.breaks);
    let mut shown = Vec::new();
    for (at, killer) in mutant.killers.iter().enumerate() {
        match run::run(killer, Some(mutant.name), programs)? {
            Ran::Passed => {
                println!("{} SURVIVES {killer}", mutant.name);
                return Ok(None);
            }
            Ran::Failed(how) => {
                println!("{} killed by {killer}: {how}", mutant.name);
                let _ = write!(row, "{}{killer}", if at > 0 { "<br>" } else { "" });
                shown.push(how.replace('|', "\\|"));
            }
        }
    }
    let _ = writeln!(row, " | {} |", shown.join("<br>"));
    Ok(Some(row))
}
