//! Keeps leases, on a thread and a session of its own: a handler that blocks the runtime, or empties a pool, costs no lease.
//!
//! The same session is the worker's presence: when its backend is gone for longer than the grace time, others take the worker
//! for dead. So the loop notices the end of the session at once and comes back, and the first thing it does then is to renew
//! everything. It also listens for hints that a queue has work.
//!
//! A renewal answers with what is still held. What is missing has lost its lease, and its handler is stopped. While nothing
//! is answered, nothing is known: handlers go on, and whatever they finish is refused should the lease be lost by then.

use crate::link::Pause;
use crate::worker::Shared;
use faultline_core::{JobId, LeaseId};
use faultline_store::enqueue::{CHANNEL, Hint};
use faultline_store::lease::renew;
use faultline_store::presence::{WorkerFacts, heartbeat, register, stop};
use faultline_store::{Error, Plans, Result, Session};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Leases that one statement renews at most.
const RENEW_LIMIT: usize = 5000;
/// Renewals in one lease time.
const RENEWALS: u32 = 3;
/// Tries to come back in one lease time, at least.
const TRIES: u32 = 10;
/// How long goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Starts the thread. The receiver resolves when it has ended, which it does some time after `stop` is cancelled.
pub(crate) fn start(shared: Arc<Shared>, facts: WorkerFacts, stop: CancellationToken) -> oneshot::Receiver<()> {
    let (ended, receiver) = oneshot::channel();
    #[cfg(feature = "simulation")]
    if shared.client.database().simulation().is_some() {
        tokio::spawn(async move {
            run(&shared, &facts, &stop).await;
            let _ = ended.send(());
        });
        return receiver;
    }
    let spawned = std::thread::Builder::new().name("faultline-renew".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(run(&shared, &facts, &stop)),
            Err(error) => no_thread(&shared, &error),
        }
        // Nobody may be waiting any more.
        let _ = ended.send(());
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "no thread can be started");
    }
    receiver
}

/// Without renewals no job may be claimed.
fn no_thread(shared: &Shared, error: &std::io::Error) {
    tracing::error!(%error, "no runtime for renewals; the worker drains");
    shared.drain.cancel();
}

async fn run(shared: &Shared, facts: &WorkerFacts, stop: &CancellationToken) {
    // After an outage others hold off for one lease time: many tries fit into it.
    let mut pause = Pause::at_most(shared.client.chance(), shared.lease_ttl / TRIES);
    while !stop.is_cancelled() {
        match keep(shared, facts, stop, &mut pause).await {
            Ok(()) => return,
            Err(error) => {
                let wait = pause.next();
                tracing::warn!(worker = %facts.id, held = shared.registry.len(), %error, ?wait, "renewals failed; trying again");
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
}

/// One session's life: register, renew at once, then renew and listen until the worker stops or the session ends.
async fn keep(shared: &Shared, facts: &WorkerFacts, stop_token: &CancellationToken, pause: &mut Pause) -> Result<()> {
    let every = shared.lease_ttl / RENEWALS;
    let (sender, mut hints) = mpsc::unbounded_channel();
    let session =
        within(every, shared.client.database().listening_session("presence", Plans::ById, Some(sender))).await?;
    within(every, register(&session, facts, session.is_direct())).await?;
    if session.is_direct() {
        within(every, listen(&session)).await?;
    }
    let mut renew_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = stop_token.cancelled() => {
                within(GOODBYE, stop(&session, facts.id)).await?;
                return Ok(());
            }
            () = tokio::time::sleep_until(renew_at) => {
                let began = Instant::now();
                renew_all(shared, facts, &session, every).await?;
                pause.reset();
                renew_at = began + every;
            }
            hint = hints.recv() => match hint {
                Some(payload) => {
                    let hint = Hint::of(&payload);
                    if let Some(wake) = shared.wake.get(hint.queue) {
                        if hint.behind { wake.sweep() } else { wake.hint.notify_one() }
                    }
                }
                None => return Err(Error::Unreachable { reason: "the session ended".into() }),
            },
        }
    }
}

async fn listen(session: &Session) -> Result<()> {
    Ok(session.batch_execute(&format!("listen {CHANNEL}")).await?)
}

async fn renew_all(shared: &Shared, facts: &WorkerFacts, session: &Session, limit: Duration) -> Result<()> {
    for (queue, held) in shared.registry.by_queue() {
        for part in held.chunks(RENEW_LIMIT) {
            let renewed = within(limit, renew(session, &queue, part, shared.lease_ttl)).await?;
            let kept: HashSet<(JobId, LeaseId)> = renewed.iter().map(|r| (r.id, r.lease_id)).collect();
            for renewed in renewed.iter().filter(|renewed| renewed.cancel) {
                shared.registry.cancel(renewed.id, renewed.lease_id);
            }
            for (id, lease_id) in part.iter().filter(|pair| !kept.contains(pair)) {
                shared.registry.lost(*id, *lease_id);
            }
        }
    }
    match within(limit, heartbeat(session, facts.id, shared.registry.len())).await? {
        Some(answer) => {
            if answer.drain && !shared.drain.is_cancelled() {
                tracing::info!(worker = %facts.id, "an operator asked this worker to drain");
                shared.drain.cancel();
            }
        }
        None => within(limit, register(session, facts, session.is_direct())).await?,
    }
    Ok(())
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or_else(|_| Err(Error::Indeterminate { reason: "no answer within the time limit".into() }))
}
