//! One file a drill: what it does, under which load, what must have happened in it.

pub(crate) mod backend_storm;
pub(crate) mod cancellation_storm;
pub(crate) mod clock_skew;
pub(crate) mod commit_cut;
pub(crate) mod database_outage;
pub(crate) mod disk_full;
pub(crate) mod duplicate_submission;
pub(crate) mod failing_jobs;
pub(crate) mod failover;
pub(crate) mod failover_async;
pub(crate) mod flaky_network;
pub(crate) mod held_snapshot;
pub(crate) mod herd;
pub(crate) mod kill_worker;
pub(crate) mod lease_expiry;
pub(crate) mod lost_notify;
pub(crate) mod mass_stall;
pub(crate) mod partition;
pub(crate) mod payloads;
pub(crate) mod random;
pub(crate) mod rolling_upgrade;
pub(crate) mod split_brain;
pub(crate) mod starvation;
pub(crate) mod strict;
pub(crate) mod sync_cancel;
pub(crate) mod zombie;
