//! Searches of the model: what must hold does, and what must break does.

mod breaks;
mod common;
mod holds;
