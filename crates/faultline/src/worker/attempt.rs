//! One attempt: runs a handler until it ends, panics, takes too long or is stopped, and says what that means for the job.
//!
//! If the process dies anywhere in here, the job is still running in the database, and is recovered when its lease ends.

use crate::enqueue::{Job, Payload};
use crate::failure::{Failure, Then};
use crate::run::Run;
use crate::worker::registry::Why;
use faultline_core::{json, text};
use faultline_metrics::Cause;
use faultline_store::finish::Ending;
use futures_util::FutureExt;
use serde::Serialize;
use serde_json::value::RawValue;
use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tracing::Span;

/// Why a strict worker gives a job back.
const OVERDUE: &str = "no renewal of the lease was answered in time";

type Answer = Pin<Box<dyn Future<Output = Result<Option<Box<RawValue>>, Failure>> + Send>>;

/// A handler of any type.
pub(crate) trait Handler: Send + Sync {
    fn call(&self, run: Run) -> Answer;
}

impl<F: Fn(Run) -> Answer + Send + Sync> Handler for F {
    fn call(&self, run: Run) -> Answer {
        self(run)
    }
}

/// The handlers of a worker.
#[derive(Default)]
pub(crate) struct Handlers {
    pub(crate) by_kind: HashMap<String, Arc<dyn Handler>>,
    pub(crate) any: Option<Arc<dyn Handler>>,
}

impl Handlers {
    pub(crate) fn get(&self, kind: &str) -> Option<&Arc<dyn Handler>> {
        self.by_kind.get(kind).or(self.any.as_ref())
    }

    /// For people: the kinds, and `*` for any other.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> = self.by_kind.keys().cloned().collect();
        kinds.sort_unstable();
        kinds.extend(self.any.is_some().then(|| "*".to_owned()));
        kinds
    }
}

pub(crate) fn typed<J, T, F, Fut>(handler: F) -> Arc<dyn Handler>
where
    J: Job,
    T: Serialize + 'static,
    F: Fn(J, Run) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, Failure>> + Send + 'static,
{
    Arc::new(move |run: Run| -> Answer {
        match serde_json::from_str::<J>(run.job().payload.get()) {
            Ok(job) => Box::pin(handler(job, run).map(result)),
            Err(error) => {
                let failure = Failure::new(format!("the payload does not fit kind {}: {error}", J::KIND));
                Box::pin(std::future::ready(Err(failure)))
            }
        }
    })
}

pub(crate) fn raw<T, F, Fut>(handler: F) -> Arc<dyn Handler>
where
    T: Serialize + 'static,
    F: Fn(Payload, Run) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, Failure>> + Send + 'static,
{
    Arc::new(move |run: Run| -> Answer { Box::pin(handler(run.job().payload.clone(), run).map(result)) })
}

fn result<T: Serialize>(answer: Result<T, Failure>) -> Result<Option<Box<RawValue>>, Failure> {
    let text = serde_json::to_string(&answer?).map_err(|e| Failure::new(format!("the result is not JSON: {e}")))?;
    Ok((text != "null").then(|| json::storable_result(&text)))
}

/// What is to be done with the job after an attempt.
pub(crate) enum Verdict {
    /// Tell the database; why, where it did not go well.
    End(Ending, Option<Cause>),
    /// The transaction of `complete_in` has decided; see how.
    SeeTransaction,
    /// The lease is lost: nothing is left to tell.
    Lost,
}

/// The span of an attempt: what the handler logs has its fields, what it enqueues is below it.
pub(crate) fn span(run: &Run) -> Span {
    faultline_trace::attempt(&faultline_trace::Attempt {
        job: run.id(),
        attempt: run.attempt(),
        lease: run.lease_id(),
        worker: run.worker_id(),
        queue: run.queue(),
        kind: run.kind(),
        headers: run.headers(),
    })
}

/// Runs the handler to its end, in strict mode to the local deadline of its lease at most. `fraction` is a uniform random number
/// for the jitter.
pub(crate) async fn run(handler: &Arc<dyn Handler>, run: Run, strict: bool, fraction: f64) -> Verdict {
    let timeout = run.job().timeout;
    // A handler may panic before its first await as well.
    let guarded = AssertUnwindSafe(async { handler.call(run.clone()).await }).catch_unwind();
    let answer = tokio::select! {
        biased;
        () = run.stop().stops_attempt() => return stopped(run.stop().why()),
        () = overdue(&run), if strict => return stopped(run.stop().why()),
        answer = tokio::time::timeout(timeout, guarded) => answer,
    };
    let (failure, cause) = match answer {
        Ok(Ok(Ok(_))) if run.was_completed_in() => return Verdict::SeeTransaction,
        Ok(Ok(Ok(result))) => return Verdict::End(Ending::Complete(result), None),
        Ok(Ok(Err(failure))) => (failure, Cause::Error),
        Ok(Err(panic)) => (Failure::new(format!("the handler panicked: {}", panic_text(&*panic))), Cause::Panic),
        Err(_) => (Failure::new(format!("the attempt took longer than {timeout:?}")), Cause::Timeout),
    };
    Verdict::End(ending(&run, &failure, fraction), Some(cause))
}

/// Once the transaction of `complete_in` may have been committed, nothing is gained by stopping.
async fn overdue(run: &Run) {
    let late = run.stop().overdue();
    tokio::pin!(late);
    std::future::poll_fn(|cx| if run.was_completed_in() { Poll::Pending } else { late.as_mut().poll(cx) }).await;
}

fn stopped(why: Why) -> Verdict {
    match why {
        Why::LeaseLost => Verdict::Lost,
        // The statement sees that cancellation was asked for and ends the job as cancelled.
        Why::Cancelled => Verdict::End(Ending::Fail { error: "cancelled".into(), delay: Duration::ZERO }, None),
        Why::Drain => {
            let ending = Ending::Release { delay: None, reason: "the worker shut down".into() };
            Verdict::End(ending, Some(Cause::Shutdown))
        }
        // Refused if the lease did end; otherwise the job need not wait for that.
        Why::Overdue => Verdict::End(Ending::Release { delay: None, reason: OVERDUE.into() }, Some(Cause::Overdue)),
    }
}

/// What a failed attempt means for its job.
pub(crate) fn ending(run: &Run, failure: &Failure, fraction: f64) -> Ending {
    let error = text::storable(&failure.text());
    #[cfg(feature = "mutants")]
    let error = if faultline_store::mutants::on("error-text-unsanitised") { failure.text() } else { error };
    let backoff_ms = run.job().backoff.delay_ms(run.attempt(), fraction).unsigned_abs();
    match failure.then {
        Then::BackOff => Ending::Fail { error, delay: Duration::from_millis(backoff_ms) },
        Then::RetryIn(delay) => Ending::Fail { error, delay: bounded(delay) },
        Then::GiveUp => Ending::FailForGood { error, reason: "fatal" },
        Then::Snooze(delay) => Ending::Snooze(bounded(delay)),
    }
}

fn bounded(delay: Duration) -> Duration {
    delay.min(Duration::from_millis(faultline_core::limits::MAX_DELAY_MS.unsigned_abs()))
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
