//! The scenarios, one file each.

mod backlog;
mod drain;
mod enqueue;
mod enqueue_http;
mod fleet;
mod held_snapshot;
mod idle;
mod latency;
mod long_jobs;
mod mixed;
mod steady;
mod ways;

use crate::bench::Bench;
use crate::error::{BenchError, Result};
use crate::figure::Outcome;
use futures_util::future::BoxFuture;

/// Something that is measured.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it measures, and beside what.
    pub about: &'static str,
    pub(crate) run: for<'a> fn(&'a Bench<'a>) -> BoxFuture<'a, Result<Outcome>>,
}

/// Every scenario, in the order in which `all` runs them.
pub static SCENARIOS: [Scenario; 12] = [
    Scenario {
        name: "drain",
        about: "no-op jobs by one and two worker processes, at 2000 slots and at the default 100, beside hand-written SQL",
        run: |bench| Box::pin(drain::run(bench)),
    },
    Scenario {
        name: "enqueue",
        about: "bulk enqueue through the library, beside insert … select from unnest",
        run: |bench| Box::pin(enqueue::run(bench)),
    },
    Scenario {
        name: "enqueue-http",
        about: "single enqueues over HTTP on 1, 8 and 64 connections, beside one insert a commit on 1, 8 and 32 sessions",
        run: |bench| Box::pin(enqueue_http::run(bench)),
    },
    Scenario {
        name: "latency",
        about: "enqueue to handler start on an idle system, beside LISTEN and NOTIFY by hand",
        run: |bench| Box::pin(latency::run(bench)),
    },
    Scenario {
        name: "steady",
        about: "producers and workers together at a given rate: does it keep up, and stay flat",
        run: |bench| Box::pin(steady::run(bench)),
    },
    Scenario {
        name: "held-snapshot",
        about: "a drain under a forgotten transaction, beside the same without it",
        run: |bench| Box::pin(held_snapshot::run(bench)),
    },
    Scenario {
        name: "backlog",
        about: "a drain with 10M due jobs behind, beside the same with 10k",
        run: |bench| Box::pin(backlog::due(bench)),
    },
    Scenario {
        name: "scheduled",
        about: "a drain beside 1M future-dated jobs, and without them",
        run: |bench| Box::pin(backlog::scheduled(bench)),
    },
    Scenario {
        name: "mixed",
        about: "payload sizes, priorities, several queues, failures and retries, beside a plain drain",
        run: |bench| Box::pin(mixed::run(bench)),
    },
    Scenario {
        name: "fleet",
        about: "64 worker processes of 10 slots and 2 of 500, beside hand-written SQL",
        run: |bench| Box::pin(fleet::run(bench)),
    },
    Scenario {
        name: "long-jobs",
        about: "5000 handlers that wait in one worker: their leases, its memory, and short jobs beside them",
        run: |bench| Box::pin(long_jobs::run(bench)),
    },
    Scenario {
        name: "idle",
        about: "statements a second and memory of a worker with 1000 slots and nothing to do",
        run: |bench| Box::pin(idle::run(bench)),
    },
];

/// The scenarios of these names; `all` is every one.
///
/// # Errors
/// [`BenchError::Unknown`].
pub fn select(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if names.iter().any(|name| name == "all") {
        return Ok(SCENARIOS.iter().collect());
    }
    let find =
        |name: &String| SCENARIOS.iter().find(|s| s.name == name).ok_or_else(|| BenchError::Unknown(name.clone()));
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_selects_every_scenario_and_a_wrong_name_is_refused() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(select(&names(&["all"])).map(|all| all.len()).ok(), Some(SCENARIOS.len()));
        assert_eq!(select(&names(&["drain", "idle"])).map(|some| some.len()).ok(), Some(2));
        assert!(matches!(select(&names(&["drain", "drian"])), Err(BenchError::Unknown(name)) if name == "drian"));
    }
}
