//! The command of `work --exec`: its words, and whether it is there.

use crate::exit::usage;
use anyhow::Result;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A command and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// Takes the words as they are; a single one is split as a shell splits words, without expanding anything.
    ///
    /// # Errors
    /// A usage error when there is no command, quotes don't match, or the command is not there or not executable.
    pub(crate) fn new(words: &[String]) -> Result<Self> {
        let words = match words {
            [line] => shell_words::split(line).map_err(|error| usage(format!("--exec {line}: {error}")))?,
            words => words.to_vec(),
        };
        let Some((command, arguments)) = words.split_first().filter(|(command, _)| !command.is_empty()) else {
            return Err(usage("--exec needs a command, such as --exec ./handler.sh"));
        };
        let path = find(command, std::env::var_os("PATH").as_deref())?;
        Ok(Self { path, arguments: arguments.iter().map(OsString::from).collect() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn arguments(&self) -> &[OsString] {
        &self.arguments
    }
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.display().fmt(f)
    }
}

/// Finds a command as a shell does, so that a wrong one is reported now and not by every job.
fn find(command: &str, path: Option<&OsStr>) -> Result<PathBuf> {
    if command.contains('/') {
        return match Path::new(command).metadata() {
            Ok(found) if found.is_dir() => Err(usage(format!("--exec {command}: it is a directory"))),
            Ok(found) if found.permissions().mode() & 0o111 == 0 => {
                Err(usage(format!("--exec {command}: it is not executable; make it so with `chmod +x {command}`")))
            }
            Ok(_) => Ok(PathBuf::from(command)),
            Err(error) => Err(usage(format!("--exec {command}: {error}"))),
        };
    }
    let directories = path.map(OsStr::as_bytes).unwrap_or_default().split(|byte| *byte == b':');
    let candidates = directories.map(|directory| Path::new(OsStr::from_bytes(directory)).join(command));
    candidates
        .into_iter()
        .find(|file| file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0))
        .ok_or_else(|| usage(format!("--exec {command}: no such command on the PATH; a file here is ./{command}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Result<Vec<String>, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let program = Program::new(&words).map_err(|error| error.to_string())?;
        Ok(program.arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn one_string_is_split_and_many_words_are_taken_as_they_are() {
        assert_eq!(words(&["sh -c 'echo \"$1\"' x"]).unwrap(), ["-c", "echo \"$1\"", "x"]);
        assert_eq!(words(&["sh", "-c", "echo a  b"]).unwrap(), ["-c", "echo a  b"]);
    }

    #[test]
    fn a_command_that_cannot_run_is_refused_at_once() {
        assert!(words(&[""]).unwrap_err().contains("needs a command"));
        assert!(words(&["sh -c 'x"]).unwrap_err().contains("quote"));
        assert!(words(&["no-such-command-here"]).unwrap_err().contains("PATH"));
        assert!(words(&["./no-such-file"]).unwrap_err().contains("No such file"));
        assert!(words(&["/"]).unwrap_err().contains("directory"));
        assert!(words(&["/etc/passwd"]).unwrap_err().contains("chmod +x"));
    }
}
