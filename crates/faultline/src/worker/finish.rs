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
use crate::worker::claim::LEASE_LOST;
use faultline_core::{State, text};
use faultline_metrics::{Cause, End, Held, KindMetrics, Metrics, Operation, Resolution};
use faultline_store::finish::{Ending, Finish, Finished, finish, look};
use faultline_store::{Error, Plans};
use faultline_trace::{Batch, Deed, TraceContext};
use std::borrow::Borrow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::Span;

/// Attempts that one statement ends at most.
const FINISH_LIMIT: usize = 1000;
/// Finishes that wait at most, and no more than there are slots; then handlers that ended keep their slots. What waits is renewed and
/// would run again after a crash: two batches are enough to keep the database busy.
const MAX_WAITING: usize = 2 * FINISH_LIMIT;

/// An attempt on its way to its end, with what is counted when that is known.
pub(crate) struct Ended {
    pub(crate) queue: Arc<str>,
    pub(crate) finish: Finish,
    pub(crate) kind: Arc<KindMetrics>,
    /// Why it failed or was given back.
    pub(crate) cause: Option<Cause>,
    /// That of the attempt, which ends with the database's word. None if its handler was never called.
    pub(crate) span: Span,
}

/// One that waits for the database's word.
struct Waiting {
    ended: Ended,
    _backlog: Held,
}

impl Borrow<Finish> for Ended {
    fn borrow(&self) -> &Finish {
        &self.finish
    }
}

impl Borrow<Finish> for Waiting {
    fn borrow(&self) -> &Finish {
        &self.ended.finish
    }
}

/// The way to end an attempt.
#[derive(Clone)]
pub(crate) struct Finisher {
    sender: mpsc::Sender<Waiting>,
    link: Arc<Link>,
    metrics: Metrics,
}

impl Finisher {
    /// Ends an attempt; returns when the finish is in line.
    pub(crate) async fn end(&self, ended: Ended) {
        // The loop ends only after every sender is gone.
        let _ = self.sender.send(Waiting { ended, _backlog: Held::new(self.metrics.workers().finish_backlog()) }).await;
    }

    /// Ends attempts of one queue and waits for the answer. Without one they are in line like others, and it answers false.
    pub(crate) async fn end_now(&self, shared: &Shared, queue: &Arc<str>, ended: Vec<Ended>) -> bool {
        match self.link.call(async |session| finish(session, queue, &ended).await).await {
            Ok(answers) => {
                for (ended, answer) in ended.iter().zip(answers) {
                    settle(shared, ended, answer);
                }
                true
            }
            Err(error) => {
                tracing::warn!(%queue, worker = %shared.id, waiting = ended.len(), %error, "could not end attempts; they wait with others");
                for ended in ended {
                    self.end(ended).await;
                }
                false
            }
        }
    }

    /// A handler that returned Ok after `complete_in`: the job has succeeded if the transaction was committed, and its
    /// attempt has failed if not. What is seen is the answer: a finish that only asks for the same could come after a failover
    /// that has brought the lease back, and end the job without what the transaction wrote.
    pub(crate) async fn see_transaction(
        &self,
        shared: &Shared,
        queue: Arc<str>,
        kind: Arc<KindMetrics>,
        run: &Run,
        fraction: f64,
        span: Span,
    ) {
        let (id, lease_id) = (run.id(), run.lease_id());
        let mut pause = self.link.pause();
        let seen = loop {
            match self.link.call(async |session| look(session, id, lease_id).await).await {
                Ok(seen) => break seen,
                Err(_) => tokio::time::sleep(pause.next()).await,
            }
        };
        if let Some(answer) = seen {
            let finish = Finish { id, lease_id, ending: Ending::Complete(None) };
            return settle(shared, &Ended { queue, finish, kind, cause: None, span }, answer);
        }
        let failure = Failure::new("complete_in was called, but its transaction was not committed");
        let finish = Finish { id, lease_id, ending: ending(run, &failure, fraction) };
        self.end(Ended { queue, finish, kind, cause: Some(Cause::Error), span }).await;
    }
}

/// Starts the loop for a worker with so many slots; it ends when every [`Finisher`] is gone and everything is told.
pub(crate) fn start(shared: Arc<Shared>, slots: usize) -> (Finisher, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(slots.clamp(1, MAX_WAITING));
    let link = Arc::new(Link::new(&shared.client, "finish", Plans::ById).at(shared.home.clone()));
    let metrics = shared.client.metrics().clone();
    (Finisher { sender, link: link.clone(), metrics }, tokio::spawn(run(shared, receiver, link)))
}

async fn run(shared: Arc<Shared>, mut receiver: mpsc::Receiver<Waiting>, link: Arc<Link>) {
    let mut batch = Vec::with_capacity(FINISH_LIMIT);
    let mut settling = Settling::default();
    while receiver.recv_many(&mut batch, FINISH_LIMIT).await > 0 {
        // The first handler that ends wakes this loop before others that end with it have had their turn: they go into the same statement.
        tokio::task::yield_now().await;
        while batch.len() < FINISH_LIMIT
            && let Ok(waiting) = receiver.try_recv()
        {
            batch.push(waiting);
        }
        let mut queues: BTreeMap<Arc<str>, Vec<Waiting>> = BTreeMap::new();
        for waiting in batch.drain(..) {
            queues.entry(waiting.ended.queue.clone()).or_default().push(waiting);
        }
        for (queue, waiting) in queues {
            flush(&shared, &link, &queue, waiting, &mut settling).await;
        }
    }
    settling.done().await;
}

/// What was answered last is counted beside the next statement, which need not wait for it.
#[derive(Default)]
struct Settling(Option<JoinHandle<()>>);

impl Settling {
    async fn done(&mut self) {
        if let Some(last) = self.0.take()
            && let Err(error) = last.await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }

    async fn begin(&mut self, shared: &Arc<Shared>, part: Vec<Waiting>, answers: Vec<Finished>) {
        self.done().await;
        let shared = shared.clone();
        self.0 = Some(tokio::spawn(async move {
            for (waiting, answer) in part.iter().zip(answers) {
                settle(&shared, &waiting.ended, answer);
            }
        }));
    }
}

/// Ends attempts of one queue, halving the batch around what the database refuses to hold.
async fn flush(shared: &Arc<Shared>, link: &Link, queue: &Arc<str>, waiting: Vec<Waiting>, settling: &mut Settling) {
    let metrics = shared.client.metrics().engine();
    let mut pause = link.pause();
    let mut parts = VecDeque::from([waiting]);
    let mut unanswered = 0;
    while let Some(mut part) = parts.pop_front() {
        let batch = Batch::begin();
        match link.call(async |session| finish(session, queue, &part).await).await {
            Ok(answers) => {
                pause.reset();
                for _ in 0..std::mem::take(&mut unanswered) {
                    metrics.resolved(Operation::Finish, Resolution::Answered);
                }
                let contexts = part.iter().map(|waiting| TraceContext::of_span(&waiting.ended.span));
                batch.done(Deed::Finish, queue, shared.id, part.len(), contexts);
                settling.begin(shared, part, answers).await;
            }
            Err(error) if error.is_about_data() && part.len() > 1 => {
                let rest = part.split_off(part.len() / 2);
                parts.push_front(rest);
                parts.push_front(part);
            }
            Err(error) if error.is_about_data() => {
                let ended = &mut part[0].ended;
                tracing::error!(parent: &ended.span, job = %ended.finish.id, %error, "the end of an attempt can't be stored; the attempt fails instead");
                ended.finish.ending = unstorable(&ended.finish.ending, &error.to_string());
                ended.cause.get_or_insert(Cause::Error);
                parts.push_front(part);
                tokio::time::sleep(pause.next()).await;
            }
            Err(error) => {
                if matches!(error, Error::Indeterminate { .. }) {
                    metrics.indeterminate(Operation::Finish);
                    unanswered += 1;
                    for Ended { span, finish: Finish { id, lease_id, .. }, .. } in
                        part.iter().map(|waiting| &waiting.ended)
                    {
                        tracing::debug!(parent: span, job = %id, lease = %lease_id, "the answer of a finish was lost");
                    }
                }
                let wait = pause.next();
                tracing::warn!(%queue, worker = %shared.id, waiting = part.len(), %error, ?wait, "could not end attempts; trying again");
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

/// The database has answered: this and nothing else is counted.
fn settle(shared: &Shared, ended: &Ended, answer: Finished) {
    let (counters, finish, queue) = (&shared.counters, &ended.finish, &ended.queue);
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    shared.registry.remove(finish.id, finish.lease_id);
    if let Finished::Moved(state) = answer {
        let end = end_of(&finish.ending, state);
        ended.kind.ended(end, ended.cause);
        tell(ended, end.outcome());
        tracing::debug!(parent: &ended.span, job = %finish.id, lease = %finish.lease_id, state = state.as_str(), "the finish was answered");
    }
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
            tracing::warn!(parent: &ended.span, job = %finish.id, lease = %finish.lease_id, "the finish was refused: the lease was lost");
            tell(ended, LEASE_LOST);
            if let Some(metrics) = shared.metrics.get(queue) {
                metrics.refused.inc();
            }
            count(&counters.leases_lost)
        }
    };
}

/// Ends the span of the attempt. What its handler said counts only if the database took it.
fn tell(ended: &Ended, outcome: &'static str) {
    let error = match &ended.finish.ending {
        _ if outcome == LEASE_LOST => Some((LEASE_LOST, "the finish was refused: the lease was lost")),
        Ending::Fail { error, .. } | Ending::FailForGood { error, .. } => {
            ended.cause.map(|cause| (cause.word(), error.as_str()))
        }
        Ending::Complete(_) | Ending::Release { .. } | Ending::Snooze(_) => None,
    };
    faultline_trace::ended(&ended.span, &faultline_trace::Ended { outcome, error });
}

/// What the state of a job says of the attempt that it was left by: a success stays one, whatever the handler said after it.
fn end_of(ending: &Ending, state: State) -> End {
    match (state, ending) {
        (State::Succeeded, _) => End::Completed,
        (State::Cancelled, _) => End::Cancelled,
        (State::Failed, Ending::FailForGood { reason: "fatal", .. }) => End::Fatal,
        (State::Failed, Ending::FailForGood { .. }) => End::Unstorable,
        (State::Failed, _) => End::AttemptsExhausted,
        (State::Queued | State::Running, Ending::Release { .. }) => End::Released,
        (State::Queued | State::Running, Ending::Snooze(_)) => End::Snoozed,
        (State::Queued | State::Running, _) => End::Failed,
    }
}

/// When the job is due again.
fn delay(ending: &Ending) -> Option<Duration> {
    match ending {
        Ending::Fail { delay, .. } | Ending::Snooze(delay) => Some(*delay),
        Ending::Release { delay, .. } => *delay,
        Ending::Complete(_) | Ending::FailForGood { .. } => None,
    }
}
