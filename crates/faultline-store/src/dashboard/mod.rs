//! What the pages of the dashboard read. Every call is bounded: in the rows that it looks at, whatever the size of the tables,
//! and so in time; where a bound cuts a count, the answer says so.
//!
//! - [`overview`]: what runs, what was recovered
//! - [`queues`]: depths, exact as far as the bound and estimated beyond
//! - [`workers`]: workers and what they run
//! - [`job`]: one job with its whole story
//! - [`people`]: who paused what, and by which clock

pub mod job;
pub mod people;
pub mod queues;
pub mod workers;
