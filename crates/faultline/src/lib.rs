//! Jobs on Postgres that survive crashes: enqueue in your own transaction, run typed handlers
