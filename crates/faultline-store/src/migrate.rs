//! The schema and its versions: numbered, forward-only SQL files inside the program, each applied in one transaction
//! under a lock, so that any number of processes may try at once.

use crate::error::{Error, Result};
use crate::session::typed;
use tokio_postgres::{Client, Transaction};

/// One step of the schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Counts from 1 without gaps.
    pub version: i32,
    /// The file's name without number and ending.
    pub name: &'static str,
    /// The statements.
    pub sql: &'static str,
}

/// Every migration, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "engine", sql: include_str!("../../../migrations/0001_engine.sql") },
    Migration { version: 2, name: "functions", sql: include_str!("../../../migrations/0002_functions.sql") },
    Migration { version: 3, name: "audit", sql: include_str!("../../../migrations/0003_audit.sql") },
    Migration { version: 4, name: "dashboard", sql: include_str!("../../../migrations/0004_dashboard.sql") },
    Migration { version: 5, name: "bulk", sql: include_str!("../../../migrations/0005_bulk.sql") },
];

/// The version that this program needs: that of the last migration.
pub const NEEDED: i32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// An arbitrary number of our own, the class of our transaction-level advisory locks; see `maintain_partitions`.
const LOCK: &str = "select pg_advisory_xact_lock(1179407436, 0)";

const BOOKKEEPING: &str = "
create schema if not exists faultline;
create table if not exists faultline.migrations (
    version    int         not null primary key,
    name       text        not null,
    checksum   bytea       not null,
    applied_at timestamptz not null default clock_timestamp()
);";

/// Applies what is missing; answers the migrations that this call applied.
///
/// # Errors
/// [`Error::MigrationDiffers`] when the database was migrated from another source; [`Error::Refused`] for a role that may
/// not create the schema. What was applied before the error stays.
pub async fn migrate(client: &mut Client) -> Result<Vec<&'static Migration>> {
    let mut applied = Vec::new();
    for migration in MIGRATIONS {
        let transaction = client.transaction().await?;
        transaction.batch_execute("set local lock_timeout = '60s'; set local statement_timeout = '10min'").await?;
        transaction.batch_execute(LOCK).await?;
        transaction.batch_execute(BOOKKEEPING).await?;
        if !is_applied(&transaction, migration).await? {
            transaction.batch_execute(migration.sql).await?;
            let insert = "insert into faultline.migrations (version, name, checksum)
                          values ($1, $2, sha256(convert_to($3, 'UTF8')))";
            transaction.query_typed(insert, &typed(&[&migration.version, &migration.name, &migration.sql])).await?;
            applied.push(migration);
        }
        transaction.commit().await?;
    }
    #[cfg(feature = "mutants")]
    crate::mutants::edited_functions(client, &applied).await?;
    Ok(applied)
}

async fn is_applied(transaction: &Transaction<'_>, migration: &Migration) -> Result<bool> {
    let sql = "select checksum = sha256(convert_to($2, 'UTF8')) from faultline.migrations where version = $1";
    let rows = transaction.query_typed(sql, &typed(&[&migration.version, &migration.sql])).await?;
    match rows.first().map(|row| row.get(0)) {
        None => Ok(false),
        Some(true) => Ok(true),
        Some(false) => Err(Error::MigrationDiffers { version: migration.version }),
    }
}

/// Checks that the database has every migration of this program. A newer database is fine: migrations only add until the
/// programs that need the old shape are gone.
///
/// # Errors
/// [`Error::SchemaMissing`], [`Error::SchemaTooOld`], or those of the connection.
pub async fn check(client: &Client) -> Result<i32> {
    let rows = client.query_typed("select coalesce(max(version), 0) from faultline.migrations", &[]).await?;
    match rows.first().map_or(0, |row| row.get(0)) {
        found if found < NEEDED => Err(Error::SchemaTooOld { found, needed: NEEDED }),
        found => Ok(found),
    }
}

/// Every migration as one script, for those who apply schema changes by other means. It keeps the bookkeeping, so that
/// `migrate --check` is satisfied afterwards.
pub fn dump() -> String {
    let mut script = format!("begin;\n{LOCK};\n{BOOKKEEPING}\n");
    for migration in MIGRATIONS {
        script += &format!(
            "\n-- {:04}_{}\n{}\ninsert into faultline.migrations (version, name, checksum)\nvalues ({}, '{}', sha256(convert_to($faultline_migration${}$faultline_migration$, 'UTF8')));\n",
            migration.version, migration.name, migration.sql, migration.version, migration.name, migration.sql
        );
    }
    script + "commit;\n"
}
