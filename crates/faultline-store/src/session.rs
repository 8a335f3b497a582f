//! A session as statements see it, and the two ways to run a statement on it.
//!
//! On a session of our own a statement is prepared once, under a name, and its plan is kept; limits and plan settings came with the start-up
//! packet. Behind a pooler in transaction mode the next statement may meet another backend: nothing may be left on it, neither a
//! prepared statement nor a setting, and nothing found there is ours. So each statement is a transaction of its own that brings its
//! settings along: `begin` with the settings, the statement without a name and with all types told, `commit`, sent together
//! in one round trip. What it costs is the planning of each call.

use crate::error::{Error, Result};
use crate::types::Param;
use jiff::Timestamp;
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Statement, Transaction};

/// An open session.
pub struct ClientWrapper {
    client: Client,
    driver: JoinHandle<()>,
    /// `begin` with the settings of each transaction; none for a session of our own, which has them.
    begin: Option<Arc<str>>,
    /// When its server started; none where a pooler may change it from one transaction to the next.
    server: Option<Timestamp>,
    /// By their text.
    prepared: Mutex<HashMap<Box<str>, Statement>>,
}

impl Deref for ClientWrapper {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for ClientWrapper {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Drop for ClientWrapper {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl ClientWrapper {
    pub(crate) fn new(
        client: Client,
        driver: JoinHandle<()>,
        begin: Option<Arc<str>>,
        server: Option<Timestamp>,
    ) -> Self {
        Self { client, driver, begin, server, prepared: Mutex::default() }
    }

    /// Tells the server from every other by when it started, a promoted standby from its old primary too; none where a
    /// pooler may change it from one transaction to the next.
    pub fn server(&self) -> Option<Timestamp> {
        self.server
    }

    /// Whether nothing stands between this session and its backend, so that session state, LISTEN and the backend's life
    /// can be relied on. False behind a pooler in transaction mode.
    pub fn is_direct(&self) -> bool {
        self.begin.is_none()
    }

    /// A transaction of several statements, in read committed.
    pub(crate) async fn begin(&mut self) -> Result<Transaction<'_>> {
        let begin = self.begin.clone();
        let isolation = tokio_postgres::IsolationLevel::ReadCommitted;
        let transaction = self.client.build_transaction().isolation_level(isolation).start().await;
        let transaction = transaction.map_err(|e| Error::from(e).before_sending())?;
        if let Some(settings) = begin.as_deref().and_then(|begin| begin.split_once(';')) {
            transaction.batch_execute(settings.1).await?;
        }
        Ok(transaction)
    }

    /// Prepares a statement, once in the session's life. Not behind a pooler.
    ///
    /// # Errors
    /// Those of the connection and of the statement.
    pub async fn prepare_cached(&self, sql: &str) -> Result<Statement> {
        let known = || self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(statement) = known().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await.map_err(|e| Error::from(e).before_sending())?;
        known().insert(sql.into(), statement.clone());
        Ok(statement)
    }

    /// Runs a statement that is a transaction by itself.
    pub(crate) async fn run(&self, sql: &str, params: &[&dyn Param]) -> Result<Vec<Row>> {
        let Some(begin) = &self.begin else {
            let statement = self.prepare_cached(sql).await?;
            let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|param| param.as_sql()).collect();
            return Ok(self.client.query(&statement, &params).await?);
        };
        let params = typed(params);
        // Each is sent when it is first polled: together, and in this order.
        let (begun, rows, committed) = tokio::join!(
            self.client.batch_execute(begin),
            self.client.query_typed(sql, &params),
            self.client.batch_execute("commit")
        );
        begun?;
        let rows = rows?;
        committed?;
        Ok(rows)
    }

    /// Runs a statement and takes back what it wrote.
    pub(crate) async fn rehearse(&self, sql: &str, params: &[&dyn Param]) -> Result<Vec<Row>> {
        let params = typed(params);
        // Sent together, as above.
        let (begun, done, undone) = tokio::join!(
            self.client.batch_execute(self.begin.as_deref().unwrap_or("begin")),
            self.client.query_typed(sql, &params),
            self.client.batch_execute("rollback")
        );
        begun?;
        let rows = done?;
        undone?;
        Ok(rows)
    }
}

/// Parameters with their types, for a statement that nobody prepares.
pub(crate) fn typed<'a>(params: &[&'a dyn Param]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    params.iter().map(|param| (param.as_sql(), param.sql_type())).collect()
}
