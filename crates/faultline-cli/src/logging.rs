//! What the program logs, on standard error, so that standard output stays the answer.

use crate::cli::{Global, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Levels unless told otherwise. The driver reports each notice of the server as news.
const SERVICE_LEVELS: &str = "info,tokio_postgres=warn";
const COMMAND_LEVELS: &str = "warn";

/// Starts logging. A filter that can't be read is refused like any other wrong flag.
pub(crate) fn start(global: &Global, service: bool) {
    let default = if service { SERVICE_LEVELS } else { COMMAND_LEVELS };
    let filter = global.log.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|error| {
        clap::Error::raw(clap::error::ErrorKind::InvalidValue, format!("--log {filter}: {error}\n")).exit()
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match global.log_format {
        LogFormat::Text => builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
