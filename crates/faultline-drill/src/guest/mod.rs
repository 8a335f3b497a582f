//! Somebody who uses the system beside the load of a drill, in a way of their own. One file a guest.

pub(crate) mod cancel;
pub(crate) mod herd;
mod keyed;
pub(crate) mod payloads;

use crate::DrillError;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What a guest is given.
pub(crate) struct Visit {
    /// The database.
    pub(crate) url: String,
    /// The API.
    pub(crate) address: SocketAddr,
    /// Where the drill's jobs are.
    pub(crate) queue: String,
    /// Where to leave witnesses.
    pub(crate) dir: Arc<Path>,
    pub(crate) seed: u64,
    /// Cancelled when the load ends.
    pub(crate) stop: CancellationToken,
}

/// What a guest does; the drill waits for its end, which comes soon after [`Visit::stop`].
pub(crate) type Guest = fn(Visit) -> Pin<Box<dyn Future<Output = Result<(), DrillError>> + Send>>;
