//! What a drill runs on: a private cluster, or somebody's own database with everything of the drill in a queue of its own.

use crate::DrillError;
use crate::catalogue::{Drill, Scene, Standby};
use crate::database;
use faultline_cluster::{Cluster, ClusterError, Disk, Programs};
use std::sync::{Arc, Mutex, PoisonError};

/// The database's name in the private cluster.
pub(crate) const NAME: &str = "drill";
/// The queue of a drill on a private cluster.
const QUEUE: &str = "default";
/// Sessions of all processes: workers and handlers, the API, the supervisor.
const MAX_CONNECTIONS: &str = "200";

/// Where a drill runs.
pub(crate) struct Ground {
    pub(crate) url: String,
    /// The same, with the standby before the primary.
    pub(crate) standby_first: String,
    /// That of the first server alone.
    pub(crate) primary_url: String,
    /// Where its jobs are, and nobody else's.
    pub(crate) queue: String,
    /// None: the database is somebody's own, and must be left as it was found.
    pub(crate) cluster: Option<Arc<Mutex<Cluster>>>,
    /// A copy of the private cluster, if the scene has one.
    pub(crate) standby: Option<Arc<Mutex<Cluster>>>,
    audit_was_on: bool,
}

impl Ground {
    /// Starts a private cluster.
    pub(crate) async fn private(drill: &Drill) -> Result<Self, DrillError> {
        let scene = drill.scene;
        let cluster = tokio::task::spawn_blocking(move || start_cluster(scene)).await;
        let cluster = cluster.map_err(|_| DrillError::Process("the start of the cluster has panicked".into()))??;
        let url = cluster.url(NAME);
        let failed = |error: faultline::Error| DrillError::Process(format!("the migrations failed: {error}"));
        faultline::Client::lazy(&url).map_err(failed)?.migrate().await.map_err(failed)?;
        let (queue, cluster) = (QUEUE.to_owned(), Some(Arc::new(Mutex::new(cluster))));
        let mut ground = Self {
            primary_url: url.clone(),
            standby_first: url.clone(),
            url,
            queue,
            cluster,
            standby: None,
            audit_was_on: false,
        };
        ground.prepare().await?;
        if drill.scene.standby != Standby::None {
            ground.add_standby(drill.scene.standby == Standby::Synchronous).await?;
        }
        Ok(ground)
    }

    /// Copies the cluster, and lets everybody know both servers.
    async fn add_standby(&mut self, synchronous: bool) -> Result<(), DrillError> {
        let Some(primary) = self.cluster.clone() else { return Ok(()) };
        let added = tokio::task::spawn_blocking(move || {
            let primary = primary.lock().unwrap_or_else(PoisonError::into_inner);
            let standby = primary.standby("standby").start()?;
            primary.synchronous(synchronous)?;
            Ok(standby)
        });
        let panicked = |_| DrillError::Process("the start of the standby has panicked".into());
        let lacking = |error| match error {
            ClusterError::Copy { status: 127, .. } => {
                DrillError::Needs("pg_basebackup, one of the PostgreSQL server programs".into())
            }
            error => error.into(),
        };
        let standby = added.await.map_err(panicked)?.map_err(lacking)?;
        let (url, host) = (&self.primary_url, format!("127.0.0.1:{}", standby.port()));
        let both = |url: String| format!("{url}?target_session_attrs=read-write");
        self.url = both(url.replace(&format!("/{NAME}"), &format!(",{host}/{NAME}")));
        self.standby_first = both(url.replace('@', &format!("@{host},")));
        self.standby = Some(Arc::new(Mutex::new(standby)));
        Ok(())
    }

    /// Uses a database that is there, for drills that touch only processes of their own.
    ///
    /// # Errors
    /// [`DrillError::Against`] for a drill that does more, and for a database that another drill uses or has left in disorder.
    pub(crate) async fn against(url: &str, drill: &Drill) -> Result<Self, DrillError> {
        if !drill.touches_only_processes {
            return Err(DrillError::Against(format!("{} breaks more than its own processes", drill.name)));
        }
        let failed = |error: faultline::Error| DrillError::Against(error.to_string());
        faultline::Client::lazy(url).map_err(failed)?.check_schema().await.map_err(failed)?;
        let client = database::connect(url).await?;
        let row = client
            .query_one("select faultline.audit_is_on(), to_regnamespace('faultline_drill') is not null", &[])
            .await?;
        if row.get(1) {
            let hint = "if none runs any more: drop schema faultline_drill cascade; select faultline.audit_off();";
            return Err(DrillError::Against(format!("another drill uses this database; {hint}")));
        }
        let queue = format!("drill-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let ground = Self {
            url: url.to_owned(),
            primary_url: url.to_owned(),
            standby_first: url.to_owned(),
            queue,
            cluster: None,
            standby: None,
            audit_was_on: row.get(0),
        };
        ground.prepare().await?;
        Ok(ground)
    }

    async fn prepare(&self) -> Result<(), DrillError> {
        let sql = "begin; select faultline.audit_on(); create schema faultline_drill;
                   create table faultline_drill.effects (job uuid not null, lease uuid not null); commit";
        Ok(database::connect(&self.url).await?.batch_execute(sql).await?)
    }

    /// The port of the private cluster.
    pub(crate) fn port(&self) -> Option<u16> {
        let cluster = self.cluster.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(cluster.port())
    }

    /// For people.
    pub(crate) fn shown(&self) -> String {
        match self.cluster {
            Some(_) => "a Postgres of their own".to_owned(),
            None => format!("the queue {}", self.queue),
        }
    }

    /// Leaves somebody's own database as it was found.
    pub(crate) async fn leave(&self) -> Result<(), DrillError> {
        if self.cluster.is_some() {
            return Ok(());
        }
        let off = if self.audit_was_on { "" } else { "select faultline.audit_off();" };
        let sql = FORGET.replace("$QUEUE", &self.queue);
        let sql = format!("{off} drop schema faultline_drill cascade; {sql}");
        Ok(database::connect(&self.url).await?.batch_execute(&sql).await?)
    }
}

/// A drill takes minutes: older partitions of the history need no look.
const FORGET: &str = "
    with ended as (delete from faultline.job_history
                    where queue = '$QUEUE' and finished_at > now() - interval '1 day' returning id),
         left_over as (delete from faultline.jobs where queue = '$QUEUE' returning id),
         mine as (select id from ended union all select id from left_over),
         tries as (delete from faultline.job_attempts
                    where job_id in (select id from mine) and ended_at > now() - interval '1 day')
    delete from faultline.job_events where job_id in (select id from mine);
    delete from faultline.idempotency_keys where queue = '$QUEUE'";

fn start_cluster(scene: Scene) -> Result<Cluster, DrillError> {
    let lacking = |error: ClusterError| DrillError::Needs(format!("the PostgreSQL server programs: {error}"));
    let programs = Programs::find().map_err(lacking)?;
    let builder = Cluster::builder(programs).setting("max_connections", MAX_CONNECTIONS);
    let builder = scene.settings.iter().fold(builder, |builder, (name, value)| builder.setting(name, value));
    let Some(disks) = scene.disks else {
        let cluster = builder.start()?;
        cluster.psql("postgres", &format!("create database {NAME}"))?;
        return Ok(cluster);
    };
    let cluster = builder.small_disks(disks.tables_mib, disks.wal_mib).start()?;
    let location = cluster.disk(Disk::Tables);
    cluster.psql("postgres", &format!("create tablespace small location '{}'", location.display()))?;
    cluster.psql("postgres", &format!("create database {NAME} tablespace small"))?;
    Ok(cluster)
}
