//! A dedicated session that comes back: opened when it is first needed, and again after it failed.

use crate::chance::Chance;
use crate::client::Client;
use crate::home::Home;
use faultline_store::{Database, Error, Plans, Result, Session};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

/// How long one statement of a loop may take before its session is given up. Longer than the statement time-out of the
/// session, which answers first unless the network is silent.
const CALL_TIMEOUT: Duration = Duration::from_secs(35);

/// A session of a loop's own, shared by the tasks of that loop.
pub(crate) struct Link {
    database: Database,
    chance: Chance,
    purpose: &'static str,
    plans: Plans,
    /// Set by the first call and after a failure; cleared by the call that saw the failure.
    session: Mutex<Option<Arc<Session>>>,
    /// How many sessions were opened.
    opened: AtomicU64,
    /// The server to keep to; none: any that takes writes.
    home: Option<Arc<Home>>,
}

impl Link {
    pub(crate) fn new(client: &Client, purpose: &'static str, plans: Plans) -> Self {
        let (database, chance) = (client.database().clone(), client.chance().clone());
        Self { database, chance, purpose, plans, session: Mutex::new(None), opened: AtomicU64::new(0), home: None }
    }

    /// The same for a loop of a worker, which keeps to the server of the worker's presence.
    pub(crate) fn at(self, home: Arc<Home>) -> Self {
        Self { home: Some(home), ..self }
    }

    /// The pauses between tries after failed calls.
    pub(crate) fn pause(&self) -> Pause {
        Pause::new(&self.chance)
    }

    /// How many sessions were opened: another number than before says that contact was lost in between.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Runs a call on the session. One that fails on its connection, or takes too long, ends the session.
    pub(crate) async fn call<T>(&self, call: impl AsyncFnOnce(&Session) -> Result<T>) -> Result<T> {
        let answer = self.try_call(call).await;
        self.database.note(&answer);
        answer
    }

    async fn try_call<T>(&self, call: impl AsyncFnOnce(&Session) -> Result<T>) -> Result<T> {
        let session = self.session().await?;
        let answer = match tokio::time::timeout(CALL_TIMEOUT, call(&session)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Indeterminate { reason: "no answer within the time limit".into() }),
        };
        if matches!(&answer, Err(error) if error.is_connection_fault()) {
            let mut current = self.session.lock().await;
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &session)) {
                session.give_up();
                *current = None;
            }
        }
        answer
    }

    async fn session(&self) -> Result<Arc<Session>> {
        let mut current = self.session.lock().await;
        if let Some(session) = current.as_ref().filter(|session| !session.is_closed() && self.is_home(session)) {
            return Ok(session.clone());
        }
        *current = None;
        let session = Arc::new(self.database.session(self.purpose, self.plans).await?);
        if !self.is_home(&session) {
            self.home.iter().for_each(|home| home.doubt(&session));
            return Err(Error::Unreachable { reason: "connected to another server than the worker's presence".into() });
        }
        *current = Some(session.clone());
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(session)
    }

    fn is_home(&self, session: &Session) -> bool {
        self.home.as_ref().is_none_or(|home| home.has(session))
    }
}

/// The growing, jittered pause between tries while the database is away, so that a fleet does not come back at one instant.
pub(crate) struct Pause {
    chance: Chance,
    next: Duration,
    longest: Duration,
}

impl Pause {
    const FIRST: Duration = Duration::from_millis(50);
    /// Below the grace time of absent workers: who survives an outage must be back before it is missed.
    const LONGEST: Duration = Duration::from_secs(1);

    pub(crate) fn new(chance: &Chance) -> Self {
        Self::at_most(chance, Self::LONGEST)
    }

    /// The same, growing no further than `longest`.
    pub(crate) fn at_most(chance: &Chance, longest: Duration) -> Self {
        Self { chance: chance.clone(), next: Self::FIRST, longest: longest.min(Self::LONGEST) }
    }

    /// Half to all of the present pause; the next one is twice as long.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next.mul_f64(self.chance.within(0.5..1.0));
        #[cfg(feature = "mutants")]
        let pause = if faultline_store::mutants::on("no-jitter") { self.next } else { pause };
        self.next = (self.next * 2).min(self.longest);
        pause
    }

    pub(crate) fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_does_not_come_back_at_one_instant() {
        let client = Client::lazy("postgres://nobody@nowhere/nothing").unwrap();
        let mut fleet: Vec<Pause> = (0..100).map(|_| Pause::new(client.chance())).collect();
        let mut longest = Pause::FIRST;
        for _ in 0..10 {
            let pauses: Vec<Duration> = fleet.iter_mut().map(Pause::next).collect();
            assert!(pauses.iter().all(|pause| (longest / 2..=longest).contains(pause)), "{pauses:?}");
            // Four parts of the interval, each with a quarter of the fleet on average.
            let quarter = longest.div_f64(8.0);
            for part in 0..4 {
                let from = longest / 2 + quarter * part;
                assert!(pauses.iter().any(|pause| (from..from + quarter).contains(pause)), "nobody after {from:?}");
            }
            longest = (longest * 2).min(Pause::LONGEST);
        }
    }
}
