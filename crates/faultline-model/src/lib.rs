#![doc = include_str!("../README.md")]

mod action;
mod database;
mod faults;
mod model;
mod promise;
mod scope;
mod state;
mod witness;

pub use action::Action;
pub use database::{Claimed, Database, End, Finished, Job, Lease, Place, Rules, Token};
pub use model::Protocol;
pub use promise::{Promise, Promises};
pub use scope::{Budget, Replication, Requests, Scope, Time, Variant};
pub use state::{Ending, LEASE_TICKS, Late, Phase, Presence, Producer, Reply, Run, State, Worker, World};
pub use witness::{Witness, Witnesses};
