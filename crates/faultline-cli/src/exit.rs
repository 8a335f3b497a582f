//! How the program ends: exit codes, and one line on standard error that says what to do.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// The end of a command: its exit code, or the error that [`report`] prints.
pub(crate) type Done = anyhow::Result<ExitCode>;

/// The exit code of a command that failed, or whose answer is no.
pub(crate) const FAILURE: u8 = 1;
/// The exit code of a command that was called wrongly, as clap's own.
pub(crate) const USAGE: u8 = 2;

/// A command that was called wrongly in a way that only shows once it runs.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// An error that ends with exit code 2.
pub(crate) fn usage(text: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(text.into()))
}

/// Prints an error with its causes in one line and answers the exit code. An output that nobody reads any more, as in
/// `faultline job list | head -1`, is no error.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    say(&format!("error: {error:#}"));
    ExitCode::from(if error.is::<Usage>() { USAGE } else { FAILURE })
}

/// Writes a line to standard error; if that is closed, nobody wants to know.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
