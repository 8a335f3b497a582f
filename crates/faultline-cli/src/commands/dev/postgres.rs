//! The private Postgres of `faultline dev`.

use crate::output;
use anyhow::{Context, Result, anyhow, bail};
use faultline_cluster::{Cluster, ClusterError, Mode, Programs};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The database of the jobs.
const DATABASE: &str = "faultline";
/// Between two looks whether the server is there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a server that died stays away: long enough to be seen by those who killed it.
const AWAY: Duration = Duration::from_secs(1);

/// A private server; its calls block, so that each runs on a thread of its own.
#[derive(Clone)]
pub(super) struct Postgres {
    cluster: Arc<Mutex<Cluster>>,
    url: Arc<str>,
}

impl Postgres {
    /// Starts the server, with its data below `dir`; port 0 picks a free one.
    ///
    /// # Errors
    /// When no server programs are installed, with what to install; when the directory or the port is in use.
    pub(super) async fn start(dir: PathBuf, port: u16) -> Result<Self> {
        let cluster = blocking(move || start(dir, port)).await?;
        let url = cluster.url(DATABASE).into();
        Ok(Self { cluster: Arc::new(Mutex::new(cluster)), url })
    }

    pub(super) fn url(&self) -> String {
        self.url.to_string()
    }

    /// Starts the server again whenever it died, until the stop.
    pub(super) async fn keep_up(&self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if self.with(|cluster| Ok(cluster.postmaster_pid())).await.is_ok_and(|pid| pid.is_some()) {
                continue;
            }
            tracing::warn!("postgres has died; it is started again");
            tokio::time::sleep(AWAY).await;
            match self.with(Cluster::start_again).await {
                Ok(()) => tracing::info!("postgres runs again"),
                Err(error) => tracing::error!("postgres does not start: {error:#}"),
            }
        }
    }

    /// Stops the server in order.
    pub(super) async fn stop(&self) -> Result<()> {
        self.with(|cluster| cluster.stop(Mode::Fast)).await.context("postgres could not be stopped")
    }

    async fn with<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Cluster) -> Result<T, ClusterError> + Send + 'static,
    ) -> Result<T> {
        let cluster = self.cluster.clone();
        blocking(move || {
            let mut cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner);
            call(&mut cluster).map_err(anyhow::Error::new)
        })
        .await
    }
}

fn start(dir: PathBuf, port: u16) -> Result<Cluster> {
    if port != 0 && TcpListener::bind(("127.0.0.1", port)).is_err() {
        bail!("port {port} on 127.0.0.1 is in use: stop what uses it, or choose another with --pg-port");
    }
    let programs = Programs::find()?;
    let major = programs.major();
    let shown = dir.display().to_string();
    let cluster = Cluster::builder(programs).data_dir(dir).port(port).start()?;
    output::line(&format!("postgres {major} on port {}, data in {shown}", cluster.port()))?;
    let known = cluster.psql("postgres", &format!("select count(*) from pg_database where datname = '{DATABASE}'"))?;
    if known == "0" {
        cluster.psql("postgres", &format!("create database {DATABASE}"))?;
    }
    Ok(cluster)
}

async fn blocking<T: Send + 'static>(call: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(call).await.map_err(|error| anyhow!("a call to postgres has failed: {error}"))?
}
