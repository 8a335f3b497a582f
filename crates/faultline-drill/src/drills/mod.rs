//! One file a drill: what it does, under which load, what must have happened in it.

pub(crate) mod cancellation_storm;
pub(crate) mod database_outage;
pub(crate) mod duplicate_submission;
pub(crate) mod failing_jobs;
pub(crate) mod kill_worker;
pub(crate) mod payloads;
pub(crate) mod starvation;
pub(crate) mod strict;
pub(crate) mod zombie;
