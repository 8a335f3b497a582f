//! Recovers jobs of dead workers, and sees what there is to do.
//!
//! Nobody is elected: every worker does this for its queues, a server for all. Once a second it looks at the heads of its
//! queues. It guarantees that, while the database is up, no lease stays expired for longer than some seconds; it never ends a
//! lease early by its own clock, since the statement compares with the database's.
//!
//! Two things keep workers that are alive from losing their jobs. After an outage, nobody reaps before it has been in
//! uninterrupted contact with the database for a whole lease time: workers that outlived the outage renew first. And a worker
//! whose presence session ended has a grace time to come back. That alone is enough for a process that has seen no outage and finds
//! the server that the session belonged to: it ended with the worker or with its connection. So a process that has just started
//! can recover its predecessor's jobs at once.
//!
//! If the process dies at any await, nothing is half-done: each step is one statement.

use crate::chance::Chance;
use crate::client::Client;
use crate::link::Link;
use crate::worker::DEFAULT_LEASE_TTL;
use faultline_core::WorkerId;
use faultline_store::reap::{REAP_LIMIT, Watch, bury, queue_names, reap, watch};
use faultline_store::{Plans, Result, maintain};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two looks; what becomes due in between is awaited by a timer. With one sign of life each five seconds an idle worker
/// stays at one statement a second.
pub(crate) const TICK: Duration = Duration::from_millis(1400);
/// A look may take one part in this many of the time of all processes together: under a snapshot that was forgotten open it has to
/// pass the entries of every job that has ended since.
const LOOK_SHARE: u32 = 20;
/// Between two dear looks, at most.
const LONGEST_TICK: Duration = Duration::from_secs(30);
/// How long a worker's presence may be missing before its jobs are recovered.
const ABSENCE_GRACE: Duration = Duration::from_secs(2);
/// A delay of the next look that breaks the contact: the process was stopped, or the database did not answer.
const CONTACT_GAP: Duration = Duration::from_secs(4);
/// Rows beyond the slots of all workers that a look covers: queued rows before the last running one, such as released ones.
const LOOK_BEYOND: i64 = 1000;
/// Between two reads of the names of all queues.
const NAMES_EVERY: Duration = Duration::from_secs(10);
/// Between two rounds of maintenance of one process, on average.
const MAINTAIN_EVERY: Duration = Duration::from_secs(60);

/// Recovers jobs of dead workers and keeps the tables in shape. Every worker has one for its queues; run one for all queues
/// beside a server, so that a queue whose last worker died is looked after as well.
pub struct Reaper {
    link: Link,
    chance: Chance,
    queues: Queues,
    lease_ttl: Duration,
    /// Sessions that had been opened at the last look; 0 before the first.
    sessions: u64,
    /// Since when every look has been answered in time; none while out of contact.
    contact_since: Option<Instant>,
    /// When the next look is planned.
    next_look: Instant,
    /// The least time between two looks, by what they cost.
    tick: Duration,
    /// Whether no look has failed since the start, or contact has lasted for a lease time since the last that did.
    steady: bool,
    /// Workers whose presence is missing, and since when this process has seen that.
    missing: BTreeMap<WorkerId, Instant>,
    /// How many rows a look covers: what can be running, and some more.
    look_at: i64,
    maintain_at: Instant,
}

enum Queues {
    These(Vec<String>),
    All { names: Vec<String>, read_at: Option<Instant> },
}

impl Reaper {
    /// A reaper for every queue of the database.
    pub fn all_queues(client: &Client) -> Self {
        Self::new(client, Queues::All { names: Vec::new(), read_at: None })
    }

    pub(crate) fn of(client: &Client, queues: Vec<String>) -> Self {
        Self::new(client, Queues::These(queues))
    }

    fn new(client: &Client, queues: Queues) -> Self {
        let now = Instant::now();
        Self {
            link: Link::new(client, "reaper", Plans::InOrder),
            chance: client.chance().clone(),
            queues,
            lease_ttl: DEFAULT_LEASE_TTL,
            contact_since: None,
            next_look: now,
            tick: TICK,
            sessions: 0,
            steady: true,
            missing: BTreeMap::new(),
            look_at: LOOK_BEYOND,
            maintain_at: now + Duration::from_secs(2),
        }
    }

    /// The lease time of the workers: how long this process holds off after an outage. Give all processes the same.
    #[must_use]
    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.lease_ttl = ttl;
        self
    }

    /// Runs until the token is cancelled. Never fails: while the database is away it tries again.
    pub async fn run_until(self, shutdown: CancellationToken) {
        self.run(shutdown, |_| {}).await;
    }

    /// The same, telling `see` what each look found.
    pub(crate) async fn run(mut self, shutdown: CancellationToken, see: impl Fn(&Watch)) {
        let mut pause = self.link.pause();
        while !shutdown.is_cancelled() {
            let wait = match self.look().await {
                Ok(found) => {
                    see(&found);
                    pause.reset();
                    self.until_next_look()
                }
                Err(error) => {
                    if self.contact_since.is_some() {
                        tracing::warn!(%error, "the reaper lost contact with the database and holds off");
                    }
                    self.lose_contact();
                    pause.next()
                }
            };
            self.next_look = Instant::now() + wait;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep_until(self.next_look) => {}
            }
        }
    }

    /// A tick, shortened to the moment at which a missing worker's grace ends.
    fn until_next_look(&self) -> Duration {
        let now = Instant::now();
        let tick = self.tick.mul_f64(self.chance.within(0.9..1.0));
        self.missing
            .values()
            .map(|since| *since + ABSENCE_GRACE)
            .filter(|end| *end > now)
            .map(|end| end - now)
            .min()
            .map_or(tick, |left| left.min(tick))
    }

    /// What was seen before says nothing any more.
    fn lose_contact(&mut self) {
        self.contact_since = None;
        self.steady = false;
        self.missing.clear();
    }

    async fn look(&mut self) -> Result<Watch> {
        let began = Instant::now();
        if began.duration_since(self.next_look) > CONTACT_GAP {
            // This process was stopped: others may have been as well.
            self.lose_contact();
        }
        let queues = self.queue_names().await?;
        let look_at = self.look_at;
        let found = self.link.call(async |session| watch(session, &queues, look_at).await).await?;
        let now = Instant::now();
        if now.duration_since(began) > CONTACT_GAP {
            self.lose_contact();
        }
        // An outage that fell between two looks failed neither; but it ended the session.
        let sessions = self.link.opened();
        if sessions != self.sessions && self.sessions > 0 {
            tracing::warn!("the reaper's session had ended; it holds off");
            self.lose_contact();
        }
        self.sessions = sessions;
        let processes = u32::try_from(found.workers.max(1)).unwrap_or(u32::MAX);
        // Contact that is asked for less often than once a lease time proves nothing.
        let longest = LONGEST_TICK.min(self.lease_ttl).max(TICK);
        self.tick = (now.duration_since(began) * LOOK_SHARE).saturating_mul(processes).clamp(TICK, longest);
        self.look_at = found.slots.saturating_add(LOOK_BEYOND);
        let contact_since = *self.contact_since.get_or_insert(now);
        let held_off = now.duration_since(contact_since) >= self.lease_ttl;
        self.steady |= held_off;
        let steady = self.steady;
        let gone =
            |worker: &WorkerId| steady && found.absent.contains(worker) || held_off && found.not_back.contains(worker);
        self.missing.retain(|worker, _| gone(worker));
        for worker in found.absent.iter().chain(&found.not_back).filter(|worker| gone(worker)) {
            self.missing.entry(*worker).or_insert(now);
        }
        self.recover_missing().await?;
        if held_off {
            self.recover_expired(&found.expired).await?;
        }
        if now >= self.maintain_at {
            self.maintain_at = now + MAINTAIN_EVERY.mul_f64(self.chance.within(0.5..1.5));
            match self.maintain().await {
                Err(error) if !error.is_connection_fault() => {
                    tracing::warn!(%error, "maintenance failed; it is tried again");
                }
                answer => answer?,
            }
        }
        Ok(found)
    }

    async fn queue_names(&mut self) -> Result<Vec<String>> {
        match &mut self.queues {
            Queues::These(names) => Ok(names.clone()),
            Queues::All { names, read_at } => {
                if read_at.is_none_or(|at| at.elapsed() >= NAMES_EVERY) {
                    *names = self.link.call(async |session| queue_names(session).await).await?;
                    *read_at = Some(Instant::now());
                }
                Ok(names.clone())
            }
        }
    }

    async fn recover_missing(&mut self) -> Result<()> {
        let look_at = self.look_at;
        let gone: Vec<WorkerId> = self
            .missing
            .iter()
            .filter(|(_, since)| since.elapsed() >= ABSENCE_GRACE)
            .map(|(worker, _)| *worker)
            .collect();
        if !gone.is_empty() {
            let reaped = self.link.call(async |session| bury(session, &gone, look_at).await).await?;
            self.missing.retain(|worker, _| !gone.contains(worker));
            for worker in &gone {
                tracing::warn!(%worker, jobs = reaped.len(), "a worker is gone; its jobs were recovered");
            }
        }
        Ok(())
    }

    async fn recover_expired(&self, queues: &[String]) -> Result<()> {
        let look_at = self.look_at;
        while !queues.is_empty() {
            let reaped = self.link.call(async |session| reap(session, queues, &[], look_at).await).await?;
            if !reaped.is_empty() {
                tracing::warn!(?queues, jobs = reaped.len(), "leases had expired; their jobs were recovered");
            }
            if reaped.len() < REAP_LIMIT {
                break;
            }
        }
        Ok(())
    }

    async fn maintain(&self) -> Result<()> {
        self.link
            .call(async |session| {
                maintain::partitions(session).await?;
                let (keys, workers) = maintain::prune(session).await?;
                if keys + workers > 0 {
                    tracing::debug!(keys, workers, "pruned");
                }
                Ok(())
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faultline_cluster::testing;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn migrate(url: &str) {
        runtime().block_on(async { Client::lazy(url).unwrap().migrate().await.unwrap() });
    }

    /// Looks may lie far apart, and leases run out in between: who only sees the database before and after an outage must not
    /// take that for contact.
    #[test]
    fn an_outage_between_two_looks_breaks_the_contact() {
        let runtime = runtime();
        let database = testing::database(migrate);
        runtime.block_on(async {
            let mut reaper = Reaper::all_queues(&Client::lazy(&database.url()).unwrap());
            reaper.look().await.unwrap();
            let first = reaper.contact_since.unwrap();
            reaper.look().await.unwrap();
            assert_eq!(reaper.contact_since, Some(first), "contact lasts while the session does");
            let end = "select pg_terminate_backend(pg_backend_pid())";
            let ended = reaper.link.call(async |session| Ok(session.batch_execute(end).await?)).await;
            assert!(ended.is_err_and(|error| error.is_connection_fault()));
            reaper.look().await.unwrap();
            assert!(reaper.contact_since.is_some_and(|since| since > first));
            assert!(!reaper.steady);
        });
    }
}
