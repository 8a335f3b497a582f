//! The in-memory server answers as Postgres does: random sequences of the engine's calls go to both, and every answer must be
//! the same, as must the tables in the end.
//!
//! The calls are the typed functions of `faultline-store`, so the server's half of the protocol is judged as well. Times are
//! whole hours, and both clocks are moved on by hours, so that how long a test takes is lost in rounding: the rows of Postgres
//! are moved into the past instead of its clock into the future. Ids come from small pools, so that calls often name a job that
//! has ended, or a lease that was lost. Where Postgres would break a tie by chance there is none.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod call;
mod side;

use call::Call;
use faultline_cluster::testing;
use faultline_store::{Database, migrate};
use rand::SeedableRng;
use rand::rngs::StdRng;
use side::Side;
use std::collections::BTreeMap;

const SEQUENCES: u64 = 12;
const CALLS: usize = 120;

fn migrate_at(url: &str) {
    let database = Database::new(url, "migrate", 1).unwrap();
    runtime().block_on(async {
        database.run(async |client| migrate::migrate(client).await.map(drop)).await.unwrap();
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn the_simulated_server_answers_as_postgres_does() {
    let database = testing::database(migrate_at);
    runtime().block_on(async {
        let mut seen = BTreeMap::new();
        for seed in 0..SEQUENCES {
            let (mut real, mut simulated) = (Side::postgres(&database.url()).await, Side::simulated(seed).await);
            compare(seed, &mut real, &mut simulated, &mut seen).await;
        }
        for answer in [
            "Claim: 2",
            "Recover: 1",
            "Renew: 1",
            "LeaseLost",
            "Moved(Queued)",
            "Moved(Succeeded)",
            "Moved(Failed)",
            "Moved(Cancelled)",
            "absent: 1",
            "not_back: 1",
            "expired: 1",
            "Reap: Queued",
            "Reap: Failed",
            "Reap: Cancelled",
            "Bury: Queued",
            "Requested",
            "Prune: 1",
            "refused",
            "Heartbeat: None",
        ] {
            assert!(seen.contains_key(answer), "no call was answered with {answer}, only {seen:#?}");
        }
    });
}

async fn compare(seed: u64, real: &mut Side, simulated: &mut Side, seen: &mut BTreeMap<String, usize>) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let call = Call::draw(&mut random, real);
        calls.push(format!("{call:?}"));
        let (expected, found) = (real.run(&call).await, simulated.run(&call).await);
        assert_eq!(expected.text, found.text, "seed {seed}, Postgres left, after\n{}", calls.join("\n"));
        for mark in expected.marks {
            *seen.entry(mark).or_default() += 1;
        }
    }
    let (expected, found) = (real.tables().await, simulated.tables().await);
    assert_eq!(expected, found, "seed {seed}, Postgres left, in the end of\n{}", calls.join("\n"));
}
