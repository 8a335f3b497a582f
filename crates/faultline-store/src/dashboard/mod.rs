//! What the pages of the dashboard read. Every call is bounded: in the rows that it looks at, whatever the size of the tables,
//! and so in time; where a bound cuts a count, the answer says so.
//!
//! - [`series`]: what happened over time, from the rollups
//! - [`queues`]: depths, exact as far as the bound and estimated beyond
//! - [`workers`]: what workers run
//! - [`overview`]: what was recovered
//! - [`job`]: one job with its whole story
//! - [`holders`]: who held it
//! - [`lines`]: jobs as lines of a list
//! - [`errors`]: errors by what they say, and the jobs that failed by one
//! - [`bulk`]: acting on everything that matches, a batch at a time
//! - [`database`]: what the database says of itself
//! - [`people`]: who paused what, and by which clock
//!
//! Lists of jobs are [`crate::read::page`], workers [`crate::read::workers`].

pub mod bulk;
pub mod database;
pub mod errors;
pub mod holders;
pub mod job;
pub mod lines;
pub mod overview;
pub mod people;
pub mod queues;
pub mod series;
pub mod workers;
