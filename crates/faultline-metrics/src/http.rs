//! What the API counts.

use crate::definitions as d;
use crate::family::{Counters, Histograms, counters, histograms};
use crate::histogram::Histogram;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

/// Methods that are told apart.
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"];
/// Statuses that are told apart: those that the API answers.
const STATUSES: [u16; 22] =
    [200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429];
/// Statuses of the server's own failures.
const FAILURES: [u16; 4] = [500, 502, 503, 504];
const OTHER: &str = "other";
/// The route of paths that lead nowhere.
pub const UNKNOWN_ROUTE: &str = "(unknown)";

/// The families of the API.
pub struct HttpMetrics {
    requests: Counters,
    durations: Histograms,
    /// By the pattern of the route, of which there are as many as the server has routes.
    routes: RwLock<HashMap<String, Arc<[OnceLock<MethodMetrics>; METHODS.len() + 1]>>>,
}

/// One method of a route.
struct MethodMetrics {
    duration: Histogram,
    statuses: [OnceLock<Counter>; STATUSES.len() + FAILURES.len() + 1],
}

impl HttpMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        Self {
            requests: counters(registry, &d::HTTP_REQUESTS),
            durations: histograms(registry, &d::HTTP_DURATION),
            routes: RwLock::default(),
        }
    }

    /// A request was answered. `route` is a pattern of the server's, never a path.
    pub fn answered(&self, method: &str, route: &str, status: u16, duration: Duration) {
        let (number, method) = named(&METHODS, method);
        let methods = self.route(route);
        let metrics = methods[number].get_or_init(|| MethodMetrics {
            duration: self.durations.of(&[method, route]),
            statuses: std::array::from_fn(|_| OnceLock::new()),
        });
        metrics.duration.observe(duration);
        let known = STATUSES.iter().chain(&FAILURES).position(|known| *known == status);
        let counter = metrics.statuses[known.unwrap_or(STATUSES.len() + FAILURES.len())].get_or_init(|| {
            let status = known.map_or_else(|| OTHER.to_owned(), |_| status.to_string());
            self.requests.of(&[method, route, &status])
        });
        counter.inc();
    }

    fn route(&self, route: &str) -> Arc<[OnceLock<MethodMetrics>; METHODS.len() + 1]> {
        if let Some(found) = self.routes.read().unwrap_or_else(PoisonError::into_inner).get(route) {
            return found.clone();
        }
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(std::array::from_fn(|_| OnceLock::new()));
        routes.entry(route.to_owned()).or_insert_with(make).clone()
    }
}

fn named(names: &'static [&'static str], name: &str) -> (usize, &'static str) {
    names.iter().position(|known| *known == name).map_or((names.len(), OTHER), |at| (at, names[at]))
}
