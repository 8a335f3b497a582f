//! The engine's loops under paused time.
//!
//! A worker is half a dozen loops that wait most of the time: for a renewal to be due, for a pause after a failed try, for a
//! lease time of contact after an outage. What matters happens when these waits meet an outage in an unlucky order, and with real
//! time one such meeting costs half a minute. Here the clock is tokio's, paused: it jumps to the next timer as soon as nobody has
//! anything to do. Hundreds of virtual minutes take seconds, and every wait of the real code is as long as in production.
//!
//! What is real: the whole of `faultline` and `faultline-store`, the driver, and the PostgreSQL protocol on a byte stream. What is not:
//!
//! - the server: [`store`], a few tables and one function for each shipped statement, which is recognised by its text.
//!   `tests/validated.rs` sends the same random sequences of calls to it and to Postgres, and both must answer alike
//! - the network: [`network`], with latency, silence, resets and answers that get lost
//! - chance: `Simulation` in `faultline-store` hands a seed to whatever draws lots, and the renewals run beside the other loops
//!   instead of on a thread of their own. The same seed gives the same [`log`], line by line
//!
//! Everything runs on one thread, so races between processors are not found here, and neither is anything about locks: each
//! statement is over before the next begins. The drills and the tests on real Postgres look for those.

pub mod log;
pub mod network;
mod session;
mod statement;
pub mod store;
mod wire;
mod world;

pub use log::{Entry, Event, Log};
pub use network::{Loss, Network};
pub use statement::Statement;
pub use world::World;
