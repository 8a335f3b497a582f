//! Jobs on their way in: through the library, and by hand.

use crate::by_hand::{self, CHANNEL};
use crate::duty::{NOOP, QUEUE, Side};
use crate::error::{BenchError, Result};
use crate::ground::Room;
use faultline::tokio_postgres::types::Json;
use faultline::{Client, Enqueued, NewJob};
use futures_util::future::{join4, try_join_all};
use serde_json::value::RawValue;
use std::time::Duration;
use uuid::Uuid;

/// Jobs of one statement.
pub(crate) const CHUNK: u64 = 1000;
/// Sessions that fill a queue before a measurement.
const LOADERS: u64 = 2;

/// A payload of about so many bytes of JSON that does not compress well.
pub(crate) fn payload(bytes: usize) -> Box<RawValue> {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-";
    let mut text = String::with_capacity(bytes + 2);
    text.push_str("{\"pad\":\"");
    let rest = bytes.saturating_sub(text.len() + 2);
    text.extend((0..rest).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())])));
    text.push_str("\"}");
    RawValue::from_string(text).expect("letters in quotes are JSON")
}

/// What is put into the queue.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) jobs: u64,
    pub(crate) payload_bytes: usize,
    /// How far in the future they are due.
    pub(crate) delay: Duration,
}

impl Load {
    pub(crate) fn now(jobs: u64, payload_bytes: usize) -> Self {
        Self { jobs, payload_bytes, delay: Duration::ZERO }
    }
}

/// Fills the queue of one side as fast as it goes; not a measurement.
pub(crate) async fn fill(room: &Room, side: Side, load: Load) -> Result<()> {
    let share = |n: u64| load.jobs / LOADERS + u64::from(n < load.jobs % LOADERS);
    let loaders = (0..LOADERS).map(|n| async move {
        let mut left = share(n);
        let own = if side == Side::Faultline { Some(Client::lazy(&room.url)?) } else { None };
        let hand = ByHand::new(room).await?;
        while left > 0 {
            let part = left.min(CHUNK);
            match &own {
                Some(client) => through_library(client, &new_jobs(client, part, load)?).await?,
                None => hand.insert(NOOP, &rows(part, load.payload_bytes)).await?,
            }
            left -= part;
        }
        Ok::<_, BenchError>(())
    });
    try_join_all(loaders).await?;
    if side != Side::Faultline && !load.delay.is_zero() {
        let later =
            format!("update by_hand.jobs set next_run_at = next_run_at + interval '{} s'", load.delay.as_secs());
        room.client.batch_execute(&later).await?;
    }
    Ok(())
}

/// Jobs as the library takes them.
pub(crate) fn new_jobs(client: &Client, count: u64, load: Load) -> Result<Vec<NewJob>> {
    let job = |_| {
        let job = client.enqueue_raw(NOOP, payload(load.payload_bytes)).queue(QUEUE).delay(load.delay);
        Ok(job.into_new_job()?)
    };
    (0..count).map(job).collect()
}

/// One statement and one commit for each thousand.
pub(crate) async fn through_library(client: &Client, jobs: &[NewJob]) -> Result<()> {
    for chunk in jobs.chunks(usize::try_from(CHUNK).unwrap_or(usize::MAX)) {
        let answers = client.enqueue_all(chunk).await?;
        if !answers.iter().all(|answer| matches!(answer, Enqueued::Created(_))) {
            return Err(BenchError::Void("a new job was answered as one that was there".into()));
        }
    }
    Ok(())
}

/// Rows as they are inserted by hand.
pub(crate) fn rows(count: u64, payload_bytes: usize) -> Vec<(Uuid, Box<RawValue>)> {
    (0..count).map(|_| (Uuid::now_v7(), payload(payload_bytes))).collect()
}

/// A session that inserts by hand.
pub(crate) struct ByHand {
    client: faultline::tokio_postgres::Client,
    many: faultline::tokio_postgres::Statement,
    one: faultline::tokio_postgres::Statement,
}

impl ByHand {
    pub(crate) async fn new(room: &Room) -> Result<Self> {
        let client = room.another().await?;
        let (many, one) = (client.prepare(by_hand::ENQUEUE).await?, client.prepare(by_hand::ENQUEUE_ONE).await?);
        Ok(Self { client, many, one })
    }

    /// One statement and one commit for each thousand.
    pub(crate) async fn insert(&self, kind: &str, rows: &[(Uuid, Box<RawValue>)]) -> Result<()> {
        for chunk in rows.chunks(usize::try_from(CHUNK).unwrap_or(usize::MAX)) {
            let ids: Vec<Uuid> = chunk.iter().map(|(id, _)| *id).collect();
            let payloads: Vec<Json<&RawValue>> = chunk.iter().map(|(_, payload)| Json(&**payload)).collect();
            self.client.execute(&self.many, &[&ids, &payloads, &kind]).await?;
        }
        Ok(())
    }

    /// One row and its commit.
    pub(crate) async fn insert_one(&self, kind: &str, payload: &RawValue) -> Result<()> {
        self.client.execute(&self.one, &[&Uuid::now_v7(), &Json(payload), &kind]).await?;
        Ok(())
    }

    /// One row with a notification, in one transaction and one round trip.
    pub(crate) async fn insert_and_notify(&self, kind: &str, payload: &RawValue) -> Result<()> {
        let notify = format!("notify {CHANNEL}");
        let (begun, inserted, notified, committed) = join4(
            self.client.batch_execute("begin"),
            self.insert_one(kind, payload),
            self.client.batch_execute(&notify),
            self.client.batch_execute("commit"),
        )
        .await;
        inserted.and(Ok(begun.and(notified).and(committed)?))
    }

    /// A notification in a transaction of its own, which takes no lock that inserts wait for.
    pub(crate) async fn notify(&self) -> Result<()> {
        Ok(self.client.batch_execute(&format!("notify {CHANNEL}")).await?)
    }
}
