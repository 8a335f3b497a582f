//! The store against a real Postgres: one binary, so that its tests share one cluster; one database per test.
//! Nothing here sleeps to let something happen: who must wait is seen waiting, through `pg_blocking_pids`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod alike;
mod ambiguous;
mod budgets;
mod claims;
mod common;
mod costs;
mod crashes;
mod dashboard;
mod edges;
mod enqueue_again;
mod keys;
mod limits;
mod lists;
mod maintain;
mod migrate;
mod people;
mod plans;
mod races;
mod reap;
mod roles;
mod rollups;
mod steps;
mod transitions;
