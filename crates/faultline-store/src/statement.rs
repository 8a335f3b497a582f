//! Running one statement of `sql/`.

use crate::error::Result;
use crate::session::ClientWrapper;
use crate::types::Param;
use tokio_postgres::Row;

const CONFIRM: &str = include_str!("../sql/confirm.sql");

/// Returns when all that was committed before is as durable as the database's settings demand. An answer that rests on
/// reading what an earlier try has committed needs this: that try may have ended while it waited for a standby.
pub(crate) async fn confirm(client: &ClientWrapper) -> Result<()> {
    query(client, CONFIRM, &[]).await.map(|_| ())
}

pub(crate) async fn query(client: &ClientWrapper, sql: &str, params: &[&dyn Param]) -> Result<Vec<Row>> {
    #[cfg(feature = "mutants")]
    let sql = &crate::mutants::edited_statement(sql);
    client.run(sql, params).await
}

pub(crate) async fn query_opt(client: &ClientWrapper, sql: &str, params: &[&dyn Param]) -> Result<Option<Row>> {
    Ok(query(client, sql, params).await?.pop())
}
