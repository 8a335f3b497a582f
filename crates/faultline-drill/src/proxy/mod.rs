//! The network between one process and Postgres, to be broken without anybody's rights: a proxy in the supervisor.
//!
//! Each process has a proxy of its own, so that links fail alone. What is held is delivered when the link is whole again, as a network
//! delivers what was sent again and again: a finish may reach the server long after somebody else took the job over. Nobody sees
//! a connection end while its link is held, neither a client nor the server. Only what is reset or cut ends with an RST.
//!
//! | module | holds |
//! |---|---|
//! | `wire` | where messages begin and end, and what commits |
//! | `connection` | one connection: what is held, late, swallowed or cut |

mod connection;
mod wire;

pub use wire::Statement;

use crate::DrillError;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// What the process says does not arrive.
    ToDatabase,
    /// What the database says does not arrive.
    FromDatabase,
    /// Neither.
    Both,
}

/// Where a statement is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// It was executed; what commits it does not arrive.
    Before,
    /// In the middle of what commits it.
    MidRequest,
    /// It was committed; the answer does not arrive.
    Reply,
    /// It was committed; half of the answer's first message arrives.
    MidReply,
}

impl Cut {
    pub(crate) const ALL: [Self; 4] = [Self::Before, Self::Reply, Self::MidRequest, Self::MidReply];
}

/// Bad weather.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Noise {
    /// Each piece of data is so late at least.
    pub delay_ms: u64,
    /// And so much later at most.
    pub jitter_ms: u64,
    /// So many of a hundred pieces are lost, and come again after `stall_ms`.
    pub lost_percent: u32,
    /// How long it takes to send again, ms; twice as long if that is lost too.
    pub stall_ms: u64,
    /// So many of a thousand pieces end their connection.
    pub resets_per_mille: u32,
}

/// What a link does now; the default is to pass everything on.
#[derive(Debug, Clone, Copy, Default)]
struct Rules {
    /// How many faults hold this direction.
    held_to_database: u32,
    held_from_database: u32,
    /// Both are held since a statement was cut.
    cut_off: bool,
    /// Connections are refused.
    refuse: bool,
    /// Notifications are swallowed.
    deaf: bool,
    noise: Option<Noise>,
    /// Listening connections with smaller numbers are dead without anybody being told.
    silent_before: u64,
    /// A connection with a smaller number is reset.
    reset_before: u64,
}

impl Rules {
    fn holds_to_database(&self) -> bool {
        self.cut_off || self.held_to_database > 0
    }

    fn holds_from_database(&self) -> bool {
        self.cut_off || self.held_from_database > 0
    }
}

/// What the connections of one link share.
struct Link {
    rules: watch::Sender<Rules>,
    armed: Mutex<Option<(Statement, Cut, bool)>>,
    /// How often a cut has hit.
    hits: watch::Sender<u64>,
    /// How many notifications were swallowed.
    swallowed: AtomicU64,
    connections: AtomicU64,
}

/// A running proxy; its connections end with it.
pub(crate) struct Proxy {
    link: Arc<Link>,
    address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Listens on a port of its own and forwards to `target`.
    pub(crate) fn start(target: SocketAddr, seed: u64) -> Result<Self, DrillError> {
        let opened = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        });
        let listener = opened.map_err(DrillError::io("listen for a proxy"))?;
        let address = listener.local_addr().map_err(DrillError::io("listen for a proxy"))?;
        let link = Arc::new(Link {
            rules: watch::Sender::new(Rules::default()),
            armed: Mutex::new(None),
            hits: watch::Sender::new(0),
            swallowed: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let task = tokio::spawn(accept(listener, link.clone(), target, seed)).abort_handle();
        Ok(Self { link, address, task })
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Holds back what goes that way, new connections included, until [`Proxy::release`] was called as often.
    pub(crate) fn hold(&self, way: Way) {
        self.link.rules.send_modify(|rules| {
            rules.held_to_database += u32::from(way != Way::FromDatabase);
            rules.held_from_database += u32::from(way != Way::ToDatabase);
        });
    }

    /// Lets go what was held.
    pub(crate) fn release(&self, way: Way) {
        self.link.rules.send_modify(|rules| {
            rules.held_to_database -= u32::from(way != Way::FromDatabase);
            rules.held_from_database -= u32::from(way != Way::ToDatabase);
        });
    }

    /// Lets go what was held since a cut.
    pub(crate) fn heal_cut(&self) {
        self.link.rules.send_modify(|rules| rules.cut_off = false);
    }

    /// Answers new connections with a reset, or no more.
    pub(crate) fn refuse(&self, on: bool) {
        self.link.rules.send_modify(|rules| rules.refuse = on);
    }

    /// Swallows notifications, or no more.
    pub(crate) fn deafen(&self, on: bool) {
        self.link.rules.send_modify(|rules| rules.deaf = on);
    }

    /// How many notifications were swallowed so far.
    pub(crate) fn swallowed(&self) -> u64 {
        self.link.swallowed.load(Ordering::Relaxed)
    }

    /// Loses, delays and resets, or no more.
    pub(crate) fn disturb(&self, noise: Option<Noise>) {
        self.link.rules.send_modify(|rules| rules.noise = noise);
    }

    /// Connections that listen are dead from now on, without anybody being told. New ones live.
    pub(crate) fn silence_listeners(&self) {
        let all = self.link.connections.load(Ordering::Acquire) + 1;
        self.link.rules.send_modify(|rules| rules.silent_before = all);
    }

    /// Resets what is connected now.
    pub(crate) fn reset(&self) {
        let all = self.link.connections.load(Ordering::Acquire) + 1;
        self.link.rules.send_modify(|rules| rules.reset_before = all);
    }

    /// Cuts the next such statement that comes within `limit`; answers whether one came. With `hold` everything is held from then on, until
    /// [`Proxy::heal_cut`].
    pub(crate) async fn cut_next(&self, statement: Statement, cut: Cut, hold: bool, limit: Duration) -> bool {
        let armed = || self.link.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hits = self.link.hits.subscribe();
        *armed() = Some((statement, cut, hold));
        let was_hit = tokio::time::timeout(limit, hits.changed()).await.is_ok();
        *armed() = None;
        was_hit
    }
}

impl Link {
    /// The cut for a statement that commits now, once.
    fn take_cut(&self, commits: Statement) -> Option<(Cut, bool)> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let meant = armed.filter(|(statement, ..)| *statement == commits);
        if meant.is_some() {
            *armed = None;
        }
        meant.map(|(_, cut, hold)| (cut, hold))
    }

    fn was_cut(&self, hold: bool) {
        if hold {
            self.rules.send_modify(|rules| rules.cut_off = true);
        }
        self.hits.send_modify(|hits| *hits += 1);
    }
}

async fn accept(listener: TcpListener, link: Arc<Link>, target: SocketAddr, seed: u64) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let number = link.connections.fetch_add(1, Ordering::AcqRel) + 1;
                let rng = StdRng::seed_from_u64(seed.wrapping_add(number));
                connections.spawn(connection::run(link.clone(), client, target, number, rng));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
