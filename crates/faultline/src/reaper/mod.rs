//! Recovers jobs of dead workers, and sees what there is to do.
//!
//! Nobody is elected: every worker does this for its queues, a server for all. Once a second it looks at the heads of its
//! queues, or, where that has become dear, from where the last look found its first job on. It guarantees that, while the database
//! is up, no lease stays expired for longer than half a lease time and some seconds (or, of a job that was committed late while looks from
//! the head are dear, the time between two of those, a lease time at most); it never ends a lease early by its own clock, since the statement compares with
//! the database's.
//!
//! A worker is missed when the backend of its presence session is gone, or when a lease of it has expired. It has a grace time from
//! there, two seconds or half a lease time, and then all that it leaves is judged together. Leases of one dead worker run out within a
//! third of a lease time, in which each was renewed or claimed: half of one is enough for the last of them.
//!
//! Three things keep workers that are alive from losing their jobs. After an outage, nobody reaps before it has been in
//! uninterrupted contact with the database for a whole lease time: workers that outlived the outage renew first. Only for a worker
//! whose presence session ended there is an exception: a process that has seen no outage and finds
//! the server that the session belonged to knows that it ended with the worker or with its connection. So a process that has just started
//! can recover its predecessor's jobs at once.
//!
//! Contact means that commits go through: while jobs run, each look is followed by one. A primary whose synchronous standby is away
//! answers looks, and nobody can renew. And it means that those who are missed could have renewed: each look that misses a worker
//! rehearses its signs of life, since a database may be up and refuse just these, for want of space; and a worker whose expired
//! leases are all on rows that somebody has locked is not missed by them. So at each look of the grace whoever loses a
//! job could renew it, or another one that it holds, and has not.
//!
//! If the process dies at any await, nothing is half-done: each step is one statement, or is taken back.

mod missed;
mod pace;

pub(crate) use pace::TICK;

use crate::chance::Chance;
use crate::client::Client;
use crate::home::Home;
use crate::link::Link;
use crate::worker::DEFAULT_LEASE_TTL;
use faultline_core::{State, WorkerId};
use faultline_metrics::Metrics;
use faultline_store::reap::{LookFloors, Reaped, Watch, bury, commits, queue_names, rehearse, watch_from};
use faultline_store::{Plans, Result, Session, maintain, rollup};
use missed::Missed;
use pace::Pace;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a worker's presence may be missing before its jobs are recovered.
const ABSENCE_GRACE: Duration = Duration::from_secs(2);
/// The part of a lease time for which a worker may be seen with an expired lease before its jobs are recovered. Longer than the third
/// in which it renews: it has time to, and the last lease of one that died has run out by then.
const EXPIRY_GRACE: u32 = 2;
/// A delay of a look or of its answer that breaks the contact: the process was stopped, or the database did not answer. Never more
/// than half of a lease time: a lease that was renewed in time has two thirds left, so that whoever could not renew during
/// the gap holds on to his when it ends.
const CONTACT_GAP: Duration = Duration::from_secs(4);
/// Between two rehearsals that tell a row that is locked from one that is locked for a moment.
const LOCKED_TWICE: Duration = Duration::from_millis(20);
/// Until the next look where somebody had locked a job of a worker whose grace was over; twice as long each time, up to a tick.
const AGAIN: Duration = Duration::from_millis(200);
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
    metrics: Metrics,
    lease_ttl: Duration,
    /// Sessions that had been opened at the last look; 0 before the first.
    sessions: u64,
    /// Since when every look has been answered in time; none while out of contact.
    contact_since: Option<Instant>,
    /// When the next look is planned.
    next_look: Instant,
    pace: Pace,
    /// Where the next look may begin; none: at the head.
    floors: Option<LookFloors>,
    /// Whether the last look from the head found a job that runs: it may be behind the floors.
    runs: bool,
    /// Whether no look has failed since the start, or contact has lasted for a lease time since the last that did.
    steady: bool,
    /// Workers whose presence is missing.
    absent: Missed,
    /// Workers that hold expired leases.
    expired: Missed,
    /// How many rows a look covers: what can be running, and some more.
    look_at: i64,
    /// Looks in a row that left a worker whose grace was over with jobs that somebody had locked.
    unfinished: u32,
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

    pub(crate) fn of(client: &Client, queues: Vec<String>, home: Arc<Home>) -> Self {
        let reaper = Self::new(client, Queues::These(queues));
        Self { link: reaper.link.at(home), ..reaper }
    }

    fn new(client: &Client, queues: Queues) -> Self {
        let now = Instant::now();
        Self {
            link: Link::new(client, "reaper", Plans::InOrder),
            chance: client.chance().clone(),
            queues,
            metrics: client.metrics().clone(),
            lease_ttl: DEFAULT_LEASE_TTL,
            contact_since: None,
            next_look: now,
            pace: Pace::new(),
            floors: None,
            runs: false,
            sessions: 0,
            steady: true,
            absent: Missed::default(),
            expired: Missed::default(),
            look_at: LOOK_BEYOND,
            unfinished: 0,
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
            let wait = match self.look(&see).await {
                Ok(_) => {
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

    /// A tick, shortened to the moment at which a missed worker's grace ends.
    fn until_next_look(&self) -> Duration {
        let now = Instant::now();
        let again = self.unfinished.checked_sub(1).map(|times| AGAIN * 2_u32.saturating_pow(times.min(8)));
        let tick = again.unwrap_or(self.pace.tick).min(self.pace.tick);
        let tick = tick.mul_f64(self.chance.within(0.9..1.0));
        let ends = [self.absent.next_end(ABSENCE_GRACE, now), self.expired.next_end(self.expiry_grace(), now)];
        ends.into_iter().flatten().map(|end| end - now).fold(tick, Duration::min)
    }

    fn expiry_grace(&self) -> Duration {
        faultline_store::mutant!("no-second-look", { return Duration::ZERO });
        self.lease_ttl / EXPIRY_GRACE
    }

    /// What was seen before says nothing any more.
    fn lose_contact(&mut self) {
        self.contact_since = None;
        self.floors = None;
        self.steady = false;
        self.absent.forget_all();
        self.expired.forget_all();
    }

    async fn look(&mut self, see: &impl Fn(&Watch)) -> Result<Watch> {
        let began = Instant::now();
        let gap = CONTACT_GAP.min(self.lease_ttl / 2);
        if began.duration_since(self.next_look) > gap {
            // This process was stopped: others may have been as well.
            self.lose_contact();
        }
        let queues = self.queue_names().await?;
        self.metrics.engine().looks_after(&queues);
        let floors = self.floors.take().filter(|floors| floors.are_of(&queues) && !self.pace.is_head_due(began));
        let from_head = floors.is_none();
        let floors = floors.unwrap_or_else(|| LookFloors::head(&queues));
        let (look_at, runs) = (self.look_at, self.runs);
        let look = async |session: &Session| {
            let asked = Instant::now();
            let found = watch_from(session, &floors, look_at).await?;
            let took = asked.elapsed();
            // What is due can be claimed, whatever becomes of the rest of this look.
            see(&found);
            if found.running || runs {
                commits(session).await?;
            }
            let missed = [&found.absent[..], &found.not_back, &found.expired].concat();
            #[cfg(feature = "mutants")]
            let missed = if faultline_store::mutants::on("no-second-look") { Vec::new() } else { missed };
            let mut locked = Vec::new();
            if !missed.is_empty() {
                locked = rehearse(session, &queues, &missed, look_at).await?;
            }
            if !locked.is_empty() {
                // Another reaper's rehearsal locks rows too, for a moment.
                tokio::time::sleep(LOCKED_TWICE).await;
                let still = rehearse(session, &queues, &locked, look_at).await?;
                locked.retain(|worker| still.contains(worker));
            }
            Ok((found, took, locked))
        };
        let (mut found, took, locked) = self.link.call(look).await?;
        let now = Instant::now();
        self.floors = Some(std::mem::take(&mut found.floors));
        if now.duration_since(began) > gap {
            self.lose_contact();
        }
        // An outage that fell between two looks failed neither; but it ended the session.
        let sessions = self.link.opened();
        if sessions != self.sessions && self.sessions > 0 {
            tracing::warn!("the reaper's session had ended; it holds off");
            self.lose_contact();
        }
        self.sessions = sessions;
        self.pace.after(took, found.workers, self.lease_ttl);
        if from_head {
            self.pace.after_head(took, found.workers, self.lease_ttl, now);
            self.runs = found.running;
        }
        self.look_at = found.slots.saturating_add(LOOK_BEYOND);
        let contact_since = *self.contact_since.get_or_insert(now);
        let held_off = now.duration_since(contact_since) >= self.lease_ttl;
        #[cfg(feature = "mutants")]
        let held_off = held_off || faultline_store::mutants::on("no-reap-holdoff");
        self.steady |= held_off;
        self.absent.see(&[&found.absent[..], &found.not_back].concat(), now);
        let could_renew: Vec<WorkerId> = found.expired.iter().copied().filter(|id| !locked.contains(id)).collect();
        self.expired.see(&could_renew, now);
        self.recover(&found, held_off, &queues).await?;
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

    /// Recovers what those leave whose grace is over.
    async fn recover(&mut self, found: &Watch, held_off: bool, queues: &[String]) -> Result<()> {
        let is_gone = |id: &WorkerId| held_off || self.steady && found.absent.contains(id);
        let absent: BTreeSet<WorkerId> = self.absent.for_all_of(ABSENCE_GRACE).filter(is_gone).collect();
        let expired = self.expired.for_all_of(self.expiry_grace()).filter(|_| held_off);
        let workers: Vec<WorkerId> = absent.iter().copied().chain(expired.filter(|id| !absent.contains(id))).collect();
        if workers.is_empty() {
            self.unfinished = 0;
            return Ok(());
        }
        let look_at = self.look_at;
        let mut reaped = Vec::new();
        let buried = self.link.call(async |session| bury(session, queues, &workers, look_at, &mut reaped).await).await;
        self.count(&reaped);
        let buried = buried?;
        let is_over = absent.iter().all(|worker| buried.contains(worker));
        self.unfinished = if is_over { 0 } else { self.unfinished.saturating_add(1) };
        for worker in &workers {
            let jobs = reaped.iter().filter(|one| one.owner == *worker).count();
            if buried.contains(worker) || absent.contains(worker) && jobs > 0 {
                tracing::warn!(%worker, jobs, "a worker is gone; its jobs were recovered");
            } else if jobs > 0 {
                tracing::warn!(%worker, jobs, "leases had expired; their jobs were recovered");
            }
        }
        Ok(())
    }

    /// How long a job that was put back had been without its worker is known of expired leases by the database, of lost ones
    /// from when this process first missed the worker.
    fn count(&self, reaped: &[Reaped]) {
        for one in reaped {
            let missed = || self.absent.for_how_long(one.owner);
            let after = (one.state == State::Queued).then(|| one.expired_for.or_else(missed)).flatten();
            self.metrics.engine().reaped(&one.queue, &one.lease, &one.reason, after);
        }
    }

    async fn maintain(&self) -> Result<()> {
        self.link
            .call(async |session| {
                maintain::partitions(session).await?;
                let (keys, workers) = maintain::prune(session).await?;
                if keys + workers > 0 {
                    tracing::debug!(keys, workers, "pruned");
                }
                rollup::prune(session).await?;
                Ok(())
            })
            .await
    }
}

#[cfg(test)]
mod tests;
