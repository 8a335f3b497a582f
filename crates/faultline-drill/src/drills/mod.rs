//! One file a drill: what it does, under which load, what must have happened in it.

pub(crate) mod database_outage;
pub(crate) mod duplicate_submission;
pub(crate) mod failing_jobs;
pub(crate) mod kill_worker;
pub(crate) mod lease_expiry;
pub(crate) mod mass_stall;
pub(crate) mod poison;
pub(crate) mod shutdown;
pub(crate) mod zombie;
