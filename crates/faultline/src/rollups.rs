//! Counts what happened, span by span, for the pages that show it over time.
//!
//! Beside a server, every [`EVERY`]: counts the spans that are over and settled, one transaction each. Any number may run; a row
//! lock that nobody waits for decides whose turn it is. After an outage the spans are caught up with one by one, for a part of the
//! time only. If one dies, its span is counted by the next.
//!
//! What handlers bring about is reported by the workers themselves (`worker/report.rs`).

use crate::client::Client;
use crate::link::Pause;
use faultline_store::rollup::{Turn, count_next};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two looks whether a span can be counted.
const EVERY: Duration = Duration::from_secs(5);
/// Counting may take one part in this many of the time.
const SHARE: u32 = 20;
/// How long one span may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Counts what was enqueued and what failed, by queue and time. Run one beside each server.
///
/// ```no_run
/// # async fn example(faultline: faultline::Client, stop: tokio_util::sync::CancellationToken) {
/// tokio::spawn(faultline::Rollups::new(&faultline).run_until(stop));
/// # }
/// ```
pub struct Rollups {
    client: Client,
}

impl Rollups {
    /// For the client's database.
    pub fn new(client: &Client) -> Self {
        Self { client: client.clone() }
    }

    /// Runs until the token is cancelled. Never fails: while the database is away it tries again.
    pub async fn run_until(self, shutdown: CancellationToken) {
        let mut pause = Pause::new(self.client.chance());
        while !shutdown.is_cancelled() {
            let began = Instant::now();
            let counted = self.client.database().run_within(LIMIT, async |client| count_next(client).await).await;
            let wait = match counted {
                Ok(turn) => {
                    pause.reset();
                    let rest = began.elapsed() * SHARE;
                    if turn == Turn::Counted { rest } else { EVERY.max(rest) }
                }
                Err(error) => {
                    if !error.is_connection_fault() {
                        tracing::warn!(%error, "what happened could not be counted; it is tried again");
                    }
                    pause.next().max(if error.is_connection_fault() { Duration::ZERO } else { EVERY })
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}
