//! The load of `faultline dev`: a few jobs a second that play parts, so that whoever looks sees the system at work, its
//! failures included. What each will do stands in its payload.
//!
//! | queue | what plays there |
//! |---|---|
//! | `mail` | healthy: quick, some sent twice under one key |
//! | `webhooks` | half the world is down: retries, and failures for good |
//! | `reports` | slow: seconds each, and now and then a batch of them that has to wait |
//! | `reminders` | scheduled, and now and then cancelled before their time |
//! | `imports` | its worker dies of one each minute; some die of each attempt |
//! | `archive` | nobody polls it |
//!
//! A queue that is not worked off, because it is paused or its workers are gone, gets no more jobs at some point.

use crate::demo::Script;
use faultline::{Client, Enqueued, NewJob};
use faultline_core::JobId;
use faultline_store::{Database, read};
use rand::{Rng, RngExt, rngs::StdRng};
use serde::Serialize;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// What both workers take besides the queue of users. None of them dies of these.
pub(super) const QUEUES: &str = "mail:4,webhooks:6,reports:2,reminders:2";
/// What the worker takes that dies now and then.
pub(super) const ALL_QUEUES: &str = "mail:4,webhooks:6,reports:2,reminders:2,imports:4";

/// Between two looks at what to enqueue.
const TICK: Duration = Duration::from_millis(500);
/// Ticks between two looks at the depths.
const LOOK_EVERY: u64 = 10;
/// Jobs that wait in a queue before it gets no more.
const FULL: i64 = 300;
/// Ticks between two batches of reports.
const BATCH_EVERY: u64 = 360;
/// Ticks between two imports that kill their worker, and after how many the first comes.
const CRASH_EVERY: u64 = 120;
const FIRST_CRASH: u64 = 16;
/// One in so many of those kills every worker that takes it.
const POISON_EVERY: u64 = 5;
/// Ticks between two reminders that are cancelled.
const CANCEL_EVERY: u64 = 50;
/// Reminders that are remembered for that.
const REMEMBERED: usize = 20;

/// Plays until the stop. What can't be enqueued, since the database is away, is left out.
pub(super) async fn run(database: Database, stop: CancellationToken) {
    let client = Client::of(database);
    let mut rng: StdRng = rand::make_rng();
    let mut reminders = VecDeque::new();
    let mut full = HashSet::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0_u64.. {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if tick.is_multiple_of(LOOK_EVERY) {
            match client.database().run(async |client| read::queues(client, None).await).await {
                Ok(queues) => {
                    let waiting = queues.into_iter().filter(|queue| queue.due + queue.scheduled >= FULL);
                    full = waiting.map(|queue| queue.name).collect();
                }
                Err(error) => tracing::debug!("no look at the depths: {error}"),
            }
        }
        let mut jobs: Vec<NewJob> = parts(tick, &mut rng).into_iter().filter_map(|part| part.job(&client)).collect();
        jobs.retain(|job| !full.contains(&job.queue));
        match client.enqueue_all(&jobs).await {
            Ok(answers) => remember(&mut reminders, &jobs, &answers),
            Err(error) => tracing::debug!("no load: {error}"),
        }
        if tick % CANCEL_EVERY == CANCEL_EVERY - 1
            && let Some(id) = reminders.pop_front()
            && let Err(error) = client.cancel(id).await
        {
            tracing::debug!("a reminder could not be cancelled: {error}");
        }
    }
}

/// Keeps the ids of the last reminders: the next to be cancelled.
fn remember(reminders: &mut VecDeque<JobId>, jobs: &[NewJob], answers: &[Enqueued]) {
    let new = jobs.iter().zip(answers).filter(|(job, _)| job.kind == "demo.reminder").map(|(_, answer)| answer.id());
    reminders.extend(new);
    while reminders.len() > REMEMBERED {
        reminders.pop_front();
    }
}

/// A job that plays a part.
struct Part {
    kind: &'static str,
    queue: &'static str,
    payload: serde_json::Value,
    key: Option<String>,
    delay: Duration,
    max_attempts: i32,
}

impl Part {
    fn new(kind: &'static str, queue: &'static str, about: impl Serialize, script: &Script) -> Self {
        let mut payload = serde_json::json!(about);
        payload["script"] = serde_json::json!(script);
        Self { kind, queue, payload, key: None, delay: Duration::ZERO, max_attempts: 5 }
    }

    /// None where the limits of a job refuse it, which the tests rule out.
    fn job(self, client: &Client) -> Option<NewJob> {
        let mut job = client
            .enqueue_raw(self.kind, self.payload)
            .queue(self.queue)
            .max_attempts(self.max_attempts)
            .backoff(Duration::from_secs(4), Duration::from_secs(30));
        if let Some(key) = self.key {
            job = job.key(key).key_ttl(Duration::from_secs(600));
        }
        if !self.delay.is_zero() {
            job = job.delay(self.delay);
        }
        job.into_new_job().ok()
    }
}

/// What is enqueued at a tick.
fn parts(tick: u64, rng: &mut impl Rng) -> Vec<Part> {
    let mut parts = Vec::new();
    if rng.random_bool(0.9) {
        parts.push(receipt(rng));
    }
    if rng.random_bool(0.3) {
        parts.push(webhook(rng));
    }
    if rng.random_bool(0.12) {
        parts.push(report(rng));
    }
    if rng.random_bool(0.1) || tick < 4 {
        parts.push(reminder(rng));
    }
    if rng.random_bool(0.08) {
        parts.push(import(0, rng));
    }
    if tick % BATCH_EVERY == 4 {
        parts.extend((0..12).map(|_| report(rng)));
    }
    if tick % CRASH_EVERY == FIRST_CRASH {
        let is_poison = (tick / CRASH_EVERY) % POISON_EVERY == POISON_EVERY - 1;
        parts.push(import(if is_poison { 3 } else { 1 }, rng));
    }
    if tick == 0 {
        parts.extend((1..=3).map(archive));
    }
    parts
}

fn receipt(rng: &mut impl Rng) -> Part {
    // A few orders come again and again: the same request under the same key is one job.
    let is_again = rng.random_bool(0.05);
    let order = if is_again { rng.random_range(1..=8) } else { rng.random_range(1_000..100_000) };
    let takes_ms = if is_again { 150 } else { rng.random_range(20..400) };
    let about = serde_json::json!({"order": order, "to": format!("customer-{order}@shop.example")});
    let part = Part::new("demo.receipt", "mail", about, &Script { takes_ms, ..Script::default() });
    Part { key: Some(format!("receipt-{order}")), ..part }
}

fn webhook(rng: &mut impl Rng) -> Part {
    let event = rng.random_range(10_000..99_999);
    let takes_ms = rng.random_range(50..900);
    let (host, fails, error, is_final) = match rng.random_range(0..100) {
        0..70 => ("hooks.fine.example", 0, String::new(), false),
        70..82 => (
            "hooks.busy.example",
            rng.random_range(1..4),
            format!("503 Service Unavailable after {takes_ms} ms"),
            false,
        ),
        82..90 => ("hooks.slow.example", 2, format!("no answer from hooks.slow.example within {takes_ms} ms"), false),
        90..98 => ("hooks.down.example", 5, "connection refused: hooks.down.example:443".to_owned(), false),
        _ => ("hooks.gone.example", 5, format!("410 Gone: nobody listens for event {event} any more"), true),
    };
    let script = Script { takes_ms, fails, error, is_final, ..Script::default() };
    let about = serde_json::json!({"event": event, "url": format!("https://{host}/events")});
    Part::new("demo.webhook", "webhooks", about, &script)
}

fn report(rng: &mut impl Rng) -> Part {
    let script = Script { takes_ms: rng.random_range(3_000..12_000), ..Script::default() };
    let month = rng.random_range(1..=12);
    Part::new("demo.report", "reports", serde_json::json!({"report": format!("2026-{month:02}")}), &script)
}

fn reminder(rng: &mut impl Rng) -> Part {
    let script = Script { takes_ms: rng.random_range(20..200), ..Script::default() };
    let delay = Duration::from_secs(rng.random_range(20..240));
    let about = serde_json::json!({"invoice": rng.random_range(100..1_000)});
    Part { delay, ..Part::new("demo.reminder", "reminders", about, &script) }
}

fn import(crashes: i32, rng: &mut impl Rng) -> Part {
    let script = Script { takes_ms: rng.random_range(1_000..4_000), crashes, ..Script::default() };
    let about = serde_json::json!({"file": format!("products-{:03}.csv", rng.random_range(1..1_000))});
    Part { max_attempts: 3, ..Part::new("demo.import", "imports", about, &script) }
}

fn archive(year: u16) -> Part {
    let year = 2020 + year;
    let about = serde_json::json!({"year": year});
    let part = Part::new("demo.archive", "archive", about, &Script::default());
    Part { key: Some(format!("archive-{year}")), ..part }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[tokio::test]
    async fn an_hour_of_it_is_accepted_modest_and_plays_every_part() {
        let client = Client::lazy("postgres://localhost/none").unwrap();
        let mut rng = StdRng::seed_from_u64(7);
        let mut jobs = Vec::new();
        for tick in 0..7_200 {
            for part in parts(tick, &mut rng) {
                jobs.push(part.job(&client).expect("within the limits"));
            }
        }
        let per_second = jobs.len() / 3_600;
        assert!((2..=4).contains(&per_second), "{per_second}");
        let queues: HashSet<&str> = jobs.iter().map(|job| job.queue.as_str()).collect();
        assert_eq!(queues.len(), 6, "{queues:?}");
        let worked = ALL_QUEUES.split(',').filter_map(|queue| Some(queue.split_once(':')?.0));
        let unworked: Vec<&&str> = queues.iter().filter(|queue| !worked.clone().any(|name| name == **queue)).collect();
        assert_eq!(unworked, [&"archive"]);
        let scripts = jobs.iter().map(|job| job.payload.get());
        let with = |text: &str| scripts.clone().filter(|script| script.contains(text)).count();
        assert_eq!(with("\"crashes\":1"), 48, "a crash each minute, but for the poison");
        assert_eq!(with("\"crashes\":3"), 12);
        assert!(with("\"is_final\":true") > 10 && with("\"fails\":2") > 100);
    }
}
