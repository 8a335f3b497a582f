//! What the documents name must exist: drills, tests, parts of the model.

use faultline_drill::DRILLS;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All Rust code of the repository.
fn code(dir: &Path, into: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            code(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// What stands between back-ticks in the lines that begin so.
fn quoted(text: &str, begin: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with(begin));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn every_proof_that_the_guarantees_name_exists() {
    let text = std::fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let mut all = String::new();
    code(&root().join("crates"), &mut all);
    let tests = quoted(&text, "| tests ");
    assert!(tests.len() > 15, "{tests:?}");
    for test in tests {
        assert!(all.contains(&format!("fn {test}(")), "there is no test {test}");
    }
    for part in quoted(&text, "| model ") {
        let known = ["Promise", "Variant"].iter().any(|of| all.contains(&format!("{of}::{part}")));
        assert!(known, "the model has no {part}");
    }
    let named: Vec<String> = quoted(&text, "| drills ");
    let repeated = quoted(&text, "| repeat it ");
    let repeated = repeated.iter().flat_map(|command| command.split(' ').skip(3)).map(str::to_owned);
    for drill in named.into_iter().chain(repeated) {
        assert!(DRILLS.iter().any(|known| known.name == drill), "there is no drill {drill}");
    }
}

#[test]
fn every_drill_is_described() {
    let text = std::fs::read_to_string(root().join("docs/drills.md")).unwrap();
    for drill in DRILLS {
        assert!(text.contains(&format!("\n**{}** (", drill.name)), "docs/drills.md does not describe {}", drill.name);
    }
}
