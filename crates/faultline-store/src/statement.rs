//! Running one statement of `sql/`: prepared once a session, its error sorted by whether it may have run.

use crate::error::{Error, Result};
use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

pub(crate) async fn query(client: &ClientWrapper, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
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
