//! What lies between the hosts and the server: latency, silence, refusals, resets, and answers that get lost.
//!
//! A silent link delivers nothing and says nothing, like a network without a route. What was sent meanwhile arrives when the link
//! is back, as the kernel sends it again - a late statement of a session that its owner has given up long ago included - unless
//! the link comes back with [`Network::reset`]: then both ends find their connections dead.

use crate::statement::Statement;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// One way from host to server or back, in milliseconds.
const LATENCY_MS: std::ops::Range<f64> = 0.1..3.0;

/// How the answer to a statement gets lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The connection is reset before the statement reaches the server.
    RequestReset,
    /// The statement is run, then the connection is reset.
    AnswerReset,
    /// The statement is run, and the connection stays silent for ever.
    AnswerSilent,
}

#[derive(Clone, Default)]
struct Link {
    is_silent: bool,
    is_refusing: bool,
    /// Counts the resets.
    epoch: u64,
}

struct State {
    is_server_up: bool,
    /// Counts the server's starts.
    server: u64,
    links: BTreeMap<Arc<str>, Link>,
}

struct Trap {
    host: Arc<str>,
    statement: Statement,
    loss: Loss,
}

/// The network, and whether the server is there.
pub struct Network {
    state: Mutex<State>,
    /// Wakes in the order of waiting; a watch channel draws lots.
    changed: Notify,
    traps: Mutex<Vec<Trap>>,
    random: Mutex<StdRng>,
    is_instant: AtomicBool,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            state: Mutex::new(State { is_server_up: true, server: 0, links: BTreeMap::new() }),
            changed: Notify::new(),
            traps: Mutex::default(),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            is_instant: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_waiters();
    }

    fn link(&self, host: &str, change: impl FnOnce(&mut Link)) {
        self.change(|state| change(state.links.entry(host.into()).or_default()));
    }

    /// From now on there is no latency.
    pub fn be_instant(&self) {
        self.is_instant.store(true, Ordering::Relaxed);
    }

    /// The link of a host falls silent, in both directions.
    pub fn silence(&self, host: &str) {
        self.link(host, |link| link.is_silent = true);
    }

    /// The link is back and delivers what was sent meanwhile.
    pub fn resume(&self, host: &str) {
        self.link(host, |link| link.is_silent = false);
    }

    /// Every connection of a host is reset; the link itself works, again or still.
    pub fn reset(&self, host: &str) {
        self.link(host, |link| *link = Link { epoch: link.epoch + 1, ..Link::default() });
    }

    /// Every connection of a host is reset, and new ones are refused until the next reset.
    pub fn refuse(&self, host: &str) {
        self.link(host, |link| *link = Link { epoch: link.epoch + 1, is_refusing: true, is_silent: false });
    }

    /// The next such statement of a host loses its answer.
    pub fn lose(&self, host: &str, statement: Statement, loss: Loss) {
        self.traps().push(Trap { host: host.into(), statement, loss });
    }

    /// How many statements have not lost their answers yet.
    pub fn losses_left(&self) -> usize {
        self.traps().len()
    }

    pub(crate) fn spring(&self, host: &str, statement: Statement) -> Option<Loss> {
        let mut traps = self.traps();
        let at = traps.iter().position(|trap| &*trap.host == host && trap.statement == statement)?;
        Some(traps.remove(at).loss)
    }

    fn traps(&self) -> MutexGuard<'_, Vec<Trap>> {
        self.traps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stop_server(&self) {
        self.change(|state| state.is_server_up = false);
    }

    pub(crate) fn start_server(&self) {
        self.change(|state| {
            state.is_server_up = true;
            state.server += 1;
        });
    }

    fn latency(&self) -> Duration {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_secs_f64(random.random_range(LATENCY_MS) / 1000.0)
    }

    pub(crate) fn connect(self: &Arc<Self>, host: &Arc<str>) -> Connection {
        let state = self.state();
        let epoch = state.links.get(host).map_or(0, |link| link.epoch);
        Connection { network: self.clone(), host: host.clone(), server: state.server, epoch }
    }
}

/// The connection was reset, or the server is gone.
pub(crate) struct Reset;

/// One connection from a host to the server.
pub(crate) struct Connection {
    network: Arc<Network>,
    host: Arc<str>,
    server: u64,
    epoch: u64,
}

impl Connection {
    /// Something goes one way; waits while the link is silent.
    pub(crate) async fn pass(&self) -> Result<(), Reset> {
        if !self.network.is_instant.load(Ordering::Relaxed) {
            tokio::time::sleep(self.network.latency()).await;
        }
        loop {
            let changed = self.network.changed.notified();
            match self.now() {
                Some(answer) => return answer,
                None => changed.await,
            }
        }
    }

    /// Resolves when the connection is reset.
    pub(crate) async fn reset(&self) {
        loop {
            let changed = self.network.changed.notified();
            if matches!(self.now(), Some(Err(Reset))) {
                return;
            }
            changed.await;
        }
    }

    /// Whether something would get through; `None`: nobody can tell.
    fn now(&self) -> Option<Result<(), Reset>> {
        let state = self.network.state();
        let link = state.links.get(&self.host).cloned().unwrap_or_default();
        if link.epoch != self.epoch || link.is_refusing {
            return Some(Err(Reset));
        }
        if link.is_silent {
            return None;
        }
        Some(if state.is_server_up && state.server == self.server { Ok(()) } else { Err(Reset) })
    }
}
