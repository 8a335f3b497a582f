//! Where the server programs are.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ClusterError;

/// The oldest major version of PostgreSQL that Faultline supports.
pub const OLDEST_MAJOR: u32 = 15;

/// Names a directory of server programs and silences every other rule.
const CHOSEN: &str = "FAULTLINE_PG_BIN";

/// Where packages put server programs that are not on the PATH: (directory, prefix of a version's entry, rest).
const INSTALLED: [(&str, &str, &str); 4] = [
    ("usr/lib/postgresql", "", "bin"),          // Debian, Ubuntu
    ("usr", "pgsql-", "bin"),                   // the PostgreSQL project's RPMs
    ("opt/homebrew/opt", "postgresql@", "bin"), // Homebrew on Apple silicon
    ("usr/local/opt", "postgresql@", "bin"),    // Homebrew on Intel
];

/// The server programs of one PostgreSQL installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    bin: PathBuf,
    major: u32,
}

impl Programs {
    /// Finds server programs of at least [`OLDEST_MAJOR`].
    ///
    /// In this order: the directory in `FAULTLINE_PG_BIN`; the PATH; the newest version in the usual places of the
    /// packages of Debian, of the PostgreSQL project's RPMs and of Homebrew.
    ///
    /// # Errors
    /// [`ClusterError::UnusablePrograms`] if `FAULTLINE_PG_BIN` is set to a directory that will not do (nothing else is
    /// tried then), [`ClusterError::NotInstalled`], with what to install, if nothing is found.
    pub fn find() -> Result<Self, ClusterError> {
        find_in(std::env::var_os(CHOSEN), std::env::var_os("PATH"), Path::new("/"))
    }

    /// Takes the server programs in `dir`.
    ///
    /// # Errors
    /// [`ClusterError::UnusablePrograms`] if `postgres` or `initdb` is missing, too old, or a wrapper script: a script
    /// would stand between the cluster and its postmaster, and signals would hit the wrong process.
    pub fn in_dir(dir: &Path) -> Result<Self, ClusterError> {
        let unusable = |reason: String| ClusterError::UnusablePrograms { dir: dir.to_owned(), reason };
        let bin = dir.canonicalize().map_err(|e| unusable(e.to_string()))?;
        for name in ["postgres", "initdb"] {
            let program = bin.join(name);
            if is_script(&program).map_err(|e| unusable(format!("{name}: {e}")))? {
                return Err(unusable(format!("{name} is a wrapper script")));
            }
        }
        let output = Command::new(bin.join("postgres"))
            .arg("--version")
            .output()
            .map_err(|e| unusable(format!("postgres --version: {e}")))?;
        let text = String::from_utf8_lossy(&output.stdout);
        match major_version(&text) {
            Some(major) if major >= OLDEST_MAJOR => Ok(Programs { bin, major }),
            Some(major) => Err(unusable(format!("PostgreSQL {major} is too old, {OLDEST_MAJOR} or newer is needed"))),
            None => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(unusable(format!("postgres --version said {:?}", format!("{text}{said}").trim())))
            }
        }
    }

    /// The directory with the programs.
    #[must_use]
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The major version, 15 for example.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The full path of one program, which need not exist: packages of the bare server have no `psql`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

fn find_in(chosen: Option<OsString>, path: Option<OsString>, root: &Path) -> Result<Programs, ClusterError> {
    if let Some(dir) = chosen.filter(|dir| !dir.is_empty()) {
        return Programs::in_dir(Path::new(&dir));
    }
    let mut rejected = None;
    for dir in on_path(path).into_iter().chain(installed(root)) {
        match Programs::in_dir(&dir) {
            Ok(programs) => return Ok(programs),
            Err(error) => rejected = rejected.or(Some(error)),
        }
    }
    Err(ClusterError::NotInstalled(not_installed(rejected.as_ref())))
}

/// Directories on the PATH that hold a `postgres`, after links: a lone link in /usr/local/bin leads to its siblings.
fn on_path(path: Option<OsString>) -> Vec<PathBuf> {
    let Some(path) = path else { return Vec::new() };
    std::env::split_paths(&path)
        .filter_map(|dir| dir.join("postgres").canonicalize().ok())
        .filter_map(|program| program.parent().map(Path::to_owned))
        .collect()
}

/// The usual places that exist, newest version first.
fn installed(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (parent, prefix, rest) in INSTALLED {
        let Ok(entries) = root.join(parent).read_dir() else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(prefix)).and_then(|v| v.parse::<u32>().ok());
            let dir = entry.path().join(rest);
            if let Some(version) = version.filter(|_| dir.join("postgres").exists()) {
                found.push((version, dir));
            }
        }
    }
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, dir)| dir).collect()
}

fn is_script(program: &Path) -> std::io::Result<bool> {
    let mut start = [0; 2];
    let read = File::open(program)?.take(2).read(&mut start)?;
    Ok(&start[..read] == b"#!")
}

/// Reads `postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)`, `… 18beta1`, `… 19devel`.
fn major_version(text: &str) -> Option<u32> {
    let version = text.trim().strip_prefix("postgres (PostgreSQL) ")?;
    let digits = version.find(|c: char| !c.is_ascii_digit()).map_or(version, |end| &version[..end]);
    digits.parse().ok()
}

fn not_installed(rejected: Option<&ClusterError>) -> String {
    let mut text = format!(
        "PostgreSQL's server programs ({OLDEST_MAJOR} or newer) are not installed. Debian, Ubuntu: apt-get install postgresql; \
         Fedora: dnf install postgresql-server; Alpine: apk add postgresql17; macOS: brew install postgresql@17.\n\
         Or set {CHOSEN} to the directory that holds postgres and initdb."
    );
    if let Some(rejected) = rejected {
        text.push_str(&format!("\nRejected: {rejected}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_programs_the_error_says_what_to_install() {
        let empty = tempfile::tempdir().unwrap();
        let error = find_in(None, Some(empty.path().into()), empty.path()).unwrap_err().to_string();
        for hint in ["apt-get install postgresql", "dnf install", "apk add", "brew install", "FAULTLINE_PG_BIN"] {
            assert!(error.contains(hint), "{hint} is missing in: {error}");
        }
    }

    #[test]
    fn a_chosen_directory_that_will_not_do_is_an_error_and_nothing_else_is_tried() {
        let empty = tempfile::tempdir().unwrap();
        let error = find_in(Some(empty.path().into()), std::env::var_os("PATH"), Path::new("/")).unwrap_err();
        assert!(matches!(error, ClusterError::UnusablePrograms { .. }), "{error}");
    }

    #[test]
    fn a_wrapper_script_is_not_a_postmaster() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["postgres", "initdb"] {
            std::fs::write(dir.path().join(name), "#!/bin/sh\nexec true\n").unwrap();
        }
        let error = Programs::in_dir(dir.path()).unwrap_err().to_string();
        assert!(error.contains("wrapper script"), "{error}");
    }

    #[test]
    fn the_newest_installed_version_comes_first() {
        let root = tempfile::tempdir().unwrap();
        for place in
            ["usr/lib/postgresql/9/bin", "usr/lib/postgresql/15/bin", "usr/pgsql-18/bin", "usr/lib/postgresql/x/bin"]
        {
            let bin = root.path().join(place);
            std::fs::create_dir_all(&bin).unwrap();
            std::fs::write(bin.join("postgres"), "").unwrap();
        }
        let found: Vec<_> = installed(root.path());
        let expected =
            ["usr/pgsql-18/bin", "usr/lib/postgresql/15/bin", "usr/lib/postgresql/9/bin"].map(|p| root.path().join(p));
        assert_eq!(found, expected);
    }

    #[test]
    fn versions_are_read_from_releases_betas_and_development_builds() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)\n"), Some(15));
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major_version("postgres (PostgreSQL) 19devel"), Some(19));
        assert_eq!(major_version("psql (PostgreSQL) 15.13"), None);
        assert_eq!(major_version(""), None);
    }
}
