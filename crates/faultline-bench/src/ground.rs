//! The server that everything runs on: a private cluster, or one that somebody names. Each measurement gets a database of its own,
//! made from a template that has the engine's schema and the hand-written one, and dropped afterwards.

use crate::accounts;
use crate::error::{BenchError, Result};
use crate::options::Options;
use faultline::tokio_postgres::{Client, Config, NoTls};
use faultline_cluster::{Cluster, Programs};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What a private cluster is set to beside the defaults: no checkpoint by size falls into a short measurement, and the hot table
/// fits into memory, as it does on a server that was set up for this. Durability is left as it is.
const SETTINGS: [(&str, &str); 3] = [("shared_buffers", "512MB"), ("max_wal_size", "8GB"), ("max_connections", "400")];
/// What the report names of the server.
const TOLD: [&str; 11] = [
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
    "wal_level",
    "wal_compression",
    "autovacuum",
    "max_connections",
];
/// How the databases of a run begin; nothing else is ever dropped.
const PREFIX: &str = "faultline_bench";

/// The server.
pub(crate) struct Ground {
    cluster: Option<Cluster>,
    /// The server's URL with another database's name put in.
    config: Config,
    admin: Client,
    run: String,
    next: AtomicU32,
    /// Databases that are to be dropped.
    made: Mutex<Vec<String>>,
}

/// One database for one measurement.
pub(crate) struct Room {
    /// For the engine's processes.
    pub(crate) url: String,
    /// For looks and loads of the benchmark's own.
    pub(crate) client: Client,
    name: String,
}

impl Ground {
    pub(crate) async fn start(options: &Options) -> Result<Self> {
        let (cluster, url) = match &options.against {
            Some(url) => (None, url.clone()),
            None => {
                let cluster = start_cluster(options.settings.clone()).await?;
                let url = cluster.url("postgres");
                (Some(cluster), url)
            }
        };
        let config: Config = url.parse()?;
        let admin = connect(&config).await?;
        let run = format!("{PREFIX}_{}", uuid::Uuid::new_v4().simple());
        let ground = Self { cluster, config, admin, run, next: 0.into(), made: Mutex::default() };
        let made = ground.make_template().await;
        if made.is_err() {
            ground.end().await;
        }
        made.map(|()| ground)
    }

    async fn make_template(&self) -> Result<()> {
        let template = self.template();
        self.create(&template, "").await?;
        faultline::Client::lazy(&self.url(&template))?.migrate().await?;
        let client = connect(&self.named(&template)).await?;
        client.batch_execute(include_str!("by_hand/schema.sql")).await?;
        drop(client);
        self.close(&template).await
    }

    fn template(&self) -> String {
        format!("{}_template", self.run)
    }

    /// A new database with both schemas and nothing in them.
    pub(crate) async fn room(&self) -> Result<Room> {
        let name = format!("{}_{}", self.run, self.next.fetch_add(1, Ordering::Relaxed));
        self.create(&name, &format!("template {}", self.template())).await?;
        let client = connect(&self.named(&name)).await?;
        Ok(Room { url: self.url(&name), client, name })
    }

    async fn create(&self, name: &str, like: &str) -> Result<()> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        Ok(self.admin.batch_execute(&format!("create database {name} {like}")).await?)
    }

    /// Ends every session of a database, so that it can serve as a template.
    async fn close(&self, name: &str) -> Result<()> {
        let sql = format!(
            "alter database {name} allow_connections false;
             select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '{name}'"
        );
        Ok(self.admin.batch_execute(&sql).await?)
    }

    /// Removes a room, so that the disk does not fill up over a run.
    pub(crate) async fn leave(&self, room: Room) -> Result<()> {
        let Room { client, name, .. } = room;
        drop(client);
        self.drop_database(&name).await
    }

    async fn drop_database(&self, name: &str) -> Result<()> {
        self.admin.batch_execute(&format!("drop database if exists {name} with (force)")).await?;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).retain(|made| made != name);
        Ok(())
    }

    /// Drops what is left. What can't be dropped on somebody's server is named.
    pub(crate) async fn end(&self) {
        let left = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for name in left.iter().rev() {
            // A private server is going to be removed as a whole.
            let _ = self.drop_database(name).await;
        }
    }

    fn named(&self, database: &str) -> Config {
        let mut config = self.config.clone();
        config.dbname(database);
        config
    }

    fn url(&self, database: &str) -> String {
        let mut config = key_values(&self.config);
        config.push_str(&format!(" dbname={database}"));
        config
    }

    /// Makes the moments before each measurement alike: nothing dirty in memory, and full pages to be logged anew.
    pub(crate) async fn settle(&self) -> Result<()> {
        Ok(self.admin.batch_execute("checkpoint").await?)
    }

    /// Processor time of the whole server since its start; none if it is not ours.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        self.cluster.as_ref().and_then(Cluster::postmaster_pid).and_then(accounts::server_cpu)
    }

    /// Transactions of a room so far, as the statistics know them; asked from another database, so that the question does not count.
    pub(crate) async fn transactions(&self, room: &Room) -> Result<f64> {
        let sql = "select (xact_commit + xact_rollback)::float8 from pg_stat_database where datname = $1";
        Ok(self.admin.query_one(sql, &[&room.name]).await?.get(0))
    }

    /// What the server is set to.
    pub(crate) async fn told(&self) -> Result<Vec<(String, String)>> {
        let sql =
            "select name, current_setting(name) from unnest($1::text[]) with ordinality as n(name, at) order by at";
        let rows = self.admin.query(sql, &[&TOLD.as_slice()]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }
}

async fn start_cluster(asked: Vec<(String, String)>) -> Result<Cluster> {
    let started = tokio::task::spawn_blocking(move || {
        let mut builder = Cluster::builder(Programs::find()?);
        for (name, value) in SETTINGS {
            builder = builder.setting(name, value);
        }
        for (name, value) in &asked {
            builder = builder.setting(name, value);
        }
        builder.start()
    });
    Ok(started.await.map_err(|_| BenchError::Process("the start of the cluster has panicked".into()))??)
}

/// A session of the benchmark's own.
pub(crate) async fn connect(config: &Config) -> Result<Client> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The URL as a connection string of keys and values, without the database.
fn key_values(config: &Config) -> String {
    use faultline::tokio_postgres::config::Host;
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        })
        .collect();
    let ports: Vec<String> = config.get_ports().iter().map(u16::to_string).collect();
    let mut text = format!("host={}", quoted(&hosts.join(",")));
    if !ports.is_empty() {
        text.push_str(&format!(" port={}", ports.join(",")));
    }
    if let Some(user) = config.get_user() {
        text.push_str(&format!(" user={}", quoted(user)));
    }
    if let Some(password) = config.get_password() {
        text.push_str(&format!(" password={}", quoted(&String::from_utf8_lossy(password))));
    }
    text
}

impl Room {
    /// One number.
    pub(crate) async fn number(&self, sql: &str) -> Result<f64> {
        let row = self.client.query_one(&format!("select ({sql})::float8"), &[]).await?;
        Ok(row.try_get::<_, Option<f64>>(0)?.unwrap_or_default())
    }

    /// A session more in the same database.
    pub(crate) async fn another(&self) -> Result<Client> {
        connect(&self.url.parse()?).await
    }

    /// Bytes of write-ahead log that the server has written.
    pub(crate) async fn wal_bytes(&self) -> Result<f64> {
        self.number("pg_current_wal_insert_lsn() - '0/0'::pg_lsn").await
    }
}
