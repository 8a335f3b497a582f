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
//! Contact means that commits go through: while jobs run, each look is followed by one. A primary whose synchronous standby is away
//! answers looks, and nobody can renew.
//!
//! If the process dies at any await, nothing is half-done: each step is one statement.

use crate::chance::Chance;
use crate::client::Client;
use crate::home::Home;
use crate::link::Link;
use crate::worker::DEFAULT_LEASE_TTL;
use faultline_core::{State, WorkerId};
use faultline_metrics::Metrics;
use faultline_store::reap::{REAP_LIMIT, Reaped, Watch, bury, commits, queue_names, reap, watch};
use faultline_store::{Plans, Result, Session, maintain, rollup};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two looks; what becomes due in between is awaited by a timer. With one sign of life each five seconds an idle worker
/// stays at one statement a second.
pub(crate) const TICK: Duration = Duration::from_millis(1400);
/// A look may take one part in this many of the time of all processes together: under a snapshot that was forgotten open it has to
/// pass the entries of every job that has ended since.
const LOOK_SHARE: u32 = 20;
/// A look is dear if so many in a row were: one that waited for a busy machine, or was the first of its session, costs the
/// database nothing, and jobs of dead workers wait for the next.
const COSTS: usize = 3;
/// Between two dear looks, at most.
const LONGEST_TICK: Duration = Duration::from_secs(30);
/// How long a worker's presence may be missing before its jobs are recovered.
const ABSENCE_GRACE: Duration = Duration::from_secs(2);
/// A delay of a look or of its answer that breaks the contact: the process was stopped, or the database did not answer. Never more
/// than half of a lease time: a lease that was renewed in time has two thirds left, so that whoever could not renew during
/// the gap holds on to his when it ends.
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
    metrics: Metrics,
    lease_ttl: Duration,
    /// Sessions that had been opened at the last look; 0 before the first.
    sessions: u64,
    /// Since when every look has been answered in time; none while out of contact.
    contact_since: Option<Instant>,
    /// When the next look is planned.
    next_look: Instant,
    /// What the last looks have cost.
    costs: VecDeque<Duration>,
    /// The least time between two looks, by that.
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
            costs: VecDeque::with_capacity(COSTS),
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
        let gap = CONTACT_GAP.min(self.lease_ttl / 2);
        if began.duration_since(self.next_look) > gap {
            // This process was stopped: others may have been as well.
            self.lose_contact();
        }
        let queues = self.queue_names().await?;
        self.metrics.engine().looks_after(&queues);
        let look_at = self.look_at;
        let look = async |session: &Session| {
            let asked = Instant::now();
            let found = watch(session, &queues, look_at).await?;
            let took = asked.elapsed();
            if found.running {
                commits(session).await?;
            }
            Ok((found, took))
        };
        let (found, took) = self.link.call(look).await?;
        let now = Instant::now();
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
        self.plan(took, found.workers);
        self.look_at = found.slots.saturating_add(LOOK_BEYOND);
        let contact_since = *self.contact_since.get_or_insert(now);
        let held_off = now.duration_since(contact_since) >= self.lease_ttl;
        #[cfg(feature = "mutants")]
        let held_off = held_off || faultline_store::mutants::on("no-reap-holdoff");
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

    /// How often to look from now on, by what the last looks have cost the database.
    fn plan(&mut self, cost: Duration, workers: i64) {
        if self.costs.len() == COSTS {
            self.costs.pop_front();
        }
        self.costs.push_back(cost);
        let cost = self.costs.iter().min().filter(|_| self.costs.len() == COSTS).copied().unwrap_or_default();
        let processes = u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
        // Contact that is asked for less often than once a lease time proves nothing.
        let longest = LONGEST_TICK.min(self.lease_ttl).max(TICK);
        self.tick = (cost * LOOK_SHARE).saturating_mul(processes).clamp(TICK, longest);
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
            let mut reaped = Vec::new();
            let buried = self.link.call(async |session| bury(session, &gone, look_at, &mut reaped).await).await;
            self.count(&reaped);
            buried?;
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
            self.count(&reaped);
            if !reaped.is_empty() {
                tracing::warn!(?queues, jobs = reaped.len(), "leases had expired; their jobs were recovered");
            }
            if reaped.len() < REAP_LIMIT {
                break;
            }
        }
        Ok(())
    }

    /// How long a job that was put back had been without its worker is known of expired leases by the database, of lost ones
    /// from when this process first missed the worker.
    fn count(&self, reaped: &[Reaped]) {
        for one in reaped {
            let missed = || self.missing.get(&one.owner).map(Instant::elapsed);
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
mod tests {
    use super::*;
    use faultline_cluster::{Cluster, Programs, testing};
    use faultline_core::{LeaseId, State};
    use faultline_store::ClientWrapper;
    use faultline_store::lease::{Floors, claim};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn migrate(url: &str) {
        runtime().block_on(async { Client::lazy(url).unwrap().migrate().await.unwrap() });
    }

    /// A first look on a busy machine took a tenth of a second, and the next one came after the jobs of a dead worker should have run.
    #[test]
    fn looks_are_rarer_only_when_several_were_dear() {
        let database = testing::database(migrate);
        let mut reaper = Reaper::all_queues(&Client::lazy(&database.url()).unwrap());
        let (dear, cheap) = (Duration::from_millis(100), Duration::from_millis(2));
        for cost in [dear, cheap, dear, dear] {
            reaper.plan(cost, 4);
            assert_eq!(reaper.tick, TICK);
        }
        reaper.plan(dear, 4);
        assert_eq!(reaper.tick, dear * LOOK_SHARE * 4);
    }

    /// A worker that outlived an outage is as much behind with its renewals as one that died in it.
    #[test]
    fn nobody_reaps_by_the_lease_before_a_lease_time_of_contact() {
        let runtime = runtime();
        let database = testing::database(migrate);
        runtime.block_on(async {
            let client = Client::lazy(&database.url()).unwrap();
            let id = client.enqueue_raw("k", ()).await.unwrap().id();
            let (lease, owner) = (LeaseId::new(&mut rand::rng()), WorkerId::new(&mut rand::rng()));
            let take = async |session: &mut ClientWrapper| {
                claim(session, "default", lease, owner, Duration::ZERO, 1, &Floors::head()).await
            };
            assert_eq!(client.database().run(take).await.unwrap().len(), 1);
            let mut reaper = Reaper::all_queues(&client);
            let state = async || client.get(id).await.unwrap().unwrap().state;
            for _ in 0..3 {
                assert_eq!(reaper.look().await.unwrap().expired, ["default"]);
                assert_eq!(state().await, State::Running, "a reaper that has just come must hold off");
            }
            reaper.contact_since = Instant::now().checked_sub(reaper.lease_ttl);
            reaper.look().await.unwrap();
            assert_eq!(state().await, State::Queued);
        });
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

    /// Nothing arrives for a while, and then everything does, on the same session: leases that are shorter than that while have run out.
    #[test]
    fn an_answer_that_took_a_good_part_of_a_lease_breaks_the_contact() {
        let runtime = runtime();
        let database = testing::database(migrate);
        runtime.block_on(async {
            let client = Client::lazy(&database.url()).unwrap();
            let mut reaper = Reaper::all_queues(&client).lease_ttl(Duration::from_millis(1500));
            reaper.look().await.unwrap();
            let first = reaper.contact_since.unwrap();
            let other = Link::new(&client, "test", Plans::Free);
            let lock = "begin; lock table faultline.workers in access exclusive mode";
            other.call(async |session| Ok(session.batch_execute(lock).await?)).await.unwrap();
            let wait = other.call(async |session| Ok(session.batch_execute("select pg_sleep(0.8); commit").await?));
            let (looked, waited) = tokio::join!(reaper.look(), wait);
            looked.unwrap();
            waited.unwrap();
            assert!(reaper.contact_since.is_some_and(|since| since > first));
        });
    }

    /// A database that stands still for longer than a lease keeps live workers from renewing, and sees their leases expired when
    /// it goes on.
    #[test]
    fn a_look_that_hung_for_as_long_as_a_lease_reaps_nobody() {
        let runtime = runtime();
        let database = testing::database(migrate);
        runtime.block_on(async {
            let client = Client::lazy(&database.url()).unwrap();
            let mut reaper = Reaper::of(&client, vec!["default".into()], Arc::default()).lease_ttl(Duration::from_secs(2));
            reaper.look().await.unwrap();
            reaper.contact_since = Some(Instant::now().checked_sub(Duration::from_secs(60)).unwrap());
            let connect = async || {
                let (client, connection) =
                    tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
                tokio::spawn(connection);
                client
            };
            let (mut stalled, other) = (connect().await, connect().await);
            let worker = "select faultline.enqueue(kind => 'work');
                update faultline.jobs set state = 'running', attempts = 1, lease_id = gen_random_uuid(),
                    lease_owner = gen_random_uuid(), started_at = clock_timestamp(),
                    lease_expires_at = clock_timestamp() + interval '2 seconds'";
            let stall = stalled.transaction().await.unwrap();
            stall.batch_execute("lock table faultline.workers").await.unwrap();
            other.batch_execute(worker).await.unwrap();
            let expired = async {
                let sql = "select pg_sleep_until((select max(lease_expires_at) from faultline.jobs) + interval '10 milliseconds')";
                other.batch_execute(sql).await.unwrap();
                stall.commit().await.unwrap();
            };
            reaper.next_look = Instant::now();
            let (looked, ()) = tokio::join!(reaper.look(), expired);
            assert!(!looked.unwrap().expired.is_empty(), "it saw the lease expired");
            let running = "select count(*) from faultline.jobs where state = 'running'";
            assert_eq!(other.query_one(running, &[]).await.unwrap().get::<_, i64>(0), 1);
        });
    }

    /// As long as that, others that were stopped as well have lost none of their leases, however short these are.
    #[test]
    fn a_stall_of_most_of_a_lease_breaks_the_contact() {
        let runtime = runtime();
        let database = testing::database(migrate);
        runtime.block_on(async {
            let mut reaper =
                Reaper::all_queues(&Client::lazy(&database.url()).unwrap()).lease_ttl(Duration::from_secs(2));
            reaper.look().await.unwrap();
            let first = reaper.contact_since.unwrap();
            reaper.next_look = Instant::now() - Duration::from_millis(1500);
            reaper.look().await.unwrap();
            assert!(reaper.contact_since.is_some_and(|since| since > first));
            assert!(!reaper.steady);
        });
    }

    /// Whoever only reads is answered all the same.
    #[test]
    fn commits_that_hang_break_the_contact_while_jobs_run() {
        let cluster = Cluster::builder(Programs::find().unwrap()).durable(false).start().unwrap();
        let url = cluster.url("postgres");
        migrate(&url);
        runtime().block_on(async {
            let client = Client::lazy(&url).unwrap();
            let mut reaper = Reaper::all_queues(&client).lease_ttl(Duration::from_millis(1500));
            client.enqueue_raw("kind", serde_json::json!({})).await.unwrap();
            let (lease, owner) = (LeaseId::new(&mut rand::rng()), WorkerId::new(&mut rand::rng()));
            let (long, floors) = (Duration::from_secs(600), Floors::head());
            let link = Link::new(&client, "test", Plans::InOrder);
            let claimed = link.call(async |s| claim(s, "default", lease, owner, long, 1, &floors).await).await;
            assert_eq!(claimed.unwrap().len(), 1);
            reaper.look().await.unwrap();
            let first = reaper.contact_since.unwrap();
            cluster.configure("synchronous_standby_names", "nobody").unwrap();
            let hang = async {
                let waits = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
                while cluster.psql("postgres", waits).unwrap() == "0" {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                // Longer than the half of a lease after which contact is lost.
                tokio::time::sleep(Duration::from_millis(900)).await;
                cluster.configure("synchronous_standby_names", "").unwrap();
            };
            let (looked, ()) = tokio::join!(reaper.look(), hang);
            looked.unwrap();
            assert!(reaper.contact_since.is_some_and(|since| since > first));
        });
    }
}
