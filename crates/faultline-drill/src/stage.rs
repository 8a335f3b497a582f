//! What the nemesis acts on: the cluster and the processes, and the log of what was done to them.

use crate::DrillError;
use crate::database;
use crate::faults::Version;
use crate::ground::Ground;
use crate::history::{History, Lines, wall_ns};
use crate::process::{Launcher, Process};
use crate::sampler::Api;
use faultline_check::witness::{Action, Answer, FaultKind, FaultRecord, Phase, Place};
use faultline_cluster::{Cluster, ClusterError};
use rustix::process::Signal;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

/// How long a fault waits for its victim to hold a job.
const AIM_LIMIT: Duration = Duration::from_secs(3);
/// How long a worker may take to register.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Until the successor of a worker that has ended by itself starts.
const REPLACE_AFTER: Duration = Duration::from_millis(300);
/// How long an API that is exchanged goes on after requests are sent to its successor.
const HAND_OVER: Duration = Duration::from_millis(500);
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
    /// The port of the API now: another one after it was exchanged.
    pub(crate) port: Arc<AtomicU16>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) api: Process,
    /// Whether jobs of this drill kill their workers.
    mortal: bool,
    started: u32,
    unplanned: u64,
}

/// A worker process.
pub(crate) struct Worker {
    process: Process,
    /// Its incarnation, once that is known.
    pub(crate) owner: Option<Uuid>,
    /// What its end would mean.
    pub(crate) end: End,
    /// When it was seen to have ended.
    ended_at: Option<Instant>,
}

/// What the end of a worker process means.
pub(crate) enum End {
    /// Nobody has asked for it.
    Surprise,
    /// A fault brings it about, notes it, and replaces the worker.
    Fault,
    /// It was asked to stop.
    Shutdown(Shutdown),
}

/// A worker that was asked to stop.
pub(crate) struct Shutdown {
    history: History,
    op: u64,
    at_once: bool,
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
    pub(crate) async fn set(
        ground: &Ground,
        launcher: Launcher,
        workers: usize,
        mortal: bool,
    ) -> Result<Self, DrillError> {
        let nemesis = Arc::new(Lines::open(&launcher.dir.join("nemesis.jsonl"), false)?);
        let (api, address) = launcher.api("api-1", 0).await?;
        let api_seen = Api::default();
        api_seen.set(Some((api.name.clone(), address)));
        let mut stage = Self {
            cluster: ground.cluster.clone(),
            standby: ground.standby.clone(),
            launcher,
            nemesis,
            going_on: HashMap::new(),
            api_seen,
            address,
            port: Arc::new(AtomicU16::new(address.port())),
            workers: Vec::with_capacity(workers),
            api,
            mortal,
            started: 1,
            unplanned: UNPLANNED,
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
        Ok(Worker { process, owner: None, end: End::Surprise, ended_at: None })
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

    /// What is started from now on is of this version.
    pub(crate) fn launch(&mut self, version: Version) {
        let old = self.launcher.other.as_ref().filter(|_| version == Version::Old);
        self.launcher.program = old.unwrap_or(&self.launcher.newest).clone();
    }

    /// Starts a successor of the API beside it, sends the load there, and stops it in order.
    pub(crate) async fn exchange_api(&mut self) -> Result<(), DrillError> {
        self.started += 1;
        let name = format!("api-{}", self.started);
        let (api, address) = self.launcher.api(&name, 0).await?;
        self.api_seen.set(Some((name, address)));
        self.address = address;
        self.port.store(address.port(), Ordering::Release);
        // As a load balancer does: who had chosen the old one just before still gets through to it.
        tokio::time::sleep(HAND_OVER).await;
        std::mem::replace(&mut self.api, api).end().await;
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
            self.watch().await?;
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

    /// Notes a fault that hit a worker at a point.
    pub(crate) fn log_at(&mut self, number: u64, kind: FaultKind, worker: usize, at: Place) -> Result<(), DrillError> {
        let (process, owner) = (Some(self.workers[worker].name.clone()), self.workers[worker].owner);
        let (phase, at) = (Phase::Invoke, Some(at));
        let record = FaultRecord { fault: number, phase, kind, wall_ns: wall_ns(), process, owner, at };
        self.nemesis.write(&record).map_err(DrillError::io("write the nemesis's log"))
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
        let record = FaultRecord { fault, phase, kind, wall_ns: wall_ns(), process, owner, at: None };
        self.nemesis.write(&record).map_err(DrillError::io("write the nemesis's log"))
    }

    /// Asks a worker to stop; [`Stage::watch`] notes its end and replaces it.
    pub(crate) fn terminate(&mut self, worker: usize, number: u64) -> Result<(), DrillError> {
        self.log(number, Phase::Invoke, FaultKind::Terminate, Some(worker))?;
        let history = History::open(&self.launcher.dir, &format!("{}-end", self.workers[worker].name))?;
        self.signal_to_stop(worker, history, false);
        Ok(())
    }

    /// Asks a worker that stops to do so at once, unless it has stopped meanwhile.
    pub(crate) fn terminate_again(&mut self, worker: usize) {
        if self.workers[worker].ended() {
            return;
        }
        match std::mem::replace(&mut self.workers[worker].end, End::Surprise) {
            End::Shutdown(Shutdown { history, op, .. }) => {
                // What would have become of the first signal nobody can tell.
                history.write(&history.record(op, Action::Shutdown, Phase::Info));
                self.signal_to_stop(worker, history, true);
            }
            other => self.workers[worker].end = other,
        }
    }

    fn signal_to_stop(&mut self, worker: usize, history: History, at_once: bool) {
        let worker = &mut self.workers[worker];
        let op = history.op();
        let mut record = history.record(op, Action::Shutdown, Phase::Invoke);
        record.owner = worker.owner;
        history.write(&record);
        worker.end = End::Shutdown(Shutdown { history, op, at_once });
        worker.signal(Signal::TERM);
    }

    /// Notes and replaces workers that have stopped as they were asked to, or that their jobs have killed where that belongs
    /// to the drill.
    pub(crate) async fn watch(&mut self) -> Result<(), DrillError> {
        for number in 0..self.workers.len() {
            let worker = &mut self.workers[number];
            let concerns_us = match worker.end {
                End::Surprise => self.mortal,
                End::Fault => false,
                End::Shutdown(_) => true,
            };
            if !concerns_us || !worker.ended() {
                continue;
            }
            match worker.ended_at {
                None => {
                    worker.ended_at = Some(Instant::now());
                    self.note_end(number).await?;
                }
                Some(at) if at.elapsed() >= REPLACE_AFTER => self.replace(number)?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    async fn note_end(&mut self, worker: usize) -> Result<(), DrillError> {
        if let End::Shutdown(Shutdown { history, op, at_once }) = &self.workers[worker].end {
            let mut record = history.record(*op, Action::Shutdown, Phase::Ok);
            (record.owner, record.answer) = (self.workers[worker].owner, at_once.then_some(Answer::AtOnce));
            history.write(&record);
            return Ok(());
        }
        // It may have died before anybody asked for its incarnation.
        if self.workers[worker].owner.is_none()
            && let Some(pid) = self.workers[worker].last_pid()
            && let Ok(client) = database::connect(&self.launcher.url).await
        {
            self.workers[worker].owner = database::incarnation(&client, pid).await?.map(|(owner, _)| owner);
        }
        self.unplanned += 1;
        self.log(self.unplanned, Phase::Invoke, FaultKind::Exited, Some(worker))
    }

    /// Whether a worker that was asked to stop has not been seen to end.
    pub(crate) fn somebody_stops(&self) -> bool {
        self.workers.iter().any(|worker| matches!(worker.end, End::Shutdown(_)) && worker.ended_at.is_none())
    }

    /// Notes every process that ended by itself: none may.
    pub(crate) fn look_for_exits(&mut self) -> Result<(), DrillError> {
        let mortal = self.mortal;
        let surprise = |worker: &mut Worker| !mortal && matches!(worker.end, End::Surprise) && worker.ended();
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
