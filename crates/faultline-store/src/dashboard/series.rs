//! What happened over time, from the rollups ([`crate::rollup`]).

use crate::error::Result;
pub use crate::rollup::ALL_QUEUES;
use crate::session::ClientWrapper;
use crate::statement::{query, query_opt};
use faultline_metrics::definitions::{LATENCY_S, LONG_S};
use jiff::{Timestamp, ToSpan};
use serde::Serialize;
use tokio_postgres::Row;

const SERIES: &str = include_str!("../../sql/series.sql");
const QUEUES: &str = include_str!("../../sql/series_of_queues.sql");
const COUNTED_TO: &str = include_str!("../../sql/counted_to.sql");

/// Queues that [`by_queue`] tells at most.
const MAX_QUEUES: i64 = 1000;

/// How finely time is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Width {
    /// 10 seconds; kept for 3 hours.
    TenSeconds,
    /// A minute; kept for 3 days.
    Minute,
    /// 10 minutes; kept as long as the history.
    TenMinutes,
}

impl Width {
    /// In seconds.
    pub fn seconds(self) -> i32 {
        match self {
            Self::TenSeconds => 10,
            Self::Minute => 60,
            Self::TenMinutes => 600,
        }
    }

    /// The finest that is kept for so long, and has some hundred spans in it at most.
    pub fn for_range(hours: f64) -> Self {
        match hours {
            hours if hours <= 2.0 => Self::TenSeconds,
            hours if hours <= 24.0 => Self::Minute,
            _ => Self::TenMinutes,
        }
    }
}

/// Numbers of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Events {
    /// Jobs enqueued, by the time in their ids; an estimate beyond 5,000 a second.
    pub enqueued: i64,
    /// Jobs that succeeded, as reported by workers.
    pub succeeded: i64,
    /// Jobs that failed for good.
    pub failed: i64,
    /// Jobs that were cancelled.
    pub cancelled: i64,
    /// Attempts that failed and are tried again.
    pub retried: i64,
    /// Attempts whose lease expired or whose worker was lost.
    pub lost: i64,
    /// Attempts given back or snoozed.
    pub put_back: i64,
}

impl Events {
    fn of(row: &Row) -> Result<Self> {
        Ok(Self {
            enqueued: row.try_get("enqueued")?,
            succeeded: row.try_get("succeeded")?,
            failed: row.try_get("failed")?,
            cancelled: row.try_get("cancelled")?,
            retried: row.try_get("retried")?,
            lost: row.try_get("lost")?,
            put_back: row.try_get("put_back")?,
        })
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            enqueued: self.enqueued + other.enqueued,
            succeeded: self.succeeded + other.succeeded,
            failed: self.failed + other.failed,
            cancelled: self.cancelled + other.cancelled,
            retried: self.retried + other.retried,
            lost: self.lost + other.lost,
            put_back: self.put_back + other.put_back,
        }
    }
}

/// Counts of durations by bucket.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Durations {
    /// The upper bounds of the buckets in seconds, rising.
    pub bounds_s: &'static [f64],
    /// How many lay within each bound and above the one before; the last counts what lay beyond all. Empty for none.
    pub counts: Vec<i64>,
}

impl Durations {
    /// How many there are.
    pub fn count(&self) -> i64 {
        self.counts.iter().sum()
    }

    /// The duration in seconds that this part of all (0 to 1) did not exceed, linear within its bucket, as Prometheus does; what lies
    /// beyond the last bound counts as that. None for none.
    pub fn quantile_s(&self, part: f64) -> Option<f64> {
        let count = self.count();
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52, and it is an estimate")]
        let (rank, as_f64) = (part.clamp(0.0, 1.0) * count as f64, |n: i64| n as f64);
        let mut below = 0;
        let mut lower = 0.0;
        for (bucket, upper) in self.counts.iter().zip(self.bounds_s) {
            if *bucket > 0 && as_f64(below + bucket) >= rank {
                return Some(lower + (upper - lower) * ((rank - as_f64(below)) / as_f64(*bucket)).clamp(0.0, 1.0));
            }
            below += bucket;
            lower = *upper;
        }
        (count > 0).then_some(lower)
    }

    /// Adds the counts of another with the same bounds.
    pub fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, more)| *sum += more);
    }
}

/// A span of time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// When it began.
    pub at: Timestamp,
    /// What happened in it.
    pub events: Events,
    /// How long first attempts had been due when they started.
    pub start_latency: Durations,
    /// How long handlers took.
    pub execution: Durations,
}

/// How far the rollups reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// Nothing was counted before.
    pub began_at: Timestamp,
    /// Everything before is counted; what comes after is still rising.
    pub counted_to: Timestamp,
    /// The database's time.
    pub now: Timestamp,
}

/// What happened over time.
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    /// How finely time is cut.
    pub width: Width,
    /// The first span asked for.
    pub from: Timestamp,
    /// The spans in which something happened, in order.
    pub points: Vec<Point>,
    /// How far they reach.
    pub reach: Reach,
}

/// How far the rollups reach: say "counted up to …" by this.
///
/// # Errors
/// Those of the connection.
pub async fn reach(client: &ClientWrapper) -> Result<Reach> {
    let row = query_opt(client, COUNTED_TO, &[]).await?;
    row.map_or(
        Ok(Reach { began_at: Timestamp::UNIX_EPOCH, counted_to: Timestamp::UNIX_EPOCH, now: Timestamp::UNIX_EPOCH }),
        |row| {
            Ok(Reach {
                began_at: row.try_get("began_at")?,
                counted_to: row.try_get("counted_to")?,
                now: row.try_get("now")?,
            })
        },
    )
}

/// What happened in a queue, or in [`ALL_QUEUES`], within the last so many minutes, at most 30 days. Reads one row a span.
///
/// # Errors
/// Those of the connection.
pub async fn series(client: &ClientWrapper, queue: &str, minutes: u32) -> Result<Series> {
    let minutes = minutes.clamp(1, 30 * 24 * 60);
    let width = Width::for_range(f64::from(minutes) / 60.0);
    let reach = reach(client).await?;
    let from = floor(reach.now - i64::from(minutes).minutes(), width);
    let points = query(client, SERIES, &[&width.seconds(), &queue, &from, &reach.now])
        .await?
        .iter()
        .map(|row| {
            let durations =
                |column, bounds_s| -> Result<Durations> { Ok(Durations { bounds_s, counts: row.try_get(column)? }) };
            Ok(Point {
                at: row.try_get("at")?,
                events: Events::of(row)?,
                start_latency: durations("start_latency", LATENCY_S)?,
                execution: durations("execution", LONG_S)?,
            })
        })
        .collect::<Result<_>>()?;
    Ok(Series { width, from, points, reach })
}

/// What happened in one queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueEvents {
    /// Its name.
    pub queue: String,
    /// What happened.
    pub events: Events,
}

/// What happened in each queue within the last so many minutes, at most 120, busiest first.
///
/// # Errors
/// Those of the connection.
pub async fn by_queue(client: &ClientWrapper, minutes: u32) -> Result<Vec<QueueEvents>> {
    let minutes = minutes.clamp(1, 120);
    let width = if minutes <= 10 { Width::TenSeconds } else { Width::Minute };
    let now = reach(client).await?.now;
    let from = floor(now - i64::from(minutes).minutes(), width);
    query(client, QUEUES, &[&width.seconds(), &from, &now, &MAX_QUEUES])
        .await?
        .iter()
        .map(|row| Ok(QueueEvents { queue: row.try_get("queue")?, events: Events::of(row)? }))
        .collect()
}

/// The beginning of the span that the time lies in.
fn floor(at: Timestamp, width: Width) -> Timestamp {
    let seconds = at.as_second();
    Timestamp::from_second(seconds - seconds.rem_euclid(i64::from(width.seconds()))).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durations(counts: &[i64]) -> Durations {
        Durations { bounds_s: &[1.0, 2.0, 4.0], counts: counts.to_vec() }
    }

    #[test]
    fn a_quantile_lies_within_the_bucket_that_has_it() {
        let some = durations(&[10, 0, 10, 0]);
        assert_eq!(some.quantile_s(0.25), Some(0.5));
        assert_eq!(some.quantile_s(0.75), Some(3.0));
        assert_eq!(some.quantile_s(1.0), Some(4.0));
        assert_eq!(durations(&[0, 0, 0, 5]).quantile_s(0.5), Some(4.0), "beyond the last bound");
        assert_eq!(durations(&[]).quantile_s(0.5), None);
        assert_eq!(durations(&[0, 0, 0, 0]).quantile_s(0.5), None);
    }

    #[test]
    fn a_longer_range_is_cut_more_coarsely() {
        assert_eq!(Width::for_range(1.0), Width::TenSeconds);
        assert_eq!(Width::for_range(24.0), Width::Minute);
        assert_eq!(Width::for_range(24.5), Width::TenMinutes);
        let at = Timestamp::from_second(1_700_000_123).unwrap();
        assert_eq!(floor(at, Width::TenMinutes), Timestamp::from_second(1_699_999_800).unwrap());
    }
}
