//! Depths of queues for people: exact as far as a bound, beyond it estimated from the server's statistics.

use crate::error::Result;
use crate::reap::queue_names;
use crate::session::ClientWrapper;
use crate::statement::query;
use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Row;

const QUEUES: &str = include_str!("../../sql/dashboard_queues.sql");

/// Rows that one look reads at most, shared between the queues; the slots of all workers come on top. With a look each
/// two seconds it costs the database less than a hundredth of a core.
pub const MAX_ROWS: i64 = 10_000;
/// Rows of one queue, priority and side of now: at most, and at least however many queues there are.
const ROWS: std::ops::RangeInclusive<i64> = 25..=10_000;
/// Queues that are looked at, the first by name.
pub const MAX_QUEUES: usize = 1000;
/// Slots that a look allows for in each queue and priority: more workers than that run more than is seen.
const MAX_SLOTS: i64 = 2000;

/// How a number is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Counted.
    Exact,
    /// Counted as far as the bound: there are more.
    AtLeast,
    /// From the statistics of the server, which are as old as its last look at the table: "about".
    About,
}

/// A number of jobs and how it is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The number.
    pub jobs: i64,
    /// How it is to be read.
    pub precision: Precision,
}

impl Count {
    /// A number that was counted to the end.
    pub fn exact(jobs: i64) -> Self {
        Self { jobs, precision: Precision::Exact }
    }

    fn at_least(jobs: i64) -> Self {
        Self { jobs, precision: Precision::AtLeast }
    }

    /// Both together: as little to be relied on as the worse of the two.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let rank = |count: Self| match count.precision {
            Precision::Exact => 0,
            Precision::About => 1,
            Precision::AtLeast => 2,
        };
        let precision = if rank(self) >= rank(other) { self.precision } else { other.precision };
        Self { jobs: self.jobs.saturating_add(other.jobs), precision }
    }
}

/// What stands in one queue.
#[derive(Debug, Clone, Serialize)]
pub struct QueueNow {
    /// Its name.
    pub name: String,
    /// Since when no claim takes from it.
    pub paused_at: Option<Timestamp>,
    /// Why, in the operator's words.
    pub paused_reason: Option<String>,
    /// Jobs that could start now.
    pub due: Count,
    /// Jobs that wait for their first start.
    pub scheduled: Count,
    /// Jobs that wait after an attempt.
    pub retrying: Count,
    /// Jobs under a lease.
    pub running: Count,
    /// Since when the oldest due job has been due, as far as the bound reaches.
    pub oldest_due_at: Option<Timestamp>,
    /// The same in seconds, on the database's clock.
    pub oldest_due_s: Option<f64>,
    /// Live workers that poll it.
    pub workers: i64,
    /// The slots of those workers; one that polls several queues counts whole for each.
    pub slots: i64,
}

/// All queues at one look.
#[derive(Debug, Clone, Serialize)]
pub struct QueuesNow {
    /// Each of them, by name; at most [`MAX_QUEUES`].
    pub queues: Vec<QueueNow>,
    /// How many there are by name, of which only [`MAX_QUEUES`] were looked at.
    pub known: usize,
}

impl QueuesNow {
    /// Over all queues: due, scheduled, retrying, running.
    pub fn totals(&self) -> [Count; 4] {
        let sum = |of: fn(&QueueNow) -> Count| self.queues.iter().map(of).fold(Count::exact(0), Count::plus);
        [sum(|q| q.due), sum(|q| q.scheduled), sum(|q| q.retrying), sum(|q| q.running)]
    }
}

/// Every queue that is known, or the one that is named. `slots` is how many jobs all workers can run at once
/// ([`crate::observe::fleet`]).
///
/// # Errors
/// Those of the connection.
pub async fn queues(client: &ClientWrapper, only: Option<&str>, slots: i64) -> Result<QueuesNow> {
    let mut names = match only {
        Some(name) => vec![name.to_owned()],
        None => queue_names(client).await?,
    };
    let known = names.len();
    names.truncate(MAX_QUEUES);
    let rows = rows_each(names.len());
    let slots = slots.clamp(0, MAX_SLOTS);
    let queues = query(client, QUEUES, &[&names, &rows, &slots]).await?.iter().map(queue_now).collect::<Result<_>>()?;
    Ok(QueuesNow { queues, known })
}

/// Rows of each queue, priority and side of now.
fn rows_each(queues: usize) -> i64 {
    let scans = 8 * i64::try_from(queues.max(1)).unwrap_or(i64::MAX);
    (MAX_ROWS / scans).clamp(*ROWS.start(), *ROWS.end())
}

fn queue_now(row: &Row) -> Result<QueueNow> {
    let counted = Counted {
        due: row.try_get("due")?,
        running: row.try_get("running")?,
        scheduled: row.try_get("scheduled")?,
        retrying: row.try_get("retrying")?,
        now_bounded: row.try_get("now_bounded")?,
        later_bounded: row.try_get("later_bounded")?,
        estimate: row.try_get("estimate")?,
    };
    let [due, scheduled, retrying, running] = counted.counts();
    Ok(QueueNow {
        name: row.try_get("name")?,
        paused_at: row.try_get("paused_at")?,
        paused_reason: row.try_get("paused_reason")?,
        due,
        scheduled,
        retrying,
        running,
        oldest_due_at: row.try_get("oldest_due_at")?,
        oldest_due_s: row.try_get("oldest_due_s")?,
        workers: row.try_get("workers")?,
        slots: row.try_get("slots")?,
    })
}

/// What was counted of a queue, and what the statistics say of the whole of it.
#[derive(Debug, Clone, Copy)]
struct Counted {
    due: i64,
    running: i64,
    scheduled: i64,
    retrying: i64,
    now_bounded: bool,
    later_bounded: bool,
    estimate: Option<i64>,
}

impl Counted {
    /// Due, scheduled, retrying, running. The estimate is of all of them together, so that it helps where one side alone was cut;
    /// it is taken only where it says more than was counted.
    fn counts(self) -> [Count; 4] {
        let seen = self.due + self.running + self.scheduled + self.retrying;
        let beyond = self.estimate.map(|estimate| estimate - seen).filter(|beyond| *beyond > 0);
        let cut = |jobs, is_cut: bool| if is_cut { Count::at_least(jobs) } else { Count::exact(jobs) };
        let about = |jobs| Count { jobs, precision: Precision::About };
        let [mut due, mut scheduled, mut retrying] = [
            cut(self.due, self.now_bounded),
            cut(self.scheduled, self.later_bounded),
            cut(self.retrying, self.later_bounded),
        ];
        match (beyond, self.now_bounded, self.later_bounded) {
            (Some(beyond), true, false) => due = about(self.due + beyond),
            (Some(beyond), false, true) => {
                // Shared out as what was seen: the soonest are not a fair sample, but the only one.
                let later = (self.scheduled + self.retrying).max(1);
                let more_scheduled = i64::try_from(i128::from(beyond) * i128::from(self.scheduled) / i128::from(later))
                    .unwrap_or(beyond);
                scheduled = about(self.scheduled + more_scheduled);
                retrying = about(self.retrying + beyond - more_scheduled);
            }
            _ => {}
        }
        // More of what runs may lie behind the bound only where nothing but running jobs was seen before it.
        let running = cut(self.running, self.now_bounded && self.due == 0);
        [due, scheduled, retrying, running]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Counted = Counted {
        due: 100,
        running: 5,
        scheduled: 30,
        retrying: 10,
        now_bounded: false,
        later_bounded: false,
        estimate: Some(9000),
    };

    fn said(counted: Counted) -> Vec<(i64, Precision)> {
        counted.counts().iter().map(|count| (count.jobs, count.precision)).collect()
    }

    #[test]
    fn what_was_counted_to_the_end_is_exact_whatever_the_statistics_say() {
        let exact = [100, 30, 10, 5].map(|jobs| (jobs, Precision::Exact));
        assert_eq!(said(SEEN), exact);
    }

    #[test]
    fn the_side_that_was_cut_takes_what_the_statistics_know_of_beyond_what_was_seen() {
        let due = said(Counted { now_bounded: true, ..SEEN });
        assert_eq!(due[0], (8955, Precision::About));
        assert_eq!(due[1], (30, Precision::Exact));
        let later = said(Counted { later_bounded: true, ..SEEN });
        assert_eq!(later[0], (100, Precision::Exact));
        assert_eq!(later[1].0 + later[2].0, 9000 - 105);
        assert!(later[1].0 > later[2].0 && later[1].1 == Precision::About);
    }

    #[test]
    fn without_statistics_or_with_older_ones_a_bound_is_a_bound() {
        for estimate in [None, Some(20)] {
            assert_eq!(said(Counted { now_bounded: true, estimate, ..SEEN })[0], (100, Precision::AtLeast));
        }
        let both = said(Counted { now_bounded: true, later_bounded: true, ..SEEN });
        assert_eq!(both[0], (100, Precision::AtLeast));
        assert_eq!(both[2], (10, Precision::AtLeast));
    }

    #[test]
    fn a_sum_is_as_weak_as_its_weakest_part() {
        let about = Count { jobs: 1, precision: Precision::About };
        assert_eq!(Count::exact(1).plus(about).precision, Precision::About);
        assert_eq!(about.plus(Count::at_least(3)), Count::at_least(4));
    }

    #[test]
    fn many_queues_share_the_rows_of_a_look() {
        assert_eq!(rows_each(1), 1250);
        assert_eq!(rows_each(0), 1250);
        assert_eq!(rows_each(1000), 25);
    }
}
