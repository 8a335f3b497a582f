//! A whole world on one thread: the database, the network, and the hosts that tests put there.

use crate::log::{Event, Log};
use crate::network::Network;
use crate::session::serve;
use crate::statement::{Shape, Statement};
use crate::store::Store;
use crate::wire::Row;
use bytes::Bytes;
use faultline::Client;
use faultline_store::{Database, Simulation};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// When the database's clock began.
const BEGINNING: i64 = 1_800_000_000;
/// Bytes on their way in one direction, at most.
const IN_FLIGHT: usize = 1 << 16;
/// Sessions of a client's pool.
const POOL: usize = 4;

pub(crate) struct Server {
    pub(crate) network: Arc<Network>,
    store: Mutex<Store>,
    log: Log,
    began: Instant,
    /// What needs a page of a table, while there is none.
    refused: Mutex<BTreeSet<Statement>>,
    /// How much the database's clock is ahead of the time that has passed.
    ahead: Mutex<SignedDuration>,
}

impl Server {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, who: &Arc<str>, event: Event) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.log.push(ms, who, event);
    }

    pub(crate) fn refuses(&self, statement: Statement) -> bool {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).contains(&statement)
    }

    /// In whole microseconds, as Postgres has them.
    fn now(&self) -> Timestamp {
        let ahead = *self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX);
        let beginning = Timestamp::from_second(BEGINNING).expect("it is in range");
        beginning + SignedDuration::from_micros(passed) + ahead
    }

    pub(crate) fn run(
        &self,
        shape: &Shape,
        values: &[Option<Bytes>],
        pid: i32,
        who: &Arc<str>,
    ) -> Result<Vec<Row>, String> {
        let (rows, events) = self.store().run(shape, values, pid, self.now());
        for event in events {
            self.push(who, event);
        }
        rows
    }
}

/// The world. Must be made inside the runtime of its test.
#[derive(Clone)]
pub struct World {
    server: Arc<Server>,
    seed: u64,
}

impl World {
    /// A world whose every chance comes from the seed.
    pub fn new(seed: u64) -> Self {
        let mut server = Server {
            network: Arc::new(Network::new(seed ^ 1)),
            store: Mutex::new(Store::new(seed ^ 2, Timestamp::UNIX_EPOCH)),
            log: Log::default(),
            began: Instant::now(),
            refused: Mutex::default(),
            ahead: Mutex::new(SignedDuration::ZERO),
        };
        let now = server.now();
        server.store = Mutex::new(Store::new(seed ^ 2, now));
        Self { server: Arc::new(server), seed }
    }

    /// A database as the process on a host sees it.
    ///
    /// # Panics
    /// If the system's certificates can't be read.
    pub fn database(&self, host: &str) -> Database {
        let seed = host.bytes().fold(self.seed, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        let (server, from) = (self.server.clone(), Arc::<str>::from(host));
        let simulation = Simulation::new(seed, move || {
            let (theirs, ours) = tokio::io::duplex(IN_FLIGHT);
            tokio::spawn(serve(server.clone(), from.clone(), ours));
            theirs
        });
        Database::simulated(simulation, host, POOL).expect("the fixed URL is well-formed")
    }

    /// The same as a client.
    pub fn client(&self, host: &str) -> Client {
        Client::of(self.database(host))
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.server.network
    }

    /// The tables.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.server.store()
    }

    /// What happened so far.
    pub fn log(&self) -> &Log {
        &self.server.log
    }

    /// Notes something that happened on a host.
    pub fn note(&self, who: &str, event: Event) {
        self.server.push(&who.into(), event);
    }

    /// The database's clock.
    pub fn now(&self) -> Timestamp {
        self.server.now()
    }

    /// Milliseconds since the world began.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.server.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The server stops: every session ends, and nobody gets a new one.
    pub fn stop_server(&self) {
        self.note("server", Event::Fault("stops".into()));
        self.server.network.stop_server();
        self.server.store().restart(self.server.now());
    }

    /// The server starts.
    pub fn start_server(&self) {
        self.note("server", Event::Fault("starts".into()));
        self.server.store().restart(self.server.now());
        self.server.network.start_server();
    }

    /// The disk of the tables is full: from now on these statements are refused, and no others.
    pub fn fill_disk(&self, refused: &[Statement]) {
        self.note("server", Event::Fault("has no space left".into()));
        *self.server.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused.iter().copied().collect();
    }

    /// There is space again.
    pub fn clear_disk(&self) {
        self.note("server", Event::Fault("has space".into()));
        self.server.refused.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The database's clock is set, ahead or back, while nothing else happens.
    pub fn set_clock(&self, by: SignedDuration) {
        self.note("server", Event::Fault(format!("its clock is set by {by:#}")));
        *self.server.ahead.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}
