//! What the nemesis acts on: the cluster and the processes, and the log of what was done to them.

use crate::DrillError;
use crate::database;
use crate::ground::Ground;
use crate::history::{Lines, wall_ns};
use crate::process::{Launcher, Process};
use crate::sampler::Api;
use faultline_check::witness::{FaultKind, FaultRecord, Phase};
use faultline_cluster::{Cluster, ClusterError};
use rustix::process::Signal;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// How long a fault waits for its victim to hold a job.
const AIM_LIMIT: Duration = Duration::from_secs(3);
/// How long a worker may take to register.
const START_LIMIT: Duration = Duration::from_secs(12);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Until the successor of a worker that has killed itself starts.
const REPLACE_AFTER: Duration = Duration::from_millis(300);
/// Faults that nobody planned are numbered from here on.
const UNPLANNED: u64 = 1_000_000;

/// The cluster and the processes of a run.
pub(crate) struct Stage {
    /// None: the database is somebody's own.
    cluster: Option<Arc<Mutex<Cluster>>>,
    standby: Option<Arc<Mutex<Cluster>>>,
    pub(crate) launcher: Launcher,
    pub(crate) nemesis: Arc<Lines>,
    /// Faults that go on by themselves until their end, by number.
    pub(crate) going_on: HashMap<u64, AbortOnDropHandle<()>>,
    pub(crate) api_seen: Api,
    pub(crate) address: SocketAddr,
    pub(crate) workers: Vec<Worker>,
    pub(crate) api: Process,
    started: u32,
    unplanned: u64,
}

/// A worker process.
pub(crate) struct Worker {
    process: Process,
    /// Its incarnation, once that is known.
    pub(crate) owner: Option<Uuid>,
    /// Whether it was told to die: its end is then no surprise.
    pub(crate) ordered: bool,
    /// When it was seen to have ended.
    ended_at: Option<Instant>,
}

impl Deref for Worker {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Worker {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Stage {
    /// Starts the API and the workers, and waits until all are registered.
    pub(crate) async fn set(ground: &Ground, launcher: Launcher, workers: usize) -> Result<Self, DrillError> {
        let (cluster, standby) = (ground.cluster.clone(), ground.standby.clone());
        let nemesis = Arc::new(Lines::open(&launcher.dir.join("nemesis.jsonl"), false)?);
        let (api, address) = launcher.api("api-1", 0).await?;
        let api_seen = Api::default();
        api_seen.set(Some((api.name.clone(), address)));
        let (started, unplanned) = (1, UNPLANNED);
        let going_on = HashMap::new();
        let workers_now = Vec::with_capacity(workers);
        let mut stage = Self {
            cluster,
            standby,
            launcher,
            nemesis,
            going_on,
            api_seen,
            address,
            workers: workers_now,
            api,
            started,
            unplanned,
        };
        for _ in 0..workers {
            let worker = stage.new_worker()?;
            stage.workers.push(worker);
        }
        for worker in 0..workers {
            if stage.aim(worker, false).await?.is_none() {
                return Err(DrillError::Process("a worker did not start: see its log".into()));
            }
        }
        Ok(stage)
    }

    fn new_worker(&mut self) -> Result<Worker, DrillError> {
        self.started += 1;
        let process = self.launcher.worker(&format!("worker-{}", self.started))?;
        Ok(Worker { process, owner: None, ordered: false, ended_at: None })
    }

    /// Starts a successor of a worker that has ended.
    pub(crate) fn replace(&mut self, worker: usize) -> Result<(), DrillError> {
        self.workers[worker] = self.new_worker()?;
        Ok(())
    }

    /// Starts a successor of the API on the same port.
    pub(crate) async fn replace_api(&mut self) -> Result<(), DrillError> {
        self.started += 1;
        let name = format!("api-{}", self.started);
        let (api, address) = self.launcher.api(&name, self.address.port()).await?;
        self.api = api;
        self.api_seen.set(Some((name, address)));
        Ok(())
    }

    /// Calls the cluster, which blocks.
    pub(crate) async fn with_cluster(
        &self,
        call: impl FnOnce(&mut Cluster) -> Result<(), ClusterError> + Send + 'static,
    ) -> Result<(), DrillError> {
        let own = || DrillError::Against("the database is not the drill's to break".into());
        Self::call(self.cluster.clone().ok_or_else(own)?, call).await
    }

    /// Calls the standby.
    pub(crate) async fn with_standby(
        &self,
        call: impl FnOnce(&mut Cluster) -> Result<(), ClusterError> + Send + 'static,
    ) -> Result<(), DrillError> {
        let none = || DrillError::Process("the scene of this drill has no standby".into());
        Self::call(self.standby.clone().ok_or_else(none)?, call).await
    }

    async fn call(
        cluster: Arc<Mutex<Cluster>>,
        call: impl FnOnce(&mut Cluster) -> Result<(), ClusterError> + Send + 'static,
    ) -> Result<(), DrillError> {
        let called =
            tokio::task::spawn_blocking(move || call(&mut cluster.lock().unwrap_or_else(PoisonError::into_inner)));
        let panicked = |_| DrillError::Process("a call to the cluster has panicked".into());
        Ok(called.await.map_err(panicked)??)
    }

    /// Waits until a worker has registered and, if asked for, holds a job; answers its incarnation as far as it is known, also
    /// while the database is away.
    pub(crate) async fn aim(&mut self, worker: usize, holding: bool) -> Result<Option<Uuid>, DrillError> {
        if self.workers[worker].ended() {
            // It has killed itself as it was told, and its successor has not started yet.
            self.watch()?;
            self.replace(worker)?;
        }
        let known = self.workers[worker].owner;
        let Some(pid) = self.workers[worker].pid().filter(|_| holding || known.is_none()) else { return Ok(known) };
        let mut owner = known;
        let look = async {
            let client = database::connect(&self.launcher.url).await?;
            loop {
                if let Some((id, holds)) = database::incarnation(&client, pid).await? {
                    owner = Some(id);
                    if holds || !holding {
                        return Ok::<(), DrillError>(());
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        // Nobody in view, or nobody to ask: the fault comes all the same.
        let _ = tokio::time::timeout(if holding { AIM_LIMIT } else { START_LIMIT }, look).await;
        self.workers[worker].owner = owner;
        Ok(owner)
    }

    /// Notes a fault of the schedule, on one worker or on everybody.
    pub(crate) fn log(
        &mut self,
        number: u64,
        phase: Phase,
        kind: FaultKind,
        worker: Option<usize>,
    ) -> Result<(), DrillError> {
        let hit = worker.map(|worker| &self.workers[worker]);
        let (process, owner) = (hit.map(|w| w.name.clone()), hit.and_then(|w| w.owner));
        self.write(number, phase, kind, process, owner)
    }

    /// Notes a fault of a process by its name.
    pub(crate) fn log_process(
        &mut self,
        number: u64,
        phase: Phase,
        kind: FaultKind,
        process: String,
        owner: Option<Uuid>,
    ) -> Result<(), DrillError> {
        self.write(number, phase, kind, Some(process), owner)
    }

    fn write(
        &mut self,
        fault: u64,
        phase: Phase,
        kind: FaultKind,
        process: Option<String>,
        owner: Option<Uuid>,
    ) -> Result<(), DrillError> {
        let record = FaultRecord { fault, phase, kind, wall_ns: wall_ns(), process, owner };
        self.nemesis.write(&record).map_err(DrillError::io("write the nemesis's log"))
    }

    /// Notes and replaces workers that have killed themselves as they were told.
    pub(crate) fn watch(&mut self) -> Result<(), DrillError> {
        for worker in 0..self.workers.len() {
            if !self.workers[worker].ordered || !self.workers[worker].ended() {
                continue;
            }
            match self.workers[worker].ended_at {
                None => {
                    self.workers[worker].ended_at = Some(Instant::now());
                    self.unplanned += 1;
                    self.log(self.unplanned, Phase::Invoke, FaultKind::Kill, Some(worker))?;
                }
                Some(at) if at.elapsed() >= REPLACE_AFTER => self.replace(worker)?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Notes every process that ended by itself: none may.
    pub(crate) fn look_for_exits(&mut self) -> Result<(), DrillError> {
        let surprise = |worker: &mut Worker| !worker.ordered && worker.ended();
        let mut ended: Vec<String> =
            self.workers.iter_mut().filter_map(|w| surprise(w).then(|| w.name.clone())).collect();
        if self.api.ended() {
            ended.push(self.api.name.clone());
        }
        for name in ended {
            self.unplanned += 1;
            self.log_process(self.unplanned, Phase::Invoke, FaultKind::Exited, name, None)?;
        }
        Ok(())
    }

    /// Stops everything in order: workers, the API, and with the last handle the cluster.
    pub(crate) async fn end(self) {
        for worker in &self.workers {
            worker.signal(Signal::TERM);
        }
        for worker in self.workers {
            worker.process.end().await;
        }
        self.api_seen.set(None);
        self.api.end().await;
    }
}
