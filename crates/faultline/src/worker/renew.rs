//! Keeps leases, on a thread and a session of its own: a handler that blocks the runtime, or empties a pool, costs no lease.
//!
//! The same session is the worker's presence: when its backend is gone for longer than the grace time, others take the worker
//! for dead. So the loop notices the end of the session at once and comes back, and the first thing it does then is to renew
//! everything. It also listens for hints that a queue has work.
//!
//! A renewal answers with what is still held, but for rows that somebody has locked: it waits for none, since all the others would wait
//! with it. What is missing otherwise has lost its lease, and its handler is stopped. While nothing
//! is answered, nothing is known: handlers go on, and whatever they finish is refused should the lease be lost by then. In strict mode
//! they go on until the local deadline of their lease only.

use crate::link::{Link, Pause};
use crate::worker::Shared;
use crate::worker::deadline::BootTime;
use crate::worker::rescue::hold_unread;
use faultline_core::{JobId, LeaseId};
use faultline_store::enqueue::{CHANNEL, Hint};
#[cfg(feature = "mutants")]
use faultline_store::lease::Renewed;
use faultline_store::lease::{renew, still_held};
use faultline_store::presence::{WorkerFacts, heartbeat, register, stop};
use faultline_store::{Error, Plans, Result, Session};
use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Leases that one statement renews at most. The server tells of work between two statements only, so that thousands in one would
/// make jobs wait that come meanwhile; and what commits at the same time waits for their log.
const RENEW_LIMIT: usize = 200;
/// Renewals in one lease time.
const RENEWALS: u32 = 3;
/// Part of that after which a row is tried again that somebody had locked: its lease may end meanwhile, and a reaper come first.
const SOONER: u32 = 5;
/// Tries to come back in one lease time, at least.
const TRIES: u32 = 10;
/// Looks for overdue handlers in one lease time. One that waits for nothing but time is stopped so much later at most; one that
/// is woken earlier sees its deadline by itself.
const OVERDUE_LOOKS: u32 = 15;
/// How long goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Starts the thread. The receiver resolves when it has ended, which it does some time after `stop` is cancelled.
pub(crate) fn start(shared: Arc<Shared>, facts: WorkerFacts, stop: CancellationToken) -> oneshot::Receiver<()> {
    let (ended, receiver) = oneshot::channel();
    faultline_store::mutant!("renewals-on-the-shared-runtime", {
        tokio::spawn(async move {
            run(&shared, &facts, &stop).await;
            ended.send(())
        });
        return receiver;
    });
    #[cfg(feature = "simulation")]
    if shared.client.database().simulation().is_some() {
        tokio::spawn(async move {
            keep_all(&shared, &facts, &stop).await;
            let _ = ended.send(());
        });
        return receiver;
    }
    let spawned = std::thread::Builder::new().name("faultline-renew".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(keep_all(&shared, &facts, &stop)),
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

async fn keep_all(shared: &Shared, facts: &WorkerFacts, stop: &CancellationToken) {
    tokio::select! {
        biased;
        () = run(shared, facts, stop) => {}
        () = stop_overdue(shared), if shared.strict => {}
    }
}

async fn run(shared: &Shared, facts: &WorkerFacts, stop: &CancellationToken) {
    // After an outage others hold off for one lease time: many tries fit into it.
    let mut pause = Pause::at_most(shared.client.chance(), shared.lease_ttl / TRIES);
    let rescue = Link::new(&shared.client, "rescue", Plans::InOrder);
    while !stop.is_cancelled() {
        let kept = keep(shared, facts, stop, &mut pause, &rescue).await;
        shared.client.database().note(&kept);
        match kept {
            Ok(()) => return,
            Err(error) => {
                shared.home.leave();
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

/// Strict mode. In small steps, since timers stand still while the machine is suspended.
async fn stop_overdue(shared: &Shared) {
    loop {
        tokio::time::sleep(shared.lease_ttl / OVERDUE_LOOKS).await;
        shared.registry.stop_overdue();
    }
}

/// One session's life: register, renew at once, then renew and listen until the worker stops or the session ends.
async fn keep(
    shared: &Shared,
    facts: &WorkerFacts,
    stop_token: &CancellationToken,
    pause: &mut Pause,
    rescue: &Link,
) -> Result<()> {
    let every = shared.lease_ttl / RENEWALS;
    let (sender, mut hints) = mpsc::unbounded_channel();
    let session =
        within(every, shared.client.database().listening_session("presence", Plans::ById, Some(sender))).await?;
    let kept = keep_on(shared, facts, stop_token, pause, rescue, &session, &mut hints).await;
    if kept.is_err() {
        session.give_up();
    }
    kept
}

async fn keep_on(
    shared: &Shared,
    facts: &WorkerFacts,
    stop_token: &CancellationToken,
    pause: &mut Pause,
    rescue: &Link,
    session: &Session,
    hints: &mut mpsc::UnboundedReceiver<String>,
) -> Result<()> {
    let every = shared.lease_ttl / RENEWALS;
    within(every, register(session, facts, session.is_direct())).await?;
    shared.home.settle(session);
    if session.is_direct() {
        within(every, listen(session)).await?;
    }
    let mut renew_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = stop_token.cancelled() => {
                within(GOODBYE, stop(session, facts.id)).await?;
                return Ok(());
            }
            () = tokio::time::sleep_until(renew_at) => {
                let began = Instant::now();
                let renewals = async {
                    hold_unread(shared, rescue, every / 2).await;
                    renew_all(shared, facts, session, every).await
                };
                let mut renewals = pin!(renewals);
                let all = loop {
                    tokio::select! {
                        biased;
                        all = &mut renewals => break all?,
                        hint = hints.recv() => heed(shared, hint)?,
                    }
                };
                shared.leases.renewed(began.into_std());
                shared.client.database().note(&Ok(()));
                pause.reset();
                renew_at = began + if all { every } else { every / SOONER };
            }
            () = shared.home.doubted() => {
                return Err(Error::Unreachable { reason: "other sessions of this worker reach another server".into() });
            }
            hint = hints.recv() => heed(shared, hint)?,
        }
    }
}

/// Wakes the loop of the queue that has work.
fn heed(shared: &Shared, payload: Option<String>) -> Result<()> {
    let Some(payload) = payload else {
        return Err(Error::Unreachable { reason: "the session ended".into() });
    };
    let hint = Hint::of(&payload);
    if let Some(wake) = shared.wake.get(hint.queue) {
        if hint.behind { wake.sweep() } else { wake.hint.notify_one() }
    }
    Ok(())
}

async fn listen(session: &Session) -> Result<()> {
    Ok(session.batch_execute(&format!("listen {CHANNEL}")).await?)
}

/// Answers whether every row could be reached.
async fn renew_all(shared: &Shared, facts: &WorkerFacts, session: &Session, limit: Duration) -> Result<bool> {
    let mut all = true;
    for (queue, held) in shared.registry.by_queue() {
        for part in held.chunks(RENEW_LIMIT) {
            let asked = BootTime::now();
            tracing::trace!(name: "renewing", worker = %facts.id, %queue, leases = part.len(), "renewing");
            let call = renew(session, &queue, part, shared.lease_ttl);
            #[cfg(feature = "mutants")]
            let call = on_the_job_pool(shared, &queue, part, call);
            let renewed = within(limit, call).await?;
            if let Some(metrics) = shared.metrics.get(&queue) {
                metrics.renewals.inc_by(renewed.len() as u64);
            }
            let kept: HashSet<(JobId, LeaseId)> = renewed.iter().map(|r| (r.id, r.lease_id)).collect();
            for (id, lease_id) in &kept {
                shared.registry.renewed(*id, *lease_id, asked, shared.lease_ttl);
            }
            for renewed in renewed.iter().filter(|renewed| renewed.cancel) {
                shared.registry.cancel(renewed.id, renewed.lease_id);
            }
            let missing: Vec<_> = part.iter().filter(|pair| !kept.contains(pair)).copied().collect();
            let missing = shared.registry.running(missing);
            if missing.is_empty() {
                continue;
            }
            let locked = within(limit, still_held(session, &queue, &missing)).await?;
            all &= locked.is_empty();
            for (id, lease_id) in missing.iter().filter(|pair| !locked.contains(pair)) {
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
    Ok(all)
}

#[cfg(feature = "mutants")]
async fn on_the_job_pool(
    shared: &Shared,
    queue: &str,
    part: &[(JobId, LeaseId)],
    call: impl Future<Output = Result<Vec<Renewed>>>,
) -> Result<Vec<Renewed>> {
    faultline_store::mutant!("renewals-on-the-job-pool", {
        let pool = shared.client.database();
        return pool.run(async |session| renew(session, queue, part, shared.lease_ttl).await).await;
    });
    call.await
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or_else(|_| Err(Error::Indeterminate { reason: "no answer within the time limit".into() }))
}
