//! Running one statement of `sql/`: prepared once a session, its error sorted by whether it may have run.

use crate::error::{Error, Result};
use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

const CONFIRM: &str = include_str!("../sql/confirm.sql");

/// Returns when all that was committed before is as durable as the database's settings demand. An answer that rests on
/// reading what an earlier try has committed needs this: that try may have ended while it waited for a standby.
pub(crate) async fn confirm(client: &ClientWrapper) -> Result<()> {
    query(client, CONFIRM, &[]).await.map(|_| ())
}

pub(crate) async fn query(client: &ClientWrapper, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
    #[cfg(feature = "mutants")]
    let sql = &crate::mutants::edited_statement(sql);
    let statement = client.prepare_cached(sql).await.map_err(|e| Error::from(e).before_sending())?;
    Ok(client.query(&statement, params).await?)
}

pub(crate) async fn query_opt(
    client: &ClientWrapper,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Option<Row>> {
    Ok(query(client, sql, params).await?.pop())
}
