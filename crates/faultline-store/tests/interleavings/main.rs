//! The interleaving explorer: what the shipped statements do to each other, in every order that Postgres allows.
//!
//! A program gives two or three sessions a few steps each. A step is one call of the store on a real session, or a
//! boundary of a transaction, so that the locks of a statement can be held over the others' statements. [`explore`]
//! runs the program in every order of its steps. A step that waits for a lock, seen through `pg_blocking_pids`, is
//! parked until it is let go, and the others go on. After each run the checker judges it by the transition log, the
//! rows, the effects and what each session was told; besides, no step may fail for another reason than a lost lease,
//! nobody may deadlock, and claims and reaps must not wait.
//!
//! `tests/store/races.rs` compares any two single steps with their order one after the other. Here sessions have a past
//! and a future: the zombie, the reaper and the next holder all act, and whatever they were told must fit what is
//! there.
//!
//! Each test also says what must have been seen, or else its program no longer shows what it is for.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod explore;
mod keys;
mod leases;
mod operators;
mod step;
#[cfg(feature = "mutants")]
mod teeth;
mod witness;
mod world;

use faultline_cluster::testing::{self, TestDatabase};
use faultline_store::{Database, migrate};

/// A migrated database with the transition log on, and a table for effects without any constraint.
fn database() -> TestDatabase {
    testing::database(|url| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let database = Database::new(url, "interleavings", 1).unwrap();
            database.run(async |client| migrate::migrate(client).await).await.unwrap();
            let prepare = "select faultline.audit_on(); create table public.effects (job uuid, lease uuid)";
            database.run(async |client| Ok(client.batch_execute(prepare).await?)).await.unwrap();
        });
    })
}
