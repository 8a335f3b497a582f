//! Looks at the whole database for the gauges of [`crate::Metrics`].
//!
//! Beside a server, on a session of its own, every [`EVERY`]: what stands in the queues, who works, who holds back vacuum, dead
//! rows, partitions. Each part is one bounded statement with a time limit; a part that fails is left out, the others are shown.
//! All parts together take one part in [`SHARE`] of the time at most. Scrapes read what the last look found.
//!
//! Any number may run; each sees the same. If one dies, nothing is lost but its page.

use crate::client::Client;
use crate::link::Link;
use faultline_metrics::{Holder, Metrics, Observed, ObservedQueue};
use faultline_store::observe::{self, Fleet, QueueDepth};
use faultline_store::{Error, Plans, Result, Session};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// A look may take one part in this many of the time.
const SHARE: u32 = 20;
/// Looks that may be missed before what the last one found is no longer shown.
const VALID_FOR: u32 = 3;

/// Reads the gauges of the whole database: depths of queues, the oldest snapshot, dead rows. Run one beside each server whose
/// metrics are scraped.
///
/// ```no_run
/// # async fn example(faultline: faultline::Client, stop: tokio_util::sync::CancellationToken) {
/// tokio::spawn(faultline::Observer::new(&faultline).run_until(stop));
/// # }
/// ```
pub struct Observer {
    link: Link,
    metrics: Metrics,
}

impl Observer {
    /// An observer of the client's database, shown in the client's metrics.
    pub fn new(client: &Client) -> Self {
        let link = Link::new(client, "observer", Plans::InOrder);
        Self { link, metrics: client.metrics().clone() }
    }

    /// Runs until the token is cancelled. Never fails: while the database is away it tries again.
    pub async fn run_until(self, shutdown: CancellationToken) {
        let mut pause = self.link.pause();
        while !shutdown.is_cancelled() {
            let began = Instant::now();
            let wait = match self.link.call(async |session| self.look(session).await).await {
                Ok(observed) => {
                    pause.reset();
                    let wait = EVERY.max(began.elapsed() * SHARE);
                    self.metrics.observer().saw(observed, wait * VALID_FOR);
                    wait
                }
                Err(error) => {
                    tracing::debug!(%error, "could not look at the database");
                    pause.next()
                }
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn look(&self, session: &Session) -> Result<Observed> {
        observe::limit_time(session).await?;
        let fleet = self.part(observe::fleet(session).await)?;
        let known = fleet.unwrap_or(Fleet { alive: 0, slots: 0 });
        let queues = self.part(observe::queues(session, known).await)?;
        let holders = self.part(observe::oldest_xmin(session).await)?;
        let tables = self.part(observe::tables(session).await)?.unwrap_or_default();
        Ok(Observed {
            queues: queues.map(|queues| queues.into_iter().map(queue).collect()),
            workers_alive: fleet.map(|fleet| fleet.alive),
            oldest_xmin: holders.map(|holders| holders.into_iter().map(holder).collect()),
            dead_rows: tables.iter().filter_map(|table| Some((table.name.clone(), table.dead_rows?))).collect(),
            partitions_ahead: tables
                .into_iter()
                .filter_map(|table| Some((table.name, table.partitions_ahead?)))
                .collect(),
        })
    }

    /// A part that the database refused, because it took too long say, is left out.
    fn part<T>(&self, answer: Result<T>) -> Result<Option<T>> {
        match answer {
            Ok(part) => Ok(Some(part)),
            Err(error @ Error::Refused { .. }) => {
                self.metrics.observer().failed();
                tracing::warn!(%error, "a part of what the metrics say of the database is missing");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn queue(seen: QueueDepth) -> ObservedQueue {
    ObservedQueue {
        name: seen.name,
        depth: [seen.due, seen.scheduled, seen.retrying, seen.running],
        bounded: seen.bounded,
        oldest_due_s: seen.oldest_due_s.unwrap_or_default(),
        paused: seen.paused,
        workers: seen.workers,
    }
}

fn holder(seen: observe::Holder) -> Holder {
    Holder { holder: seen.holder, application: seen.application, age_s: seen.age_s, age_xids: seen.age_xids }
}
