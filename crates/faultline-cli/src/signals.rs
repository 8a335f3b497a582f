//! Signals: the first SIGTERM or SIGINT asks the program to stop in order, the second ends it at once.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first signal. `last_words` runs before the exit that the second one causes; the exit
/// code is then 128 + the signal's number, as a shell would report it.
pub(crate) fn stop_token(last_words: impl FnOnce() + Send + 'static) -> Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            }
        };
        next().await;
        tracing::info!("stopping; a second signal ends this at once");
        stop.cancel();
        let again = next().await;
        last_words();
        std::process::exit(128 + again.as_raw_value());
    });
    Ok(token)
}
