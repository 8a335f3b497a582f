//! The hand-written ceiling: what somebody reaches who writes leases, a fence and a history for one workload, and nothing else.
//!
//! One connection a worker. Each round trip is one transaction that finishes the last batch and claims the next, pipelined; the claim
//! starts at the last claimed position, and from the head about once a second. Its plans are pinned as the engine's are. It renews
//! nothing, reaps nothing, knows one priority and no pause, and an error ends it.

use crate::duty::{Duty, Side};
use crate::error::{BenchError, Result};
use crate::ground::connect;
use crate::worker::Seen;
use faultline::tokio_postgres::types::{Json, ToSql};
use faultline::tokio_postgres::{AsyncMessage, Client, Config, NoTls, Statement};
use futures_util::future::join4;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) const ENQUEUE: &str = include_str!("by_hand/enqueue.sql");
pub(crate) const ENQUEUE_ONE: &str = include_str!("by_hand/enqueue_one.sql");
const CLAIM: &str = include_str!("by_hand/claim.sql");
const FINISH: &str = include_str!("by_hand/finish.sql");
/// The plans of docs/decisions/0001-storage.md, as the engine's sessions have them.
const PINS: &str = "set enable_seqscan = off; set enable_bitmapscan = off; set enable_nestloop = off; \
                    set plan_cache_mode = force_generic_plan; set jit = off";
/// The channel of the hand-written notifications.
pub(crate) const CHANNEL: &str = "by_hand";
/// Between two claims from the head.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// They may take one part in this many of the time, as the engine's.
const SWEEP_SHARE: u32 = 50;
/// Between two looks when nothing was there.
const POLL: Duration = Duration::from_millis(5);
/// The first position.
const HEAD: (SystemTime, i32) = (SystemTime::UNIX_EPOCH, i32::MIN);

struct Hand {
    client: Client,
    claim: Statement,
    finish: Statement,
    owner: Uuid,
    floor: (SystemTime, i32),
    next_sweep: Instant,
    batch: i64,
}

/// Works until `stop`, and finishes what it holds then.
pub(crate) async fn work(url: &str, duty: &Duty, seen: &Seen, stop: impl Future<Output = ()>) -> Result<()> {
    let config: Config = url.parse()?;
    let woken = Arc::new(Notify::new());
    let _listening = match duty.side {
        Side::ByHandListening => Some(listen(&config, woken.clone()).await?),
        Side::ByHand | Side::Faultline => None,
    };
    let client = connect(&config).await?;
    client.batch_execute(PINS).await?;
    let (claim, finish) = (client.prepare(CLAIM).await?, client.prepare(FINISH).await?);
    let (owner, batch) = (Uuid::new_v4(), i64::try_from(duty.slots).unwrap_or(i64::MAX));
    let mut hand = Hand { client, claim, finish, owner, floor: HEAD, next_sweep: Instant::now(), batch };
    tokio::pin!(stop);
    let (mut ids, mut lease) = (Vec::new(), Uuid::nil());
    let mut stopping = false;
    loop {
        let next = Uuid::new_v4();
        let claimed = hand.trip(&ids, lease, next, if stopping { 0 } else { hand.batch }, seen).await?;
        seen.handled(claimed.len() as u64);
        (ids, lease) = (claimed, next);
        if stopping && ids.is_empty() {
            return Ok(());
        }
        let idle = ids.is_empty();
        let wait = async {
            match duty.side {
                // What was committed behind the floor tells of itself once, and that may have been before.
                Side::ByHandListening if idle => {
                    let _ = tokio::time::timeout_at(hand.next_sweep, woken.notified()).await;
                }
                _ if idle => tokio::time::sleep(POLL).await,
                _ => {}
            }
        };
        tokio::select! {
            biased;
            () = &mut stop, if !stopping => stopping = true,
            () = wait => {}
        }
    }
}

impl Hand {
    /// Finishes a batch and claims the next in one round trip; answers the ids in order.
    async fn trip(&mut self, done: &[Uuid], lease: Uuid, next: Uuid, batch: i64, seen: &Seen) -> Result<Vec<Uuid>> {
        let began = Instant::now();
        let sweep = began >= self.next_sweep;
        let from = if sweep { HEAD } else { self.floor };
        let leases = vec![lease; done.len()];
        let ours: [&(dyn ToSql + Sync); 2] = [&done, &leases];
        let wanted: [&(dyn ToSql + Sync); 5] = [&from.0, &from.1, &batch, &next, &self.owner];
        let (begun, finished, rows, committed) = join4(
            self.client.batch_execute("begin"),
            self.client.execute(&self.finish, &ours),
            self.client.query(&self.claim, &wanted),
            self.client.batch_execute("commit"),
        )
        .await;
        begun?;
        let (finished, rows) = (finished?, rows?);
        committed?;
        if finished != done.len() as u64 {
            return Err(BenchError::Void(format!("{finished} of {} finishes by hand were accepted", done.len())));
        }
        seen.claimed(began.elapsed());
        let mut last = None;
        let mut ids = Vec::with_capacity(rows.len());
        for row in &rows {
            let Json(payload): Json<&RawValue> = row.try_get("payload")?;
            if row.try_get::<_, &str>("kind")? == crate::duty::TIMED {
                seen.began(payload.get());
            }
            last = last.max(Some((row.try_get("next_run_at")?, row.try_get("tie")?)));
            ids.push(row.try_get("id")?);
        }
        ids.sort_unstable();
        if let Some(last) = last {
            // From the head, more may wait between what was found and the old floor.
            let full = i64::try_from(rows.len()).is_ok_and(|found| found >= batch);
            self.floor = if sweep && full { last } else { self.floor.max(last) };
        }
        if sweep {
            self.next_sweep = Instant::now() + SWEEP_EVERY.max(began.elapsed() * SWEEP_SHARE);
        }
        Ok(ids)
    }
}

/// A session that wakes the worker for each notification.
async fn listen(config: &Config, woken: Arc<Notify>) -> Result<Client> {
    let (client, mut connection) = config.connect(NoTls).await?;
    let mut messages = stream::poll_fn(move |context| connection.poll_message(context)).boxed();
    tokio::spawn(async move {
        while let Ok(Some(message)) = messages.try_next().await {
            if matches!(message, AsyncMessage::Notification(_)) {
                woken.notify_one();
            }
        }
    });
    client.batch_execute(&format!("listen {CHANNEL}")).await?;
    Ok(client)
}
