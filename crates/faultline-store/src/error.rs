//! What can go wrong between a process and its database, sorted by what the caller may conclude.

use std::error::Error as _;
use tokio_postgres::error::SqlState;

/// SQLSTATE of `faultline.enqueue` for a key that is taken by another request.
pub const KEY_CONFLICT: &str = "FLT01";
/// SQLSTATE of `faultline.complete_in_tx` for a lease that is no longer held.
pub const LEASE_LOST: &str = "FLT02";

/// A failed call of the store. The variants say what may have happened, which decides what the caller may do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable connection: nothing was sent, nothing happened.
    #[error("cannot reach the database: {reason}")]
    Unreachable {
        /// The cause in one line.
        reason: String,
    },
    /// The statement was sent and its outcome is unknown: it may have been committed.
    #[error("lost the connection to the database before its answer: {reason}")]
    Indeterminate {
        /// The cause in one line.
        reason: String,
    },
    /// The database refused the statement and undid it.
    #[error("the database refused the statement: {message} (SQLSTATE {code})")]
    Refused {
        /// The SQLSTATE, five characters.
        code: String,
        /// The database's message.
        message: String,
        /// The field that the SQL functions name for a value out of bounds.
        field: Option<String>,
    },
    /// The schema is not there.
    #[error("the database has no schema faultline; run `faultline migrate`")]
    SchemaMissing,
    /// The schema is older than this program needs.
    #[error("the database's schema is at version {found}, this program needs {needed}; run `faultline migrate`")]
    SchemaTooOld {
        /// The newest migration that was applied.
        found: i32,
        /// The newest migration that this program knows.
        needed: i32,
    },
    /// The database URL can't be used.
    #[error("the database URL can't be used: {reason}")]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// A migration that was applied differs from the one of that number in this program.
    #[error("migration {version} in the database differs from this program's; was it built from another source?")]
    MigrationDiffers {
        /// The migration's number.
        version: i32,
    },
    /// A value is out of bounds.
    #[error(transparent)]
    Invalid(#[from] faultline_core::Invalid),
}

/// The result of a call of the store.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the connection is of no further use and must not go back to a pool.
    pub fn is_connection_fault(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Indeterminate { .. })
    }

    /// Whether the same call may succeed later without anybody changing anything but the database's state.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Indeterminate { .. } | Self::SchemaMissing | Self::SchemaTooOld { .. } => {
                true
            }
            // Serialization failure, deadlock, lock time-out, out of resources, cancelled by a time-out or an operator.
            Self::Refused { code, .. } => {
                ["40", "53", "57", "58"].iter().any(|class| code.starts_with(class))
                    || code == "55P03"
                    || code == "XX000"
            }
            Self::Url { .. } | Self::MigrationDiffers { .. } | Self::Invalid(_) => false,
        }
    }

    /// Whether one of the values sent is to blame, so that a batch is worth splitting to find it.
    pub fn is_about_data(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code.starts_with("22") || code.starts_with("23") || code.starts_with("54"))
    }

    /// The same failure where the caller knows that nothing had been sent.
    pub(crate) fn before_sending(self) -> Self {
        match self {
            Self::Indeterminate { reason } => Self::Unreachable { reason },
            other => other,
        }
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            return Self::Indeterminate { reason: one_line(&error) };
        };
        let code = db.code();
        if *code == SqlState::UNDEFINED_TABLE
            || *code == SqlState::INVALID_SCHEMA_NAME
            || *code == SqlState::UNDEFINED_FUNCTION
            || *code == SqlState::UNDEFINED_OBJECT && db.message().contains("faultline")
        {
            return Self::SchemaMissing;
        }
        // Shutdown and crash of a backend may come while it commits; a read-only session was demoted.
        if code.code().starts_with("57P") || code.code().starts_with("08") {
            return Self::Indeterminate { reason: db.message().to_owned() };
        }
        if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
            return Self::Unreachable { reason: "connected to a read-only server".into() };
        }
        Self::Refused {
            code: code.code().to_owned(),
            message: db.message().to_owned(),
            field: db.column().map(str::to_owned),
        }
    }
}

/// An error and its sources in one line, each said once.
pub(crate) fn one_line(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}
