//! What the nemesis acts on: the cluster and the processes, and the log of what was done to them.

use crate::DrillError;
use crate::database;
use crate::history::{Lines, wall_ns};
use crate::process::{Launcher, Process, order};
use crate::sampler::Api;
use crate::schedule::{Fault, KillPoint, Outage};
use faultline_check::witness::{FaultKind, FaultRecord, Phase};
use faultline_cluster::{Cluster, ClusterError, Mode};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// How long a fault waits for its victim to hold a job.
const AIM_LIMIT: Duration = Duration::from_secs(3);
/// How long a worker may take to reach the point at which it is to die.
const DIE_LIMIT: Duration = Duration::from_secs(4);
/// How long requests gather in the API before it is killed.
const GATHER: Duration = Duration::from_millis(200);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The cluster and the processes of a run.
pub(crate) struct Stage {
    pub(crate) cluster: Arc<Mutex<Cluster>>,
    pub(crate) launcher: Launcher,
    pub(crate) nemesis: Lines,
    pub(crate) api_seen: Api,
    pub(crate) address: SocketAddr,
    workers: Vec<Process>,
    api: Process,
    started: u32,
    faults: u64,
}

impl Stage {
    /// Starts the API and the workers, and waits until all are registered.
    pub(crate) async fn set(
        cluster: Arc<Mutex<Cluster>>,
        launcher: Launcher,
        workers: usize,
    ) -> Result<Self, DrillError> {
        let nemesis = Lines::open(&launcher.dir.join("nemesis.jsonl"), false)?;
        let (api, address) = launcher.api("api-1", 0).await?;
        let api_seen = Api::default();
        api_seen.set(Some((api.name.clone(), address)));
        let (started, faults) = (1, 0);
        let mut stage =
            Self { cluster, launcher, nemesis, api_seen, address, workers: Vec::new(), api, started, faults };
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

    fn new_worker(&mut self) -> Result<Process, DrillError> {
        self.started += 1;
        self.launcher.worker(&format!("worker-{}", self.started))
    }

    /// Carries out one fault to its end.
    pub(crate) async fn carry_out(&mut self, fault: Fault) -> Result<(), DrillError> {
        match fault {
            Fault::Kill { worker, pause_ms } => self.kill(worker, pause_ms).await,
            Fault::KillAt { worker, point, pause_ms } => self.kill_at(worker, point, pause_ms).await,
            Fault::Outage { how, for_ms } => self.outage(how, for_ms).await,
            Fault::Stop { worker, for_ms } => self.stop(worker, for_ms).await,
            Fault::KillApi { pause_ms } => self.kill_api(pause_ms).await,
        }
    }

    async fn kill(&mut self, worker: usize, pause_ms: u64) -> Result<(), DrillError> {
        let owner = self.aim(worker, true).await?;
        let name = self.workers[worker].name.clone();
        self.log(Phase::Invoke, FaultKind::Kill, Some(name), owner)?;
        self.workers[worker].signal(Signal::KILL);
        self.workers[worker].wait(DIE_LIMIT).await;
        self.replace(worker, pause_ms).await
    }

    async fn kill_at(&mut self, worker: usize, point: KillPoint, pause_ms: u64) -> Result<(), DrillError> {
        let owner = self.aim(worker, false).await?;
        let name = self.workers[worker].name.clone();
        let order = order(&self.launcher.dir, &name);
        std::fs::write(&order, point.name()).map_err(DrillError::io("write an order"))?;
        let died = self.workers[worker].wait(DIE_LIMIT).await;
        std::fs::remove_file(&order).map_err(DrillError::io("remove an order"))?;
        // It may have died right before the order was taken back.
        if !died && !self.workers[worker].ended() {
            return Ok(());
        }
        self.log(Phase::Invoke, FaultKind::Kill, Some(name), owner)?;
        self.replace(worker, pause_ms).await
    }

    async fn replace(&mut self, worker: usize, pause_ms: u64) -> Result<(), DrillError> {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        self.workers[worker] = self.new_worker()?;
        Ok(())
    }

    async fn stop(&mut self, worker: usize, for_ms: u64) -> Result<(), DrillError> {
        let owner = self.aim(worker, true).await?;
        let name = self.workers[worker].name.clone();
        self.log(Phase::Invoke, FaultKind::Stop, Some(name.clone()), owner)?;
        self.workers[worker].signal(Signal::STOP);
        tokio::time::sleep(Duration::from_millis(for_ms)).await;
        self.workers[worker].signal(Signal::CONT);
        self.log(Phase::Ok, FaultKind::Stop, Some(name), owner)
    }

    async fn kill_api(&mut self, pause_ms: u64) -> Result<(), DrillError> {
        self.api_seen.set(None);
        // Stopped first, so that it dies with requests that it has not answered.
        self.api.signal(Signal::STOP);
        tokio::time::sleep(GATHER).await;
        self.log(Phase::Invoke, FaultKind::Kill, Some(self.api.name.clone()), None)?;
        self.api.signal(Signal::KILL);
        self.api.wait(DIE_LIMIT).await;
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        self.started += 1;
        let name = format!("api-{}", self.started);
        let (api, address) = self.launcher.api(&name, self.address.port()).await?;
        self.api = api;
        self.api_seen.set(Some((name, address)));
        Ok(())
    }

    async fn outage(&mut self, how: Outage, for_ms: u64) -> Result<(), DrillError> {
        self.log(Phase::Invoke, FaultKind::DatabaseDown, None, None)?;
        self.with_cluster(move |cluster| match how {
            Outage::Fast => cluster.stop(Mode::Fast),
            Outage::Immediate => cluster.stop(Mode::Immediate),
            Outage::Kill => cluster.kill(),
        })
        .await?;
        tokio::time::sleep(Duration::from_millis(for_ms)).await;
        self.with_cluster(Cluster::start_again).await?;
        self.log(Phase::Ok, FaultKind::DatabaseDown, None, None)
    }

    async fn with_cluster(
        &self,
        call: impl FnOnce(&mut Cluster) -> Result<(), ClusterError> + Send + 'static,
    ) -> Result<(), DrillError> {
        let cluster = self.cluster.clone();
        let called =
            tokio::task::spawn_blocking(move || call(&mut cluster.lock().unwrap_or_else(PoisonError::into_inner)));
        let panicked = |_| DrillError::Process("a call to the cluster has panicked".into());
        Ok(called.await.map_err(panicked)??)
    }

    /// Waits until a worker has registered and, if asked for, holds a job; answers its incarnation as far as it is known.
    async fn aim(&self, worker: usize, holding: bool) -> Result<Option<Uuid>, DrillError> {
        let Some(pid) = self.workers[worker].pid() else { return Ok(None) };
        let client = database::connect(&self.launcher.url).await?;
        let mut owner = None;
        let look = async {
            loop {
                if let Some((id, holds)) = database::incarnation(&client, pid).await? {
                    owner = Some(id);
                    if holds || !holding {
                        return Ok(());
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let limit = if holding { AIM_LIMIT } else { 4 * AIM_LIMIT };
        tokio::time::timeout(limit, look).await.unwrap_or(Ok::<(), DrillError>(()))?;
        Ok(owner)
    }

    fn log(
        &mut self,
        phase: Phase,
        kind: FaultKind,
        process: Option<String>,
        owner: Option<Uuid>,
    ) -> Result<(), DrillError> {
        // What lasts ends before the next one begins, so that its number is still the last.
        self.faults += u64::from(phase == Phase::Invoke);
        let record = FaultRecord { fault: self.faults, phase, kind, wall_ns: wall_ns(), process, owner };
        self.nemesis.write(&record).map_err(DrillError::io("write the nemesis's log"))
    }

    /// Notes every process that ended by itself: none may.
    pub(crate) fn look_for_exits(&mut self) -> Result<(), DrillError> {
        let mut ended: Vec<String> =
            self.workers.iter_mut().filter_map(|w| w.ended().then(|| w.name.clone())).collect();
        if self.api.ended() {
            ended.push(self.api.name.clone());
        }
        for name in ended {
            self.log(Phase::Invoke, FaultKind::Exited, Some(name), None)?;
        }
        Ok(())
    }

    /// Stops everything in order: workers, the API, and with the last handle the cluster.
    pub(crate) async fn end(self) {
        for worker in &self.workers {
            worker.signal(Signal::TERM);
        }
        for worker in self.workers {
            worker.end().await;
        }
        self.api_seen.set(None);
        self.api.end().await;
    }
}
