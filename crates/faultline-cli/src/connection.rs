//! The database as commands see it: one session, errors that say what to do.

use crate::cli::Global;
use crate::exit::usage;
use anyhow::{Result, anyhow};
use faultline_store::{ClientWrapper, Database, Error, migrate};
use std::time::Duration;

/// A command asks one thing after the other.
const SESSIONS: usize = 1;
/// For what has limits of its own: migrations, checks.
const LONG_LIMIT: Duration = Duration::from_secs(3600);

/// The database URL from the flag, `FAULTLINE_DATABASE_URL` or `DATABASE_URL`.
///
/// # Errors
/// A usage error that says how to name one.
pub(crate) fn url(global: &Global) -> Result<String> {
    let inherited = || std::env::var("DATABASE_URL").ok().filter(|url| !url.is_empty());
    global.database_url.clone().filter(|url| !url.is_empty()).or_else(inherited).ok_or_else(|| {
        usage("no database is named: set DATABASE_URL or pass --database-url postgres://user@host:5432/name")
    })
}

/// A database with the schema that this program needs.
pub(crate) struct Connection {
    database: Database,
}

impl Connection {
    /// Reads the flags; connects when first asked.
    pub(crate) fn new(global: &Global) -> Result<Self> {
        Self::to(&url(global)?)
    }

    /// Reads a URL; connects when first asked.
    pub(crate) fn to(url: &str) -> Result<Self> {
        let database = Database::new(url, "faultline cli", SESSIONS).map_err(|error| usage(error.to_string()))?;
        Ok(Self { database })
    }

    /// Runs a call of the store, after a look at the schema's version: an old schema would be answered by whatever
    /// Postgres says about a column that is not there yet.
    pub(crate) async fn run<T>(
        &self,
        call: impl AsyncFnOnce(&mut ClientWrapper) -> faultline_store::Result<T>,
    ) -> Result<T> {
        let answer = self.database.run(async move |client| after_check(client, call).await).await;
        answer.map_err(|error| self.explain(&error))
    }

    /// The same for a call that limits its time itself.
    pub(crate) async fn run_long<T>(
        &self,
        call: impl AsyncFnOnce(&mut ClientWrapper) -> faultline_store::Result<T>,
    ) -> Result<T> {
        let answer = self.database.run_within(LONG_LIMIT, async move |client| after_check(client, call).await).await;
        answer.map_err(|error| self.explain(&error))
    }

    /// Runs a call whatever the schema's version is, with the time that a migration may take.
    pub(crate) async fn run_on_any_schema<T>(
        &self,
        call: impl AsyncFnOnce(&mut ClientWrapper) -> faultline_store::Result<T>,
    ) -> faultline_store::Result<T> {
        self.database.run_within(LONG_LIMIT, call).await
    }

    /// An error of the store in words for the person at the terminal.
    pub(crate) fn explain(&self, error: &Error) -> anyhow::Error {
        explain(error, self.database.shown())
    }
}

async fn after_check<T>(
    client: &mut ClientWrapper,
    call: impl AsyncFnOnce(&mut ClientWrapper) -> faultline_store::Result<T>,
) -> faultline_store::Result<T> {
    migrate::check(client).await?;
    call(client).await
}

/// An error of the store in words for the person at the terminal; `shown` names the database without its password.
pub(crate) fn explain(error: &Error, shown: &str) -> anyhow::Error {
    match error {
        Error::Unreachable { reason } => {
            anyhow!("cannot reach the database at {shown}: {reason}; is it running, and is the database URL right?")
        }
        Error::Indeterminate { reason } => anyhow!(
            "lost the connection to the database at {shown} before its answer: {reason}; whether it was done is unknown, \
             look before you repeat it"
        ),
        Error::Invalid(invalid) => usage(invalid.to_string()),
        other => anyhow!("{other}"),
    }
}
