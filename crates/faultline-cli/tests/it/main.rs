//! The program, run as users run it, against real Postgres.

mod common;
mod dev;
mod exec;
mod help;
mod jobs;
mod migrate;
mod serve;
mod webhook;
