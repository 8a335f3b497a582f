//! Connections: accepting, bounding and draining them.
//!
//! Each connection is a task with a bound on its headers' size, number and time; bodies are bounded where they are read.
//! When the order to stop comes, no connection is accepted any more, idle ones are closed, waiting requests are answered
//! with what is known, and those that enqueue are answered by their commit. What is not done by then within the drain time
//! is cut off: its client has no answer, and its job was committed or not.

use crate::app::App;
use crate::config::ServerConfig;
use crate::limits::{MAX_HEADER_BYTES, MAX_HEADERS};
use crate::router::router;
use crate::stall::Unstalled;
use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// The pause after a failed accept: file descriptors that are used up come back with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that are being refused; those beyond are closed without a word.
const MAX_REFUSALS: usize = 256;
/// How long a refusal may take.
const REFUSE_TIME: Duration = Duration::from_secs(1);
/// What a connection beyond the limit gets.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ServeError(#[from] faultline_store::Error);

/// Serves the API on `listener` until `shutdown` is cancelled and what was under way is answered.
///
/// The database need not be there: requests are answered 503 until it is. Maintenance (reaping, pruning, partitions) is not
/// part of this; whoever starts a server starts it beside it.
///
/// # Errors
/// If the database URL can't be used.
pub async fn serve(listener: TcpListener, config: ServerConfig, shutdown: CancellationToken) -> Result<(), ServeError> {
    let tasks = TaskTracker::new();
    let bounds = Bounds::of(&config);
    let app = App::start(config, &tasks, shutdown.clone()).await?;
    let dashboard = app.dashboard()?;
    answer(listener, router(app, dashboard), &bounds, shutdown).await;
    tasks.close();
    // Each commit has a deadline of its own.
    tasks.wait().await;
    Ok(())
}

/// The bounds of connections; [`ServerConfig`] says what they mean.
pub(crate) struct Bounds {
    header_time: Duration,
    write_time: Duration,
    max_connections: usize,
    drain_time: Duration,
}

impl Bounds {
    fn of(config: &ServerConfig) -> Self {
        let ServerConfig { header_time, write_time, max_connections, drain_time, .. } = *config;
        Self { header_time, write_time, max_connections, drain_time }
    }

    /// For a page that a few programs look at.
    pub(crate) fn small() -> Self {
        let time = Duration::from_secs(10);
        Self { header_time: time, write_time: time, max_connections: 64, drain_time: Duration::from_secs(1) }
    }
}

/// Answers connections until `shutdown` is cancelled and what was under way is answered or cut off.
pub(crate) async fn answer(listener: TcpListener, router: Router, bounds: &Bounds, shutdown: CancellationToken) {
    let connections = TaskTracker::new();
    let Bounds { header_time, write_time, max_connections, drain_time } = *bounds;
    let places = Arc::new(Semaphore::new(max_connections));
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let cut = CancellationToken::new();

    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            if let Ok(place) = refusals.clone().try_acquire_owned() {
                tokio::spawn(async move {
                    refuse(stream).await;
                    drop(place);
                });
            }
            continue;
        };
        // Answers are small; waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        let (router, shutdown, cut) = (router.clone(), shutdown.clone(), cut.clone());
        connections.spawn(async move {
            tokio::select! {
                () = connection(Unstalled::new(stream, write_time), router, header_time, &shutdown) => {}
                () = cut.cancelled() => {}
            }
            drop(place);
        });
    }

    drop((listener, router));
    connections.close();
    if tokio::time::timeout(drain_time, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "cutting off requests that outlast the drain time");
        cut.cancel();
        connections.wait().await;
    }
}

/// Says that there is no room. The request is read first, as far as it comes in one piece: an answer that comes before
/// it, or is followed by a reset, confuses clients.
async fn refuse(mut stream: TcpStream) {
    let mut head = [0; 4096];
    let answer = async {
        if stream.read(&mut head).await? > 0 {
            stream.write_all(FULL).await?;
        }
        stream.shutdown().await
    };
    // A client that does not ask, or does not read, has no use for the answer.
    let _ = tokio::time::timeout(REFUSE_TIME, answer).await;
}

async fn connection(stream: Unstalled<TcpStream>, router: Router, header_time: Duration, shutdown: &CancellationToken) {
    let service = router.map_request(|request: hyper::Request<hyper::body::Incoming>| request.map(Body::new));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_time)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
