//! On which server a worker is at home: the one that its presence is registered with.
//!
//! With several hosts in its URL a worker may find two servers that take writes: a standby was promoted, and the old primary lives
//! on. Each is consistent for itself, but whoever claims on one and renews on the other loses every job that it takes. So all
//! loops of a worker keep to one server, that of its presence. A session on another is closed. If new sessions go elsewhere than
//! the presence, that moves as well; what the worker holds is then renewed there, or lost if the row does not know its lease.

use faultline_store::Session;
use jiff::Timestamp;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Where a worker is at home.
#[derive(Default)]
pub(crate) struct Home {
    servers: Mutex<Servers>,
    /// A new session has reached another server.
    doubted: Notify,
}

/// When servers started, which tells them apart.
#[derive(Default)]
struct Servers {
    /// That of the presence; none while there is no presence, and behind a pooler.
    home: Option<Timestamp>,
    /// The other one that a new session has reached, until the presence has heard of it.
    elsewhere: Option<Timestamp>,
}

impl Home {
    /// The presence has been registered on this session.
    pub(crate) fn settle(&self, session: &Session) {
        self.servers().home = session.server();
    }

    /// The presence has ended: until the next one any server will do.
    pub(crate) fn leave(&self) {
        self.servers().home = None;
    }

    /// Whether a session is at home, as far as that can be told.
    pub(crate) fn has(&self, session: &Session) -> bool {
        self.servers().home.zip(session.server()).is_none_or(|(home, server)| home == server)
    }

    /// Tells the presence that a new session has reached another server.
    pub(crate) fn doubt(&self, session: &Session) {
        self.servers().elsewhere = session.server();
        self.doubted.notify_one();
    }

    /// Resolves when new sessions reach another server than this presence.
    pub(crate) async fn doubted(&self) {
        loop {
            self.doubted.notified().await;
            let mut servers = self.servers();
            let elsewhere = servers.elsewhere.take();
            // By now the presence may be there as well.
            if elsewhere.zip(servers.home).is_some_and(|(elsewhere, home)| elsewhere != home) {
                return;
            }
        }
    }

    fn servers(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
