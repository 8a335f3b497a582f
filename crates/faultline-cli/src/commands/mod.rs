//! The commands, one file for each noun. Each answers its exit code; [`crate::exit`] prints its error.

pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod database;
pub(crate) mod dev;
pub(crate) mod drill;
pub(crate) mod health;
pub(crate) mod job;
pub(crate) mod queue;
pub(crate) mod serve;
pub(crate) mod token;
pub(crate) mod work;
pub(crate) mod worker;

/// Who is noted in the audit log for what an operator does here.
pub(crate) fn actor() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".to_owned());
    format!("cli:{user}")
}
