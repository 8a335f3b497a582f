//! The pure rules of Faultline: what a job may look like, how long a failed one waits, what a text
//! or a result may hold. No clock, no randomness of its own, no SQL, no runtime: whoever calls
//! passes those in, so that every rule here can be tested as a function.
//!
//! - [`ids`]: the ids that cross crate boundaries
//! - [`limits`]: every bound, with its reason
//! - [`job`]: a validated job on its way in, and the states
//! - [`json`]: what a payload, headers or a result may hold
//! - [`text`]: error texts, cut and cleaned
//! - [`fingerprint`]: what errors that say the same have in common
//! - [`backoff`]: the delay before the next attempt
//! - [`durations`]: durations as people write them

pub mod backoff;
pub mod durations;
pub mod fingerprint;
pub mod ids;
pub mod job;
pub mod json;
pub mod limits;
pub mod text;

pub use backoff::Backoff;
pub use ids::{JobId, LeaseId, WorkerId};
pub use job::{Invalid, NewJob, Start, State};
