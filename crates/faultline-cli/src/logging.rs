//! What the program logs, on standard error, so that standard output stays the answer.

use crate::cli::{Global, LogFormat};
use faultline_drill::Trap;
use std::io::IsTerminal;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Levels unless told otherwise. The driver reports each notice of the server as news.
const SERVICE_LEVELS: &str = "info,tokio_postgres=warn";
const COMMAND_LEVELS: &str = "warn";

/// Starts logging, which a drill's worker also listens to by itself. A filter that can't be read is refused like any other
/// wrong flag.
pub(crate) fn start(global: &Global, service: bool, trap: Option<Trap>) {
    let default = if service { SERVICE_LEVELS } else { COMMAND_LEVELS };
    let filter = global.log.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|error| {
        clap::Error::raw(clap::error::ErrorKind::InvalidValue, format!("--log {filter}: {error}\n")).exit()
    });
    if let Some(trap) = trap {
        // What the trap needs to hear is more than what is worth logging.
        let log = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
        return tracing_subscriber::registry()
            .with(log.with_filter(filter))
            .with(trap.with_filter(Trap::filter()))
            .init();
    }
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match global.log_format {
        LogFormat::Text => builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
