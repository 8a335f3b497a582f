//! The signals that ask a process to stop.

/// Resolves on the first SIGTERM or SIGINT. A second one ends the process at once, with exit code 130: the database knows
/// what was running, and others recover it.
///
/// # Panics
/// When the signal handlers can't be installed, which only a process without file descriptors sees.
pub async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("a signal handler can be installed");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a signal handler can be installed");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(130);
    });
}
