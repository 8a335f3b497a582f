//! Tells the database how attempts ended, in batches: while one batch is on its way the next gathers.
//!
//! A finish is repeated until it is answered: repeating it under the same lease is safe. One that the database refuses for
//! what it holds is found by halving the batch, and its attempt fails instead. If the process dies first, the leases run out
//! and the jobs run again: at least once.

use crate::failure::Failure;
use crate::link::Link;
use crate::run::Run;
use crate::worker::Shared;
use crate::worker::attempt::ending;
use faultline_core::{State, text};
use faultline_store::Plans;
use faultline_store::finish::{Ending, Finish, Finished, finish, look};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Attempts that one statement ends at most.
const FINISH_LIMIT: usize = 1000;
/// Finishes that wait at most; then handlers that ended keep waiting, and with them their tasks.
const MAX_WAITING: usize = 20_000;

/// The way to end an attempt.
#[derive(Clone)]
pub(crate) struct Finisher {
    sender: mpsc::Sender<(Arc<str>, Finish)>,
    link: Arc<Link>,
}

impl Finisher {
    /// Ends an attempt; returns when the finish is in line.
    pub(crate) async fn end(&self, queue: Arc<str>, finish: Finish) {
        // The loop ends only after every sender is gone.
        let _ = self.sender.send((queue, finish)).await;
    }

    /// A handler that returned Ok after `complete_in`: the job has succeeded if the transaction was committed, and its
    /// attempt has failed if not.
    pub(crate) async fn see_transaction(&self, queue: Arc<str>, run: &Run, fraction: f64) {
        let (id, lease_id) = (run.id(), run.lease_id());
        let mut pause = self.link.pause();
        let seen = loop {
            match self.link.call(async |session| look(session, id, lease_id).await).await {
                Ok(seen) => break seen,
                Err(_) => tokio::time::sleep(pause.next()).await,
            }
        };
        let ending = match seen {
            // Ended, or lost: the finish is answered accordingly and changes nothing.
            Some(_) => Ending::Complete(None),
            None => {
                let failure = Failure::new("complete_in was called, but its transaction was not committed");
                ending(run, &failure, fraction)
            }
        };
        self.end(queue, Finish { id, lease_id, ending }).await;
    }
}

/// Starts the loop; it ends when every [`Finisher`] is gone and everything is told.
pub(crate) fn start(shared: Arc<Shared>) -> (Finisher, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    let link = Arc::new(Link::new(&shared.client, "finish", Plans::ById));
    (Finisher { sender, link: link.clone() }, tokio::spawn(run(shared, receiver, link)))
}

async fn run(shared: Arc<Shared>, mut receiver: mpsc::Receiver<(Arc<str>, Finish)>, link: Arc<Link>) {
    let mut batch = Vec::with_capacity(FINISH_LIMIT);
    while receiver.recv_many(&mut batch, FINISH_LIMIT).await > 0 {
        let mut queues: BTreeMap<Arc<str>, Vec<Finish>> = BTreeMap::new();
        for (queue, finish) in batch.drain(..) {
            queues.entry(queue).or_default().push(finish);
        }
        for (queue, finishes) in queues {
            flush(&shared, &link, &queue, finishes).await;
        }
    }
}

/// Ends attempts of one queue, halving the batch around what the database refuses to hold.
async fn flush(shared: &Shared, link: &Link, queue: &Arc<str>, finishes: Vec<Finish>) {
    let mut pause = link.pause();
    let mut parts = VecDeque::from([finishes]);
    while let Some(mut part) = parts.pop_front() {
        match link.call(async |session| finish(session, queue, &part).await).await {
            Ok(answers) => {
                pause.reset();
                for (finish, answer) in part.iter().zip(answers) {
                    settle(shared, queue, finish, answer);
                }
            }
            Err(error) if error.is_about_data() && part.len() > 1 => {
                let rest = part.split_off(part.len() / 2);
                parts.push_front(rest);
                parts.push_front(part);
            }
            Err(error) if error.is_about_data() => {
                tracing::error!(job = %part[0].id, %error, "the end of an attempt can't be stored; the attempt fails instead");
                part[0].ending = unstorable(&part[0].ending, &error.to_string());
                parts.push_front(part);
                tokio::time::sleep(pause.next()).await;
            }
            Err(error) => {
                let wait = pause.next();
                tracing::warn!(%queue, waiting = part.len(), %error, ?wait, "could not end attempts; trying again");
                parts.push_front(part);
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// What to store instead: first without the result, then without any text of the handler's.
fn unstorable(ending: &Ending, error: &str) -> Ending {
    match ending {
        Ending::Complete(Some(_)) => Ending::Complete(None),
        Ending::FailForGood { reason, .. } => {
            Ending::FailForGood { error: text::storable(&format!("the error can't be stored: {error}")), reason }
        }
        Ending::Fail { delay, .. } => Ending::Fail { error: "the error can't be stored".into(), delay: *delay },
        Ending::Complete(None) | Ending::Release { .. } | Ending::Snooze(_) => {
            Ending::FailForGood { error: text::storable(error), reason: "unstorable" }
        }
    }
}

fn settle(shared: &Shared, queue: &Arc<str>, finish: &Finish, answer: Finished) {
    let counters = &shared.counters;
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    shared.registry.remove(finish.id, finish.lease_id);
    match answer {
        Finished::Moved(State::Succeeded) => count(&counters.succeeded),
        Finished::Moved(State::Failed) => count(&counters.failed),
        Finished::Moved(State::Cancelled) => count(&counters.cancelled),
        Finished::Moved(State::Queued | State::Running) => {
            if let (Some(wait), Some(wake)) = (delay(&finish.ending), shared.wake.get(queue)) {
                wake.sweep_in(wait);
            }
            match finish.ending {
                Ending::Release { .. } | Ending::Snooze(_) => count(&counters.put_back),
                Ending::Complete(_) | Ending::Fail { .. } | Ending::FailForGood { .. } => count(&counters.retried),
            }
        }
        Finished::LeaseLost => {
            tracing::warn!(job = %finish.id, lease = %finish.lease_id, "the finish was refused: the lease was lost");
            count(&counters.leases_lost)
        }
    };
}

/// When the job is due again.
fn delay(ending: &Ending) -> Option<Duration> {
    match ending {
        Ending::Fail { delay, .. } | Ending::Snooze(delay) => Some(*delay),
        Ending::Release { delay, .. } => *delay,
        Ending::Complete(_) | Ending::FailForGood { .. } => None,
    }
}
