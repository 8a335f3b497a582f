//! What the program logs, on standard error, so that standard output stays the answer; and its traces, which hear the same.
//!
//! An event is a line. Its own fields come first, then those of the spans around it: whatever is logged inside of an attempt has
//! `job`, `attempt`, `lease`, `worker`, `queue`, `kind` and, in a trace, `trace_id`. docs/operations.md lists them.

mod fields;
mod json;

use crate::cli::{Command, Global, LogFormat};
use faultline_drill::Trap;
use fields::TextFields;
use json::Json;
use std::io::IsTerminal;
use tokio::runtime::Handle;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::{Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// Levels unless told otherwise. The driver reports each notice of the server as news.
const SERVICE_LEVELS: &str = "info,tokio_postgres=warn";
const COMMAND_LEVELS: &str = "warn";

/// What has to be ended in order.
#[derive(Default)]
pub(crate) struct Log {
    #[cfg(feature = "otel")]
    traces: Option<crate::traces::Traces>,
}

impl Log {
    /// Sends the traces that wait, within a limit. The runtime has to be there still.
    pub(crate) fn end(self) {
        #[cfg(feature = "otel")]
        if let Some(traces) = self.traces {
            traces.end();
        }
    }
}

/// Starts logging, which a drill's worker also listens to by itself, and traces. A filter that can't be read is refused like any
/// other wrong flag.
pub(crate) fn start(global: &Global, command: &Command, runtime: &Handle) -> Log {
    let default = if command.is_service() { SERVICE_LEVELS } else { COMMAND_LEVELS };
    let filter = global.log.as_deref().unwrap_or(default);
    let filter = read(filter).unwrap_or_else(|error| {
        clap::Error::raw(clap::error::ErrorKind::InvalidValue, format!("--log {filter}: {error}\n")).exit()
    });
    if let Some(trap) = command.trap() {
        // What the trap needs to hear is more than what is worth logging.
        Registry::default().with(Json.with_filter(filter)).with(trap.with_filter(Trap::filter())).init();
        return Log::default();
    }
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match global.log_format {
        LogFormat::Text => {
            let text = tracing_subscriber::fmt::layer().fmt_fields(TextFields).with_target(false);
            text.with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).boxed()
        }
        LogFormat::Json => Json.boxed(),
    };
    with_traces(Registry::default().with(lines.with_filter(filter)), command, runtime)
}

/// Levels by target, or also by span and field, which needs an account of every span: that of each attempt. Both take the same
/// texts, but only the second refuses what is none, and logs nothing where nothing is named.
fn read(filter: &str) -> Result<Box<dyn Filter<Registry> + Send + Sync>, ParseError> {
    let by_span = EnvFilter::try_new(filter)?;
    let names_something = filter.split(',').any(|part| !part.trim().is_empty());
    match filter.parse::<Targets>() {
        Ok(by_target) if !filter.contains('[') && names_something => Ok(Box::new(by_target)),
        _ => Ok(Box::new(by_span)),
    }
}

#[cfg(feature = "otel")]
fn with_traces<S>(subscriber: S, command: &Command, runtime: &Handle) -> Log
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a> + Send + Sync,
{
    use crate::traces::Traces;

    let started = command.traced_as().and_then(|service| Traces::start(service, runtime));
    let (traces, error) = match started {
        Some(Ok(traces)) => (Some(traces), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    subscriber.with(traces.as_ref().map(Traces::layer)).init();
    if let Some(error) = error {
        tracing::error!("there are no traces: {error:#}");
    }
    Log { traces }
}

#[cfg(not(feature = "otel"))]
fn with_traces<S>(subscriber: S, _: &Command, _: &Handle) -> Log
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a> + Send + Sync,
{
    subscriber.init();
    Log::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::filter::LevelFilter;

    #[test]
    fn a_filter_means_the_same_whichever_way_it_is_read() {
        for (filter, most) in [
            ("", LevelFilter::OFF),
            (",", LevelFilter::OFF),
            ("warn", LevelFilter::WARN),
            ("info,tokio_postgres=warn", LevelFilter::INFO),
            ("off,faultline=debug", LevelFilter::DEBUG),
            ("faultline", LevelFilter::TRACE),
        ] {
            let hint = EnvFilter::try_new(filter).unwrap().max_level_hint();
            assert_eq!((read(filter).unwrap().max_level_hint(), hint), (Some(most), Some(most)), "{filter}");
        }
        assert!(read("info,[attempt{queue=mail}]=debug").is_ok());
        for bad in ["=", "faultline=loud", "info,=warn"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
