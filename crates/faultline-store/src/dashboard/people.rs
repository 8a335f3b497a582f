//! What operators did, and the clock that it is told by.

use crate::error::Result;
use crate::session::ClientWrapper;
use crate::statement::{query, query_opt};
use jiff::Timestamp;
use std::collections::HashMap;

const PAUSED_BY: &str = include_str!("../../sql/paused_by.sql");

/// Who paused each queue that is paused, by the queue's name, at most 1,000. A queue whose pause was not noted is left out.
///
/// # Errors
/// Those of the connection.
pub async fn paused_by(client: &ClientWrapper) -> Result<HashMap<String, String>> {
    let rows = query(client, PAUSED_BY, &[]).await?;
    rows.iter().map(|row| Ok((row.try_get("name")?, row.try_get("actor")?))).collect()
}

/// The database's time. Ages are told by it: those of a process's own clock would be wrong by as much as that is.
///
/// # Errors
/// Those of the connection.
pub async fn now(client: &ClientWrapper) -> Result<Timestamp> {
    let row = query_opt(client, "select clock_timestamp()", &[]).await?;
    row.map_or(Ok(Timestamp::UNIX_EPOCH), |row| Ok(row.try_get(0)?))
}
