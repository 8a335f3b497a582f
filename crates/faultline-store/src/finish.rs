//! The ways in which an attempt ends by its worker's word: complete, fail, release, snooze.
//!
//! Each names the lease. A statement that moves nothing for a pair of job and lease is not an error by itself: the attempt
//! may have been finished before (a repeated finish, answered as the first time), or the row changed at that instant and the
//! statement has to be repeated, or the lease is lost. [`finish`] sorts these out.

use crate::error::{Error, Result};
use crate::session::ClientWrapper;
use crate::statement::{confirm, query};
use faultline_core::{JobId, LeaseId, State};
use serde_json::value::RawValue;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::Json;
use uuid::Uuid;

const COMPLETE: &str = include_str!("../sql/complete.sql");
const FAIL: &str = include_str!("../sql/fail.sql");
const PUT_BACK: &str = include_str!("../sql/put_back.sql");
const FINISH_OUTCOME: &str = include_str!("../sql/finish_outcome.sql");

/// How often a finish is repeated for rows that change under it. Each repeat needs another change at that very instant.
const MAX_ROUNDS: usize = 8;

/// The end of one attempt.
#[derive(Debug, Clone)]
pub struct Finish {
    /// The job.
    pub id: JobId,
    /// The lease under which the attempt ran.
    pub lease_id: LeaseId,
    /// How it ended.
    pub ending: Ending,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub enum Ending {
    /// Well; the result is kept with the job. It must have passed [`faultline_core::json`].
    Complete(Option<Box<RawValue>>),
    /// Badly; the job is tried again after `delay` while attempts are left.
    Fail {
        /// The error, cleaned by [`faultline_core::text::storable`].
        error: String,
        /// The delay before the next attempt.
        delay: Duration,
    },
    /// Badly, for good.
    FailForGood {
        /// The error, cleaned by [`faultline_core::text::storable`].
        error: String,
        /// Why there is no further attempt, a word such as `fatal`.
        reason: &'static str,
    },
    /// Given back by the worker, not charged. Without a delay the job keeps its place in the queue.
    Release {
        /// The delay before it may be claimed again.
        delay: Option<Duration>,
        /// Why, for the timeline.
        reason: String,
    },
    /// The handler wants to be called again later; not charged.
    Snooze(Duration),
}

/// What became of a finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// The job is in this state by this attempt's word: `queued` when it was put back.
    Moved(State),
    /// The lease is no longer held: nothing was changed.
    LeaseLost,
}

/// Ends attempts of one queue; the answers stand in the order of `finishes`. Repeating it is safe and gives the same answers.
///
/// # Errors
/// After [`crate::Error::Indeterminate`] some of the statements may have been committed: repeat the call.
pub async fn finish(client: &ClientWrapper, queue: &str, finishes: &[impl Borrow<Finish>]) -> Result<Vec<Finished>> {
    let mut settled: HashMap<(JobId, LeaseId), Finished> = HashMap::new();
    let mut open: Vec<&Finish> = finishes.iter().map(Borrow::borrow).collect();
    open.sort_unstable_by_key(|finish| finish.id);
    for _ in 0..MAX_ROUNDS {
        let (completes, rest): (Vec<&Finish>, Vec<&Finish>) =
            open.iter().partition(|f| matches!(f.ending, Ending::Complete(_)));
        let (fails, backs): (Vec<&Finish>, Vec<&Finish>) =
            rest.iter().partition(|f| matches!(f.ending, Ending::Fail { .. } | Ending::FailForGood { .. }));
        // Pipelined: sent together, answered together.
        let (completed, failed, put_back) = tokio::try_join!(
            complete(client, queue, &completes),
            fail(client, queue, &fails),
            put_back(client, queue, &backs)
        )?;
        // The usual case, without looking up each: a statement answers no pair twice.
        if completed.len() == finishes.len() {
            return Ok(vec![Finished::Moved(State::Succeeded); finishes.len()]);
        }
        settled.extend(completed);
        settled.extend(failed);
        settled.extend(put_back);
        open.retain(|finish| !settled.contains_key(&(finish.id, finish.lease_id)));
        if open.is_empty() {
            break;
        }
        let unmoved: Vec<(JobId, LeaseId)> = open.iter().map(|finish| (finish.id, finish.lease_id)).collect();
        let known = outcomes(client, &unmoved).await?;
        if known.values().any(|state| *state != State::Running) {
            confirm(client).await?;
        }
        open.retain(|finish| match known.get(&(finish.id, finish.lease_id)) {
            Some(State::Running) => true,
            Some(state) => {
                settled.insert((finish.id, finish.lease_id), Finished::Moved(*state));
                false
            }
            None => {
                settled.insert((finish.id, finish.lease_id), Finished::LeaseLost);
                false
            }
        });
        if open.is_empty() {
            break;
        }
    }
    finishes
        .iter()
        .map(|finish| {
            let finish: &Finish = finish.borrow();
            let answer = settled.get(&(finish.id, finish.lease_id)).copied();
            answer.ok_or_else(|| Error::Indeterminate { reason: format!("job {} kept changing", finish.id) })
        })
        .collect()
}

/// What has become of one attempt, without ending it: how its finish would be answered if it was ended before, and `None`
/// while the lease is held.
///
/// # Errors
/// Those of the connection.
pub async fn look(client: &ClientWrapper, id: JobId, lease_id: LeaseId) -> Result<Option<Finished>> {
    let known = outcomes(client, &[(id, lease_id)]).await?;
    if known.values().any(|state| *state != State::Running) {
        confirm(client).await?;
    }
    Ok(match known.get(&(id, lease_id)) {
        Some(State::Running) => None,
        Some(state) => Some(Finished::Moved(*state)),
        None => Some(Finished::LeaseLost),
    })
}

type Moved = Vec<((JobId, LeaseId), Finished)>;

async fn complete(client: &ClientWrapper, queue: &str, finishes: &[&Finish]) -> Result<Moved> {
    if finishes.is_empty() {
        return Ok(Vec::new());
    }
    let (ids, leases) = pairs(finishes);
    let results: Vec<Option<Json<&RawValue>>> = finishes
        .iter()
        .map(|finish| if let Ending::Complete(result) = &finish.ending { result.as_deref().map(Json) } else { None })
        .collect();
    let rows = query(client, COMPLETE, &[&queue, &ids, &leases, &results]).await?;
    rows.iter().map(|row| Ok((pair(row)?, Finished::Moved(State::Succeeded)))).collect()
}

async fn fail(client: &ClientWrapper, queue: &str, finishes: &[&Finish]) -> Result<Moved> {
    if finishes.is_empty() {
        return Ok(Vec::new());
    }
    let (ids, leases) = pairs(finishes);
    let mut errors: Vec<&str> = Vec::with_capacity(finishes.len());
    let mut delays_ms: Vec<i64> = Vec::with_capacity(finishes.len());
    let mut reasons: Vec<Option<&str>> = Vec::with_capacity(finishes.len());
    for finish in finishes {
        let (error, delay_ms, reason) = match &finish.ending {
            Ending::Fail { error, delay } => (error.as_str(), faultline_core::job::millis(*delay), None),
            Ending::FailForGood { error, reason } => (error.as_str(), 0, Some(*reason)),
            Ending::Complete(_) | Ending::Release { .. } | Ending::Snooze(_) => ("", 0, None),
        };
        errors.push(error);
        delays_ms.push(delay_ms);
        reasons.push(reason);
    }
    let fatal: Vec<bool> = reasons.iter().map(Option::is_some).collect();
    let rows = query(client, FAIL, &[&queue, &ids, &leases, &errors, &delays_ms, &fatal, &reasons]).await?;
    rows.iter().map(moved).collect()
}

async fn put_back(client: &ClientWrapper, queue: &str, finishes: &[&Finish]) -> Result<Moved> {
    if finishes.is_empty() {
        return Ok(Vec::new());
    }
    let (ids, leases) = pairs(finishes);
    let mut delays_ms: Vec<Option<i64>> = Vec::with_capacity(finishes.len());
    let mut outcomes: Vec<&str> = Vec::with_capacity(finishes.len());
    let mut reasons: Vec<Option<&str>> = Vec::with_capacity(finishes.len());
    for finish in finishes {
        let (delay, outcome, reason) = match &finish.ending {
            Ending::Release { delay, reason } => (*delay, "released", Some(reason.as_str())),
            Ending::Snooze(delay) => (Some(*delay), "snoozed", None),
            Ending::Complete(_) | Ending::Fail { .. } | Ending::FailForGood { .. } => (None, "released", None),
        };
        delays_ms.push(delay.map(faultline_core::job::millis));
        outcomes.push(outcome);
        reasons.push(reason);
    }
    let rows = query(client, PUT_BACK, &[&queue, &ids, &leases, &delays_ms, &outcomes, &reasons]).await?;
    rows.iter().map(moved).collect()
}

async fn outcomes(client: &ClientWrapper, pairs: &[(JobId, LeaseId)]) -> Result<HashMap<(JobId, LeaseId), State>> {
    let (ids, leases): (Vec<Uuid>, Vec<Uuid>) = pairs.iter().map(|(id, lease_id)| (id.0, lease_id.0)).unzip();
    query(client, FINISH_OUTCOME, &[&ids, &leases]).await?.iter().map(|row| Ok((pair(row)?, state(row)?))).collect()
}

fn pairs(finishes: &[&Finish]) -> (Vec<Uuid>, Vec<Uuid>) {
    finishes.iter().map(|finish| (finish.id.0, finish.lease_id.0)).unzip()
}

fn pair(row: &Row) -> Result<(JobId, LeaseId)> {
    Ok((JobId(row.try_get(0)?), LeaseId(row.try_get(1)?)))
}

fn moved(row: &Row) -> Result<((JobId, LeaseId), Finished)> {
    Ok((pair(row)?, Finished::Moved(state(row)?)))
}

pub(crate) fn state(row: &Row) -> Result<State> {
    let text: &str = row.try_get("state")?;
    Ok(text.parse().expect("the type faultline.job_state has these values only"))
}
