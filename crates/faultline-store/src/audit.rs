//! The transition log `faultline.job_events` (migrations/0003_audit.sql): one row for every transition, written by triggers
//! while it is on. Off by default, since it about doubles what the database does for a job (docs/decisions/0003-transition-log.md).
//! Not to be confused with `audit_log`, which holds what operators did.

use crate::error::Result;
use crate::session::ClientWrapper;
use crate::statement::query_opt;

/// Switches the log on. Statements that are already writing to jobs are waited for, two seconds at most.
///
/// # Errors
/// [`Refused`](crate::Error::Refused) when they took longer: try again. Otherwise those of the connection.
pub async fn on(client: &ClientWrapper) -> Result<()> {
    query_opt(client, "select faultline.audit_on()", &[]).await.map(|_| ())
}

/// Switches the log off; what it holds stays.
///
/// # Errors
/// As with [`on`].
pub async fn off(client: &ClientWrapper) -> Result<()> {
    query_opt(client, "select faultline.audit_off()", &[]).await.map(|_| ())
}

/// Whether every transition leaves an event now.
///
/// # Errors
/// Those of the connection.
pub async fn is_on(client: &ClientWrapper) -> Result<bool> {
    let row = query_opt(client, "select faultline.audit_is_on()", &[]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(false))
}
