//! Builds the tests and the program with the mutants in them.

use faultline_store::mutants::Killer;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What was built.
pub(crate) struct Programs {
    /// By package and target.
    tests: HashMap<(String, String), PathBuf>,
    /// `faultline`, where a drill is among the killers.
    drills: Option<PathBuf>,
}

impl Programs {
    /// Builds what the killers need.
    pub(crate) fn build<'a>(killers: impl Iterator<Item = &'a Killer>) -> Result<Self, String> {
        let with_drills = killers.into_iter().any(|killer| matches!(killer, Killer::Drill { .. }));
        let features = ["--features", "faultline-store/mutants,faultline/mutants"];
        let tests = cargo(&["test", "--no-run", "-p", "faultline-store", "-p", "faultline"], &features)?;
        let tests = tests.iter().filter(|artifact| artifact["profile"]["test"] == true).filter_map(test).collect();
        let mut drills = None;
        if with_drills {
            let built = cargo(&["build", "-p", "faultline-cli"], &["--features", "faultline-cli/mutants"])?;
            drills = built.iter().find_map(executable);
        }
        Ok(Self { tests, drills })
    }

    /// The binary of a test.
    pub(crate) fn test(&self, package: &str, target: &str) -> Result<&Path, String> {
        let found = self.tests.get(&(package.to_owned(), target.to_owned()));
        found.map(PathBuf::as_path).ok_or_else(|| format!("{package} has no test {target}"))
    }

    /// The program.
    pub(crate) fn faultline(&self) -> Result<&Path, String> {
        self.drills.as_deref().ok_or_else(|| "the program was not built".to_owned())
    }
}

/// Runs cargo; answers what it says that it has built.
fn cargo(what: &[&str], features: &[&str]) -> Result<Vec<Value>, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(what).args(features).arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let output = command.spawn().and_then(std::process::Child::wait_with_output);
    let output = output.map_err(|error| format!("cargo can't be run: {error}"))?;
    if !output.status.success() {
        return Err("the build has failed".into());
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    Ok(lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn test(artifact: &Value) -> Option<((String, String), PathBuf)> {
    let manifest = Path::new(artifact["manifest_path"].as_str()?);
    let package = manifest.parent()?.file_name()?.to_str()?.to_owned();
    let target = &artifact["target"];
    let name = if target["kind"][0] == "lib" { "lib" } else { target["name"].as_str()? };
    Some(((package, name.to_owned()), executable(artifact)?))
}

fn executable(artifact: &Value) -> Option<PathBuf> {
    artifact["executable"].as_str().map(PathBuf::from)
}
