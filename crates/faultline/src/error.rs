//! What can go wrong for a user of the library.

use faultline_core::{Invalid, JobId};

/// A failed call of the [`crate::Client`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value is out of bounds; nothing was sent.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The payload could not be turned into JSON; nothing was sent.
    #[error("the payload is not JSON")]
    Payload(#[source] serde_json::Error),
    /// The key is taken by another request; nothing was changed.
    #[error("the key is taken by another request, that of job {holder}")]
    KeyConflict {
        /// The job that holds the key.
        holder: JobId,
    },
    /// It could not be found out whether the job was committed. Look for it by this id, or enqueue again with the same key.
    #[error("it is unknown whether job {id} was enqueued")]
    Indeterminate {
        /// The job's id, should it exist.
        id: JobId,
        /// Why it is unknown.
        #[source]
        source: faultline_store::Error,
    },
    /// The lease of the job is no longer held: roll the transaction back.
    #[error("the lease is no longer held")]
    LeaseLost,
    /// The caller's own driver failed: roll its transaction back.
    #[error("the transaction's driver failed")]
    Driver(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database could not be reached, or refused.
    #[error(transparent)]
    Store(faultline_store::Error),
}

#[cfg(feature = "sqlx")]
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(e) if e.code().as_deref() == Some(faultline_store::LEASE_LOST) => Self::LeaseLost,
            _ => Self::Driver(Box::new(error)),
        }
    }
}

#[cfg(feature = "diesel")]
impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        match &error {
            // Diesel keeps no SQLSTATE; the text is that of faultline.complete_in_tx.
            diesel::result::Error::DatabaseError(_, info) if info.message().ends_with("is no longer held") => {
                Self::LeaseLost
            }
            _ => Self::Driver(Box::new(error)),
        }
    }
}

impl From<faultline_store::Error> for Error {
    fn from(error: faultline_store::Error) -> Self {
        match error {
            faultline_store::Error::Invalid(invalid) => Self::Invalid(invalid),
            other => Self::Store(other),
        }
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        if error.code().is_some_and(|code| code.code() == faultline_store::LEASE_LOST) {
            return Self::LeaseLost;
        }
        Self::from(faultline_store::Error::from(error))
    }
}
