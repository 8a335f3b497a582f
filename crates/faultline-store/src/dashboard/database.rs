//! What the database says of itself: sizes, upkeep, sessions, settings, standbys. Read from the catalog and the statistics, never by
//! counting rows. Cheap, but not for each second: some dozen files are asked for their size.

use crate::error::Result;
use crate::observe::{Holder, oldest_xmin};
use crate::session::ClientWrapper;
use crate::statement::{query, query_opt};
use jiff::Timestamp;
use serde::Serialize;

const SERVER: &str = include_str!("../../sql/facts_server.sql");
const TABLES: &str = include_str!("../../sql/facts_tables.sql");
const INDEXES: &str = include_str!("../../sql/facts_indexes.sql");
const PARTITIONS: &str = include_str!("../../sql/facts_partitions.sql");
const SESSIONS: &str = include_str!("../../sql/facts_sessions.sql");
const SETTINGS: &str = include_str!("../../sql/facts_settings.sql");
const STANDBYS: &str = include_str!("../../sql/facts_standbys.sql");

/// Rows of each list at most.
const MAX_ROWS: i64 = 500;

/// The server and the schema.
#[derive(Debug, Clone, Serialize)]
pub struct Server {
    /// As it calls itself.
    pub version: String,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// The database's name.
    pub database: String,
    /// Its size.
    pub bytes: i64,
    /// Sessions that the server allows.
    pub max_connections: i64,
    /// Sessions of clients, of all databases.
    pub connections: i64,
    /// The last migration.
    pub schema_version: i32,
    /// The version that this program needs.
    pub schema_needed: i32,
    /// When the last migration was applied.
    pub migrated_at: Option<Timestamp>,
    /// Since when the transition log is on.
    pub audit_on_since: Option<Timestamp>,
    /// How long jobs are kept after their end, in seconds.
    pub history_retention_s: i64,
    /// The position in the write-ahead log: the difference between two looks is what was written.
    pub wal_position: String,
    /// The database's time.
    pub now: Timestamp,
}

/// A table, or all partitions of one.
#[derive(Debug, Clone, Serialize)]
pub struct TableFacts {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: i64,
    /// Bytes without indexes.
    pub table_bytes: i64,
    /// Bytes of its indexes.
    pub index_bytes: i64,
    /// Rows, by the statistics.
    pub live_rows: i64,
    /// Dead rows, by the statistics.
    pub dead_rows: i64,
    /// When vacuum was last there.
    pub vacuumed_at: Option<Timestamp>,
    /// When analyze was last there.
    pub analyzed_at: Option<Timestamp>,
}

/// An index of the hot table.
#[derive(Debug, Clone, Serialize)]
pub struct IndexFacts {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: i64,
    /// How often it was used since the statistics were last reset.
    pub scans: i64,
}

/// A partition.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionFacts {
    /// The table that it belongs to.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// Its day in UTC, such as `2026-01-31`; none for the default partition.
    pub day: Option<String>,
    /// Rows, by the statistics.
    pub live_rows: i64,
    /// Bytes with indexes.
    pub bytes: i64,
}

/// Sessions of one name in one state.
#[derive(Debug, Clone, Serialize)]
pub struct SessionFacts {
    /// The name that they gave themselves.
    pub application: String,
    /// `active`, `idle`, `idle in transaction` and so on; empty where it may not be seen.
    pub state: String,
    /// How many.
    pub sessions: i64,
    /// How many of them wait for a lock.
    pub waiting: i64,
    /// For how long the oldest transaction among them has been open, in seconds.
    pub oldest_transaction_s: Option<f64>,
}

/// A setting of the server.
#[derive(Debug, Clone, Serialize)]
pub struct SettingFacts {
    /// Its name.
    pub name: String,
    /// Its value for this session.
    pub value: String,
    /// What the value counts.
    pub unit: String,
    /// Where it comes from.
    pub source: String,
    /// What an acknowledged job may be lost by, where the value allows that.
    pub warning: Option<&'static str>,
}

/// A standby or a replication slot.
#[derive(Debug, Clone, Serialize)]
pub struct StandbyFacts {
    /// `standby` or `slot`.
    pub what: String,
    /// Its name.
    pub name: String,
    /// What it does.
    pub state: String,
    /// `sync`, `quorum`, `potential` or `async`; empty for a slot.
    pub sync: String,
    /// How far it is behind, in bytes of the write-ahead log.
    pub behind_bytes: Option<i64>,
    /// The same in seconds, while something is written.
    pub behind_s: Option<f64>,
}

/// All that a page about the database shows.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// The server and the schema.
    pub server: Server,
    /// Who keeps dead rows from being removed: the oldest in seconds, and the oldest in transactions.
    pub oldest_xmin: Vec<Holder>,
    /// The tables, the largest first.
    pub tables: Vec<TableFacts>,
    /// The indexes of the hot table.
    pub indexes: Vec<IndexFacts>,
    /// The partitions, by table and day.
    pub partitions: Vec<PartitionFacts>,
    /// The sessions of this database.
    pub sessions: Vec<SessionFacts>,
    /// Settings that matter.
    pub settings: Vec<SettingFacts>,
    /// Standbys and slots.
    pub standbys: Vec<StandbyFacts>,
}

/// All facts. `None` if the database has no schema.
///
/// # Errors
/// Those of the connection.
pub async fn facts(client: &ClientWrapper) -> Result<Option<Facts>> {
    let Some(server) = server(client).await? else { return Ok(None) };
    let (oldest_xmin, tables, indexes, partitions, sessions, settings, standbys) = tokio::try_join!(
        oldest_xmin(client),
        tables(client),
        indexes(client),
        partitions(client),
        sessions(client),
        settings(client),
        standbys(client)
    )?;
    Ok(Some(Facts { server, oldest_xmin, tables, indexes, partitions, sessions, settings, standbys }))
}

async fn server(client: &ClientWrapper) -> Result<Option<Server>> {
    let row = query_opt(client, SERVER, &[]).await?;
    row.map(|row| {
        Ok(Server {
            version: row.try_get("version")?,
            started_at: row.try_get("started_at")?,
            database: row.try_get("database")?,
            bytes: row.try_get("bytes")?,
            max_connections: row.try_get("max_connections")?,
            connections: row.try_get("connections")?,
            schema_version: row.try_get("schema_version")?,
            schema_needed: crate::migrate::NEEDED,
            migrated_at: row.try_get("migrated_at")?,
            audit_on_since: row.try_get("audit_on_since")?,
            history_retention_s: row.try_get("history_retention_s")?,
            wal_position: row.try_get("wal_position")?,
            now: row.try_get("now")?,
        })
    })
    .transpose()
}

async fn tables(client: &ClientWrapper) -> Result<Vec<TableFacts>> {
    query(client, TABLES, &[])
        .await?
        .iter()
        .map(|row| {
            Ok(TableFacts {
                name: row.try_get("name")?,
                partitions: row.try_get("partitions")?,
                table_bytes: row.try_get("table_bytes")?,
                index_bytes: row.try_get("index_bytes")?,
                live_rows: row.try_get("live_rows")?,
                dead_rows: row.try_get("dead_rows")?,
                vacuumed_at: row.try_get("vacuumed_at")?,
                analyzed_at: row.try_get("analyzed_at")?,
            })
        })
        .collect()
}

async fn indexes(client: &ClientWrapper) -> Result<Vec<IndexFacts>> {
    query(client, INDEXES, &[])
        .await?
        .iter()
        .map(|row| {
            Ok(IndexFacts { name: row.try_get("name")?, bytes: row.try_get("bytes")?, scans: row.try_get("scans")? })
        })
        .collect()
}

async fn partitions(client: &ClientWrapper) -> Result<Vec<PartitionFacts>> {
    query(client, PARTITIONS, &[&MAX_ROWS])
        .await?
        .iter()
        .map(|row| {
            Ok(PartitionFacts {
                parent: row.try_get("parent")?,
                name: row.try_get("name")?,
                day: row.try_get("day")?,
                live_rows: row.try_get("live_rows")?,
                bytes: row.try_get("bytes")?,
            })
        })
        .collect()
}

async fn sessions(client: &ClientWrapper) -> Result<Vec<SessionFacts>> {
    query(client, SESSIONS, &[&MAX_ROWS])
        .await?
        .iter()
        .map(|row| {
            Ok(SessionFacts {
                application: row.try_get("application")?,
                state: row.try_get("state")?,
                sessions: row.try_get("sessions")?,
                waiting: row.try_get("waiting")?,
                oldest_transaction_s: row.try_get("oldest_transaction_s")?,
            })
        })
        .collect()
}

async fn settings(client: &ClientWrapper) -> Result<Vec<SettingFacts>> {
    query(client, SETTINGS, &[])
        .await?
        .iter()
        .map(|row| {
            let (name, value): (String, String) = (row.try_get("name")?, row.try_get("setting")?);
            let warning = warning(&name, &value);
            Ok(SettingFacts { name, value, unit: row.try_get("unit")?, source: row.try_get("source")?, warning })
        })
        .collect()
}

/// What is wrong with a setting, if anything.
fn warning(name: &str, value: &str) -> Option<&'static str> {
    match (name, value) {
        ("fsync", "off") => Some("a crash of the host can destroy the database"),
        ("full_page_writes", "off") => Some("a crash of the host can leave torn pages"),
        ("synchronous_commit", "off") => Some("a crash can lose jobs that were acknowledged within the last second"),
        ("autovacuum", "off") => Some("dead rows are never removed: everything gets slower"),
        ("track_counts", "off") => Some("autovacuum does not know where to go, and rows are not estimated"),
        _ => None,
    }
}

async fn standbys(client: &ClientWrapper) -> Result<Vec<StandbyFacts>> {
    query(client, STANDBYS, &[&MAX_ROWS])
        .await?
        .iter()
        .map(|row| {
            Ok(StandbyFacts {
                what: row.try_get("what")?,
                name: row.try_get("name")?,
                state: row.try_get("state")?,
                sync: row.try_get("sync")?,
                behind_bytes: row.try_get("behind_bytes")?,
                behind_s: row.try_get("behind_s")?,
            })
        })
        .collect()
}
