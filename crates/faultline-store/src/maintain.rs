//! Partitions, and rows that nobody needs any more. Any process may do this at any time.

use crate::error::Result;
use crate::session::ClientWrapper;
use crate::statement::{query, query_opt};

const PRUNE: &str = include_str!("../sql/prune.sql");
/// Rows of one kind that one statement removes at most.
const PRUNE_LIMIT: i64 = 1000;
/// Statements of one round at most: a bound on the time that a round takes.
const PRUNE_ROUNDS: usize = 100;

/// Makes the daily partitions of the coming week and drops those that are older than the retention; false when another
/// process is at it, or somebody holds a table for long: the next round does what is left.
///
/// # Errors
/// Those of the connection; nothing was changed.
pub async fn partitions(client: &ClientWrapper) -> Result<bool> {
    let row = query_opt(client, "select faultline.maintain_partitions()", &[]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(false))
}

/// Removes keys whose window is over and workers unheard of for a day; answers how many of each.
///
/// # Errors
/// Those of the connection; what was removed stays removed.
pub async fn prune(client: &ClientWrapper) -> Result<(i64, i64)> {
    let (mut keys, mut workers) = (0, 0);
    for _ in 0..PRUNE_ROUNDS {
        let rows = query(client, PRUNE, &[&PRUNE_LIMIT]).await?;
        let Some(row) = rows.first() else { break };
        let (some_keys, some_workers): (i64, i64) = (row.try_get("keys")?, row.try_get("workers")?);
        keys += some_keys;
        workers += some_workers;
        if some_keys < PRUNE_LIMIT && some_workers < PRUNE_LIMIT {
            break;
        }
    }
    Ok((keys, workers))
}
