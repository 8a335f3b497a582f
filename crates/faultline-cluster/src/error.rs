//! What can go wrong with a private cluster, in words for the person at the terminal.

use std::io;
use std::path::{Path, PathBuf};

/// Why a cluster could not be found, started or controlled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// No usable server programs anywhere; the text says what to install.
    #[error("{0}")]
    NotInstalled(String),
    /// A directory was named as the place of the server programs, and they are not usable.
    #[error("no usable PostgreSQL server programs in {}: {reason}", dir.display())]
    UnusablePrograms {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process runs a cluster in this directory.
    #[error("{} is in use by {holder}: stop that first, or choose another data directory", dir.display())]
    InUse {
        /// The directory asked for.
        dir: PathBuf,
        /// Who holds it, as far as it is known.
        holder: String,
    },
    /// The data was made by another major version than the programs found.
    #[error(
        "the data in {} was made by PostgreSQL {data}, but the programs found are {programs}: \
         set FAULTLINE_PG_BIN to the programs of {data}, or remove the directory",
        dir.display()
    )]
    OtherVersion {
        /// The directory asked for.
        dir: PathBuf,
        /// Major version of the data.
        data: String,
        /// Major version of the programs.
        programs: u32,
    },
    /// `initdb` failed.
    #[error("initdb failed with status {status}:\n{log}")]
    Initdb {
        /// Its exit status.
        status: i32,
        /// The last lines that it printed.
        log: String,
    },
    /// Another cluster could not be copied.
    #[error("pg_basebackup failed with status {status}:\n{log}")]
    Copy {
        /// Its exit status; 127 if the program is missing.
        status: i32,
        /// The last lines that it printed.
        log: String,
    },
    /// The postmaster ended, or did not get ready in time; the log says why.
    #[error("postgres did not start: {reason}\n{log}")]
    Start {
        /// What was seen from the outside.
        reason: String,
        /// The last lines of this start's log.
        log: String,
    },
    /// The operation needs a running server, or one that is not.
    #[error("the server is {0}")]
    NotNow(&'static str),
    /// The server did not do in time what it was told.
    #[error("the server did not {what} within {limit_s} s")]
    Timeout {
        /// What it was told.
        what: &'static str,
        /// The limit, in seconds.
        limit_s: u64,
    },
    /// A statement failed.
    #[error("{message} (SQLSTATE {code})")]
    Sql {
        /// The server's message.
        message: String,
        /// The five characters of the SQLSTATE.
        code: String,
    },
    /// The operating system refused something.
    #[error("{what}")]
    Io {
        /// What was attempted.
        what: String,
        /// What it answered.
        #[source]
        source: io::Error,
    },
}

impl ClusterError {
    /// For `map_err`: what was being done, on which path.
    pub(crate) fn io(what: &str, path: &Path) -> impl FnOnce(io::Error) -> ClusterError {
        let what = format!("{what} {}", path.display());
        move |source| ClusterError::Io { what, source }
    }

    /// For `map_err` where there is no path.
    pub(crate) fn os(what: &'static str) -> impl FnOnce(io::Error) -> ClusterError {
        move |source| ClusterError::Io { what: what.to_owned(), source }
    }
}
