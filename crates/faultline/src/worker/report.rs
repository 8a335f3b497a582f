//! Tells the database every few seconds what the worker's handlers brought about, for the pages that show it over time.
//!
//! It reads the process's own counters, which count what the database confirmed. A report whose answer was lost is repeated under its
//! number until it is answered, and counts once. If the process is killed, what it had not reported is missing on those pages, and
//! nowhere else; a worker that stops reports once more at its end. A worker with nothing to tell says nothing.

use super::Shared;
use faultline_metrics::Done;
use faultline_store::rollup::{Work, report};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two reports. Half of the finest span that is shown.
const EVERY: Duration = Duration::from_secs(5);
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Reports until the stop, and once more then.
pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut reporter = Reporter { number: 0, waiting: Vec::new(), since: Instant::now() };
    while !stop.is_cancelled() {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
        reporter.tell(&shared).await;
    }
    if !reporter.waiting.is_empty() {
        reporter.tell(&shared).await;
    }
}

struct Reporter {
    /// That of the last report; the next has one more.
    number: u64,
    /// The last report, until it is answered.
    waiting: Vec<Work>,
    /// Since when its work was done.
    since: Instant,
}

impl Reporter {
    async fn tell(&mut self, shared: &Shared) {
        if self.waiting.is_empty() {
            self.waiting = shared.client.metrics().workers().take_done().into_iter().map(work).collect();
            self.number += 1;
        }
        let elapsed = self.since.elapsed();
        if self.waiting.is_empty() {
            self.since = Instant::now();
            return;
        }
        let (process, number, work) = (shared.id.0, self.number, &self.waiting);
        let told = shared.client.database();
        let told = told.run_within(LIMIT, async |client| report(client, process, number, elapsed, work).await).await;
        match told {
            Ok(()) => {}
            Err(error) if error.is_connection_fault() => {
                tracing::debug!(%error, "what the handlers did could not be reported; it is told again");
                return;
            }
            Err(error) => tracing::warn!(%error, "a report of what the handlers did was refused"),
        }
        self.waiting.clear();
        self.since = Instant::now();
    }
}

fn work(done: Done) -> Work {
    let Done { queue, succeeded, start_latency, execution } = done;
    Work { queue, succeeded, start_latency, execution }
}
