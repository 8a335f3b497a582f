//! Migrations: any number of processes at once, twice, by hand, by a role without privileges elsewhere.

use crate::common::{Db, connect, count, value};
use faultline_cluster::testing;
use faultline_store::migrate::{MIGRATIONS, NEEDED, check, dump, migrate};
use faultline_store::{Error, Plans};
use futures_util::future::join_all;
use std::path::Path;
use std::process::Command;

/// The version of the server whose dump is committed; the text of a dump differs between versions.
const DUMPED_WITH: u32 = 15;
/// Set it to write `migrations/schema.sql` anew instead of comparing.
const REFRESH: &str = "FAULTLINE_REFRESH_SCHEMA";

#[tokio::test]
async fn eight_processes_that_migrate_at_once_apply_each_migration_once() {
    let db = Db::empty();
    let mut clients = join_all((0..8).map(|_| db.plain())).await;
    let answers = join_all(clients.iter_mut().map(migrate)).await;
    let applied: usize = answers.into_iter().map(|answer| answer.unwrap().len()).sum();
    assert_eq!(applied, MIGRATIONS.len());
    assert_eq!(check(&clients[0]).await.unwrap(), NEEDED);
    assert_eq!(count(&clients[0], "faultline.migrations").await, i64::from(NEEDED));
}

#[tokio::test]
async fn a_second_migration_applies_nothing() {
    let db = Db::migrated();
    let mut client = db.plain().await;
    assert!(migrate(&mut client).await.unwrap().is_empty());
}

/// The SHA-256 of each migration. A new one is added here; a line that is there never changes, not even for a comment: a database that
/// has applied the migration refuses a program with another text.
const CHECKSUMS: [&str; 5] = [
    "22160ab654be1406167fdd056ce93932b4a472328a49131080c0e22748801b18",
    "cb9e76f615c44fbe64cb8e2ee6c015f2fa7443f6b7fa7e5013db4c97c3d0c9cb",
    "1cbcf6c09bf7605aa523f91b1b53a8cd775b5a91fbed78b81bad687041c6bde8",
    "d3447e295e51aa4f44cb028a45c6a38bfa7ecf65c2aadec138158a24e4370023",
    "390ebd837a700cc7a9b6027dbe19c80f793ddb3c22c00c2dd256472f1372b6d6",
];

#[tokio::test]
async fn a_migration_that_somebody_may_have_applied_keeps_its_text() {
    let db = Db::migrated();
    let sql = "select encode(checksum, 'hex') from faultline.migrations order by version";
    let applied = db.plain().await.query(sql, &[]).await.unwrap();
    let applied: Vec<&str> = applied.iter().map(|row| row.get(0)).collect();
    assert_eq!(applied, CHECKSUMS);
}

#[tokio::test]
async fn the_engines_own_session_can_migrate() {
    let db = Db::empty();
    let applied = db.store.run(async |client| migrate(client).await).await.unwrap();
    assert_eq!(applied.len(), MIGRATIONS.len());
}

#[tokio::test]
async fn check_tells_a_missing_schema_from_an_old_and_a_newer_one() {
    let db = Db::empty();
    let mut client = db.plain().await;
    assert!(matches!(check(&client).await, Err(Error::SchemaMissing)));
    client.batch_execute("create schema faultline").await.unwrap();
    assert!(matches!(check(&client).await, Err(Error::SchemaMissing)), "a schema without bookkeeping");
    migrate(&mut client).await.unwrap();
    assert_eq!(check(&client).await.unwrap(), NEEDED);
    let newer = "insert into faultline.migrations (version, name, checksum) values (1000, 'later', '')";
    client.batch_execute(newer).await.unwrap();
    assert_eq!(check(&client).await.unwrap(), 1000);
    client.execute("delete from faultline.migrations where version >= $1", &[&NEEDED]).await.unwrap();
    let answer = check(&client).await;
    assert!(matches!(answer, Err(Error::SchemaTooOld { found, needed: NEEDED }) if found == NEEDED - 1), "{answer:?}");
}

#[tokio::test]
async fn a_migration_from_another_source_is_refused_and_nothing_is_applied() {
    let db = Db::migrated();
    let mut client = db.plain().await;
    client.batch_execute("update faultline.migrations set checksum = 'other' where version = 2").await.unwrap();
    assert!(matches!(migrate(&mut client).await, Err(Error::MigrationDiffers { version: 2 })));
    assert_eq!(count(&client, "faultline.migrations").await, i64::from(NEEDED));
}

#[tokio::test]
async fn the_dumped_script_makes_the_same_schema_through_psql() {
    let (by_hand, by_program) = (Db::empty(), Db::migrated());
    let script = std::env::temp_dir().join(format!("faultline-dump-{}.sql", by_hand.database.name()));
    std::fs::write(&script, dump()).unwrap();
    let psql = testing::cluster().programs().program("psql");
    let mut command = Command::new(psql);
    command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null", "--dbname"]);
    let output = command.arg(by_hand.database.url()).arg("--file").arg(&script).output().unwrap();
    std::fs::remove_file(&script).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut client = by_hand.plain().await;
    assert_eq!(check(&client).await.unwrap(), NEEDED);
    assert!(migrate(&mut client).await.unwrap().is_empty(), "the program takes the script's work for its own");
    assert_eq!(dumped(&by_hand), dumped(&by_program));
}

#[tokio::test]
async fn an_owner_of_the_database_without_other_privileges_can_migrate_and_run_the_engine() {
    let db = Db::empty();
    let (name, role) = (db.database.name(), format!("owner_of_{}", db.database.name()));
    let admin = db.plain().await;
    admin.batch_execute(&format!("create role {role} login; alter database {name} owner to {role}")).await.unwrap();
    let url = db.database.url().replace("faultline@", &format!("{role}@"));
    let mut client = connect(&url).await;
    assert!(!value::<bool>(&client, "select rolsuper from pg_roles where rolname = current_user", &[]).await);
    migrate(&mut client).await.unwrap();
    let store = faultline_store::Database::new(&url, "test", 1).unwrap();
    let session = store.session("owner", Plans::Free).await.unwrap();
    let claimed = crate::common::running(&session, &crate::common::job(), crate::common::LONG).await;
    let answer = crate::common::end(&session, &claimed, crate::common::complete()).await;
    assert_eq!(answer, crate::common::SUCCEEDED);
    assert!(faultline_store::maintain::partitions(&session).await.unwrap());
    drop((client, session, store));
    admin.batch_execute(&format!("alter database {name} owner to faultline")).await.unwrap();
    admin.batch_execute(&format!("reassign owned by {role} to faultline; drop role {role}")).await.unwrap();
}

#[tokio::test]
async fn a_role_that_may_not_create_the_schema_is_told_so() {
    let db = Db::empty();
    let role = format!("nobody_of_{}", db.database.name());
    let admin = db.plain().await;
    admin.batch_execute(&format!("create role {role} login")).await.unwrap();
    let mut client = connect(&db.database.url().replace("faultline@", &format!("{role}@"))).await;
    let answer = migrate(&mut client).await;
    assert!(matches!(&answer, Err(Error::Refused { code, .. }) if code == "42501"), "{answer:?}");
    drop(client);
    admin.batch_execute(&format!("drop role {role}")).await.unwrap();
}

#[test]
fn the_committed_schema_is_what_the_migrations_make() {
    if testing::cluster().programs().major() != DUMPED_WITH {
        return; // Another version words its dump differently; the statements are the same.
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations/schema.sql");
    let now = dumped(&Db::migrated());
    if std::env::var_os(REFRESH).is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == now, "migrations/schema.sql is not what the migrations make; run the tests with {REFRESH}=1");
}

/// The schema as `pg_dump` writes it, without owners, settings of the dump, and the partitions of this very week.
fn dumped(db: &Db) -> String {
    let pg_dump = testing::cluster().programs().program("pg_dump");
    let mut command = Command::new(pg_dump);
    command.args(["--schema-only", "--no-owner", "--schema=faultline", "--exclude-table=faultline.job_*_2*"]);
    let output = command.arg(db.database.url()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // Comments, settings of the dump, and its random \restrict; no line of a function begins like these.
    let noise =
        |line: &str| ["--", "SET ", "SELECT pg_catalog.set_config", "\\"].iter().any(|start| line.starts_with(start));
    let mut lines: Vec<&str> = vec!["-- What the migrations make, as pg_dump writes it; a test keeps it so."];
    lines.extend(text.lines().filter(|line| !line.is_empty() && !noise(line)));
    lines.join("\n") + "\n"
}
