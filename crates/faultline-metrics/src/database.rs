//! What a process sees of its database: sessions, pools, errors, and whether it answered last.

use crate::definitions as d;
use crate::family::{Counters, Gauges, Names, OTHER, counters, gauge, gauges};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Names of sessions and pools that are reported; the program has about a dozen.
const MAX_SESSIONS: usize = 50;

/// How a call of the database ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call<'a> {
    /// It was answered.
    Answered,
    /// It was refused, with this SQLSTATE.
    Refused(&'a str),
    /// The schema does not fit.
    Schema,
    /// There was no session.
    Unreachable,
    /// There was no answer.
    Indeterminate,
}

/// The families of the database.
pub struct DatabaseMetrics {
    up: Gauge,
    errors: Counters,
    opened: Counters,
    reconnects: Counters,
    pool_size: Gauges,
    pool_in_use: Gauges,
    pool_waiting: Gauges,
    names: Names,
    /// By name, so that a session which replaces another one is seen as such.
    sessions: Mutex<HashMap<String, SessionMetrics>>,
}

impl DatabaseMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        Self {
            up: gauge(registry, &d::DATABASE_UP),
            errors: counters(registry, &d::DATABASE_ERRORS),
            opened: counters(registry, &d::DATABASE_SESSIONS_OPENED),
            reconnects: counters(registry, &d::DATABASE_RECONNECTS),
            pool_size: gauges(registry, &d::DATABASE_POOL_SIZE),
            pool_in_use: gauges(registry, &d::DATABASE_POOL_IN_USE),
            pool_waiting: gauges(registry, &d::DATABASE_POOL_WAITING),
            names: Names::at_most(MAX_SESSIONS),
            sessions: Mutex::default(),
        }
    }

    /// Notes how a call ended.
    pub fn called(&self, call: Call<'_>) {
        let (up, class) = match call {
            Call::Answered => (1, None),
            Call::Refused(code) => (1, Some(class(code))),
            Call::Schema => (1, Some("schema")),
            Call::Unreachable => (0, Some("unreachable")),
            Call::Indeterminate => (0, Some("indeterminate")),
        };
        self.up.set(up);
        if let Some(class) = class {
            self.errors.of(&[class]).inc();
        }
    }

    /// The sessions of one name.
    pub fn sessions(&self, name: &str) -> SessionMetrics {
        let name = self.names.admit(name);
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || SessionMetrics {
            opened: self.opened.of(&[name]),
            reconnects: self.reconnects.of(&[name]),
            lost: Arc::default(),
        };
        sessions.entry(name.to_owned()).or_insert_with(make).clone()
    }

    /// A pool that may have `size` sessions.
    pub fn pool(&self, name: &str, size: usize) -> PoolMetrics {
        let name = self.names.admit(name);
        self.pool_size.of(&[name]).set(i64::try_from(size).unwrap_or(i64::MAX));
        PoolMetrics { in_use: self.pool_in_use.of(&[name]), waiting: self.pool_waiting.of(&[name]) }
    }
}

/// The class of a SQLSTATE: there are some forty of them.
fn class(code: &str) -> &str {
    let class = code.get(..2).unwrap_or(OTHER);
    let is_class = class.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    if is_class { class } else { OTHER }
}

/// The sessions of one name.
#[derive(Clone)]
pub struct SessionMetrics {
    opened: Counter,
    reconnects: Counter,
    /// Those that were lost and not replaced yet.
    lost: Arc<AtomicU64>,
}

impl SessionMetrics {
    /// One was opened.
    pub fn opened(&self) {
        self.opened.inc();
        let replaces = self.lost.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |lost| lost.checked_sub(1));
        if replaces.is_ok() {
            self.reconnects.inc();
        }
    }

    /// One was lost.
    pub fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// A pool of sessions.
#[derive(Clone)]
pub struct PoolMetrics {
    in_use: Gauge,
    waiting: Gauge,
}

impl PoolMetrics {
    /// Counts a call that waits for a session until the guard is dropped.
    pub fn waits(&self) -> Held {
        Held::new(&self.waiting)
    }

    /// Counts a session that is at work until the guard is dropped.
    pub fn works(&self) -> Held {
        Held::new(&self.in_use)
    }
}

/// So many more on a gauge, as long as it is held.
pub struct Held(Gauge, i64);

impl Held {
    /// Counts one.
    pub fn new(gauge: &Gauge) -> Self {
        Self::many(gauge, 1)
    }

    /// Counts some.
    pub fn many(gauge: &Gauge, count: usize) -> Self {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        gauge.inc_by(count);
        Self(gauge.clone(), count)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec_by(self.1);
    }
}
