//! The worker process of the benchmark: Faultline's, or the hand-written one, with the same words on standard output.

use crate::accounts;
use crate::by_hand;
use crate::duty::{Duty, End, FLAKY, LONG_QUEUE, NOOP, Side, TIMED, Tick, WAIT, Word, latencies, now_ns, told};
use crate::error::{BenchError, Result};
use faultline::{Client, Failure, Metrics, Run, Worker};
use hdrhistogram::Histogram;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two words about what was done by now.
const TICK: Duration = Duration::from_millis(100);

/// What handlers have seen.
pub(crate) struct Seen {
    handled: AtomicU64,
    claims: AtomicU64,
    claim_us: AtomicU64,
    /// Of all timed jobs, and of those since the last word.
    latencies: Mutex<(Histogram<u64>, Histogram<u64>)>,
}

#[derive(Deserialize)]
struct Timed {
    at_ns: u64,
}

#[derive(Deserialize)]
struct Waits {
    for_ms: u64,
}

impl Seen {
    fn new() -> Self {
        let latencies = Mutex::new((latencies(), latencies()));
        Self { handled: 0.into(), claims: 0.into(), claim_us: 0.into(), latencies }
    }

    /// So many handlers have run.
    pub(crate) fn handled(&self, jobs: u64) {
        self.handled.fetch_add(jobs, Ordering::Relaxed);
    }

    /// A claim was answered.
    pub(crate) fn claimed(&self, took: Duration) {
        self.claims.fetch_add(1, Ordering::Relaxed);
        self.claim_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A timed job begins.
    pub(crate) fn began(&self, payload: &str) {
        if let Ok(Timed { at_ns }) = serde_json::from_str(payload) {
            let late_us = now_ns().saturating_sub(at_ns) / 1000;
            let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
            latencies.0.saturating_record(late_us.max(1));
            latencies.1.saturating_record(late_us.max(1));
        }
    }
}

/// Runs a worker process of the benchmark until `stop`; `duty` is what the benchmark has told it.
///
/// # Errors
/// When the duty can't be read, or the worker can't run.
pub async fn work(url: &str, duty: &str, stop: impl Future<Output = ()>) -> Result<()> {
    let duty: Duty =
        serde_json::from_str(duty).map_err(|error| BenchError::Process(format!("the duty can't be read: {error}")))?;
    let seen = Arc::new(Seen::new());
    let ended = CancellationToken::new();
    let metrics = match duty.side {
        Side::Faultline => {
            let client = Client::lazy(url)?;
            let metrics = client.metrics().clone();
            let ticking = tokio::spawn(tell(seen.clone(), Some(metrics.clone()), ended.clone()));
            worker(&client, &duty, &seen).run_until(stop).await?;
            ended.cancel();
            let _ = ticking.await;
            Some(metrics)
        }
        Side::ByHand | Side::ByHandListening => {
            let ticking = tokio::spawn(tell(seen.clone(), None, ended.clone()));
            by_hand::work(url, &duty, &seen, stop).await?;
            ended.cancel();
            let _ = ticking.await;
            None
        }
    };
    say(&Word::Tick(tick(&seen, metrics.as_ref())));
    let account = accounts::own();
    let told = told(&seen.latencies.lock().unwrap_or_else(PoisonError::into_inner).0);
    say(&Word::End(End {
        handled: seen.handled.load(Ordering::Relaxed),
        cpu_us: account.map(|account| account.cpu.as_secs_f64() * 1e6),
        peak_mib: account.map(|account| mib(account.peak_kib)),
        latencies: told,
    }));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below what a float holds exactly")]
pub(crate) fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn worker(client: &Client, duty: &Duty, seen: &Arc<Seen>) -> Worker {
    let mut worker = Worker::new(client);
    for queue in &duty.queues {
        worker = worker.queue(queue.clone(), duty.slots);
    }
    if let Some(slots) = duty.long_slots {
        worker = worker.queue(LONG_QUEUE, slots);
    }
    let (noop, timed, flaky) = (seen.clone(), seen.clone(), seen.clone());
    worker
        .on_kind(NOOP, move |_: Box<RawValue>, _: Run| {
            noop.handled(1);
            std::future::ready(Ok(()))
        })
        .on_kind(TIMED, move |payload: Box<RawValue>, _: Run| {
            timed.began(payload.get());
            timed.handled(1);
            std::future::ready(Ok(()))
        })
        .on_kind(FLAKY, move |_: Box<RawValue>, run: Run| {
            let fails = run.attempt() == 1;
            flaky.handled(u64::from(!fails));
            std::future::ready(if fails { Err(Failure::new("the first attempt fails")) } else { Ok(()) })
        })
        // Not counted: what is waited for is what runs beside it.
        .on_kind(WAIT, |payload: Box<RawValue>, _: Run| async move {
            let Waits { for_ms } = serde_json::from_str(payload.get())?;
            tokio::time::sleep(Duration::from_millis(for_ms)).await;
            Ok(())
        })
}

async fn tell(seen: Arc<Seen>, metrics: Option<Metrics>, ended: CancellationToken) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            biased;
            () = ended.cancelled() => return,
            _ = ticks.tick() => say(&Word::Tick(tick(&seen, metrics.as_ref()))),
        }
    }
}

fn tick(seen: &Seen, metrics: Option<&Metrics>) -> Tick {
    let own = (
        seen.claims.load(Ordering::Relaxed),
        Duration::from_micros(seen.claim_us.load(Ordering::Relaxed)).as_secs_f64(),
    );
    let (claims, claim_s) = metrics.map_or(own, |metrics| claims(&metrics.encode()));
    let recent = &mut seen.latencies.lock().unwrap_or_else(PoisonError::into_inner).1;
    let late_p99_us = (!recent.is_empty()).then(|| recent.value_at_quantile(0.99));
    recent.reset();
    Tick { at_ns: now_ns(), handled: seen.handled.load(Ordering::Relaxed), claims, claim_s, late_p99_us }
}

/// How many claims the library has counted, and how long they took together.
fn claims(text: &str) -> (u64, f64) {
    let sum = |name: &str| -> f64 {
        let of = |line: &str| line.strip_prefix(name)?.rsplit_once(' ')?.1.parse::<f64>().ok();
        text.lines().filter_map(of).sum()
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, written as a number")]
    let count = sum("faultline_claim_duration_seconds_count") as u64;
    (count, sum("faultline_claim_duration_seconds_sum"))
}

/// Whoever reads may be gone, which the end of standard input tells.
fn say(word: &Word) {
    if let Ok(line) = serde_json::to_string(word) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_from_the_library_s_own_metrics() {
        let client = Client::lazy("postgres://nobody@nowhere/nothing").unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(claims(&client.metrics().encode()), (0, 0.0));
        let text = "faultline_claim_duration_seconds_sum{queue=\"a\"} 0.5\nfaultline_claim_duration_seconds_count{queue=\"a\"} 2\n\
                    faultline_claim_duration_seconds_sum{queue=\"b\"} 0.25\nfaultline_claim_duration_seconds_count{queue=\"b\"} 1\n";
        assert_eq!(claims(text), (3, 0.75));
    }
}
