//! Runs one test or drill, with a mutant or without.

use crate::build::Programs;
use faultline_store::mutants::{Killer, VARIABLE};
use std::collections::BTreeSet;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// What a test or a drill may take. One that a mutant keeps from ending is killed, and so is the mutant.
const LIMIT: Duration = Duration::from_secs(240);
/// Characters of what a failed test says that are kept.
const MOST_SHOWN: usize = 240;

/// How it ended.
pub(crate) enum Ran {
    Passed,
    /// With what it said.
    Failed(String),
}

/// Runs a killer. An error says that nothing was learned.
pub(crate) fn run(killer: &Killer, mutant: Option<&str>, programs: &Programs) -> Result<Ran, String> {
    // A drill that fails would keep its evidence elsewhere.
    let evidence = tempfile::tempdir().map_err(|error| format!("no directory for evidence: {error}"))?;
    let mut command = match killer {
        Killer::Test { package, target, name } => {
            let mut command = Command::new(programs.test(package, target)?);
            command.args(["--exact", name]).current_dir(format!("{}/../{package}", env!("CARGO_MANIFEST_DIR")));
            command
        }
        Killer::Drill { name, seed } => {
            let mut command = Command::new(programs.faultline()?);
            command.args(["drill", "run", name, "--seed", &seed.to_string(), "--report"]).arg(evidence.path());
            command
        }
    };
    command.env("RUST_BACKTRACE", "0").env(VARIABLE, mutant.unwrap_or_default());
    let Some((passed, output)) = within(LIMIT, command)? else { return Ok(Ran::Failed("it did not end".into())) };
    if let Killer::Test { name, .. } = killer
        && !output.contains(&format!("test {name} ... "))
    {
        return Err(format!("there is no test {killer}:\n{output}"));
    }
    Ok(if passed { Ran::Passed } else { Ran::Failed(reason(&output)) })
}

/// Whether the command succeeded, and all that it printed; `None`: it was killed when the time was over.
fn within(limit: Duration, mut command: Command) -> Result<Option<(bool, String)>, String> {
    let failed = |error| format!("{command:?} can't be run: {error}");
    let (mut reader, writer) = std::io::pipe().map_err(failed)?;
    let both = writer.try_clone().map_err(failed)?;
    let child = command.stdin(Stdio::null()).stdout(writer).stderr(both).spawn();
    let mut child = child.map_err(|error| format!("{command:?} can't be run: {error}"))?;
    // The ends for writing are the child's alone from here on.
    drop(command);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut output = Vec::new();
        // What can't be read is missing in the table; nobody may wait for it any more either.
        let _ = reader.read_to_end(&mut output);
        let _ = sender.send(String::from_utf8_lossy(&output).into_owned());
    });
    let output = receiver.recv_timeout(limit).ok();
    if output.is_none() {
        child.kill().map_err(|error| format!("can't be killed: {error}"))?;
    }
    let status = child.wait().map_err(|error| format!("can't be waited for: {error}"))?;
    Ok(output.map(|output| (status.success(), output)))
}

/// What tells most: the violated invariants and the first of them in words, or what a test panicked with.
fn reason(output: &str) -> String {
    let mut lines = output.lines().map(str::trim);
    let violated: Vec<(u8, &str)> = lines.clone().filter_map(violation).collect();
    let mut panicked = || {
        lines.find(|line| line.contains(" panicked at "))?;
        let said = lines.by_ref().take_while(|line| !line.is_empty() && !line.starts_with("note: "));
        Some(said.collect::<Vec<_>>().join(" "))
    };
    let text = match violated.first() {
        Some((_, first)) => {
            let numbers: BTreeSet<u8> = violated.iter().map(|(number, _)| *number).collect();
            let numbers: Vec<String> = numbers.iter().map(u8::to_string).collect();
            format!("invariant {}: {first}", numbers.join(", "))
        }
        None => panicked().unwrap_or_else(|| "it failed".into()),
    };
    let text = text.split_once(" went wrong: ").map_or(text.as_str(), |(_, how)| how);
    without_ids(text).split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MOST_SHOWN).collect()
}

/// A line of the explorer (`invariant 15: …`) or of a drill (`violated: 15 …`).
fn violation(line: &str) -> Option<(u8, &str)> {
    let rest = line.strip_prefix("invariant ").or_else(|| line.strip_prefix("violated: "))?;
    let (number, what) = rest.split_once(' ')?;
    Some((number.trim_end_matches(':').parse().ok()?, what))
}

/// Ids and times differ from run to run: every word of many digits becomes a dot.
fn without_ids(text: &str) -> String {
    let mut short = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| !c.is_ascii_hexdigit() && c != '-') {
        let end = word.trim_end_matches(|c: char| !c.is_ascii_hexdigit() && c != '-').len();
        let is_id = word.chars().filter(char::is_ascii_digit).count() >= 8;
        short += if is_id { "…" } else { &word[..end] };
        short += &word[end..];
    }
    short
}
