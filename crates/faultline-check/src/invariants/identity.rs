//! 1 to 6: what was acknowledged is there, what was refused is not, and a key has one job.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use uuid::Uuid;

use crate::ground::Ground;
use crate::verdict::{Findings, Found, NotCheckable};
use crate::witness::{Action, Answer, Operation, Phase};

/// Invariant 1.
pub(super) fn no_lost_ack(ground: &Ground<'_>) -> Found {
    acked_jobs_exist(ground, Answer::Created, "was acknowledged as created, but does not exist at the end")
}

/// Invariant 6.
pub(super) fn a_duplicates_ok_is_durable(ground: &Ground<'_>) -> Found {
    acked_jobs_exist(ground, Answer::Duplicate, "was acknowledged to a duplicate, but does not exist at the end")
}

fn acked_jobs_exist(ground: &Ground<'_>, answer: Answer, what: &str) -> Found {
    let existing = ground.existing()?;
    // Where the old primary can be asked, each acknowledgement that the failover took must be found there.
    let old = ground.old().map(|old| old.existing()).transpose()?;
    let left_behind =
        |job: &Uuid| ground.run.asynchronous_failover && old.as_ref().is_some_and(|old| old.contains(job));
    let mut found = Findings::default();
    for operation in ground.operations(Action::Enqueue)?.iter().filter(|o| o.is(Phase::Ok, answer)) {
        let Some(job) = operation.record.job else { continue };
        found.examine();
        if !existing.contains(&job) && !left_behind(&job) {
            found.violated(Some(job), what, &[operation]);
        }
    }
    if found.count > 0 && ground.run.asynchronous_failover && old.is_none() {
        let reason = format!("{} acknowledgements were lost in the asynchronous failover, see lost_acks", found.count);
        return Err(NotCheckable(reason));
    }
    Ok(found)
}

/// The acknowledged jobs that are gone.
pub(super) fn lost_acks(ground: &Ground<'_>) -> BTreeSet<Uuid> {
    let (Ok(existing), Ok(operations)) = (ground.existing(), ground.operations(Action::Enqueue)) else {
        return BTreeSet::new();
    };
    let acked = operations.iter().filter(|o| o.record.phase == Phase::Ok).filter_map(|o| o.record.job);
    acked.filter(|job| !existing.contains(job)).collect()
}

/// Invariant 2. An enqueue that names neither a job nor a key, and whose end nobody knows, explains one job that nobody else asked for.
pub(super) fn no_phantom(ground: &Ground<'_>) -> Found {
    let operations = ground.operations(Action::Enqueue)?;
    let asked: HashSet<Uuid> = operations.iter().filter_map(|o| o.record.job).collect();
    let keys: HashSet<&str> = operations.iter().filter_map(|o| o.record.key.as_deref()).collect();
    let mut unnamed = operations.iter().filter(|o| o.record.job.is_none() && o.may_have_happened()).count();
    let key_of: HashMap<Uuid, &str> = match ground.end() {
        Ok(rows) => rows.iter().filter_map(|row| Some((row.job, row.key.as_deref()?))).collect(),
        Err(_) => HashMap::new(),
    };
    let mut found = Findings::default();
    let mut jobs = ground.existing()?;
    if let Ok(lives) = ground.lives() {
        jobs.extend(lives.map(|life| life.job));
    }
    for job in jobs {
        found.examine();
        let explained = asked.contains(&job) || key_of.get(&job).is_some_and(|key| keys.contains(key));
        if explained {
            continue;
        }
        if unnamed > 0 {
            unnamed -= 1;
            continue;
        }
        found.violated(Some(job), "exists, but nobody asked for it", &[]);
    }
    Ok(found)
}

/// Invariant 3. A repeat with the same id may have happened instead.
pub(super) fn fail_means_fail(ground: &Ground<'_>) -> Found {
    let mut found = Findings::default();
    let enqueues = ground.operations(Action::Enqueue)?;
    let explained: HashSet<Uuid> =
        enqueues.iter().filter(|o| o.may_have_happened()).filter_map(|o| o.record.job).collect();
    let existing = ground.existing()?;
    // A conflict names the job that holds the key; invariant 5 judges it.
    let failed = enqueues.iter().filter(|o| o.record.phase == Phase::Fail && o.record.answer != Some(Answer::Conflict));
    for operation in failed {
        let Some(job) = operation.record.job else { continue };
        found.examine();
        if existing.contains(&job) && !explained.contains(&job) {
            found.violated(Some(job), "its enqueue was answered as failed, but it exists", &[operation]);
        }
    }
    let finishes = ground.operations(Action::Finish)?;
    let explained: HashSet<(Uuid, Uuid)> =
        finishes.iter().filter(|o| o.may_have_happened()).filter_map(|o| o.held()).collect();
    // A lost lease is a fence's answer; invariant 15 judges it.
    let failed =
        finishes.iter().filter(|o| o.record.phase == Phase::Fail && o.record.answer != Some(Answer::LeaseLost));
    for operation in failed {
        let Some((job, lease)) = operation.held() else { continue };
        found.examine();
        if let Some(event) = ground.left_under(job, lease)
            && !event.reason.is_reap()
            && !explained.contains(&(job, lease))
        {
            found.violated(Some(job), "its finish was answered as failed, but took place", &[operation, event]);
        }
    }
    Ok(found)
}

/// Invariant 4.
pub(super) fn one_job_a_key(ground: &Ground<'_>) -> Found {
    let mut jobs: BTreeMap<(&str, &str), BTreeMap<Uuid, Option<i64>>> = BTreeMap::new();
    let operations = ground.operations(Action::Enqueue)?;
    for operation in operations.iter().filter(|o| o.record.phase == Phase::Ok) {
        let r = &operation.record;
        if let (Some(queue), Some(key), Some(job)) = (r.queue.as_deref(), r.key.as_deref(), r.job) {
            let created = ground.life(job).map(|life| life.events[0].at_us);
            jobs.entry((queue, key)).or_default().insert(job, created);
        }
    }
    for row in ground.end().unwrap_or_default() {
        if let Some(key) = row.key.as_deref() {
            jobs.entry((&row.queue, key)).or_default().insert(row.job, Some(row.created_us));
        }
    }
    let mut found = Findings::default();
    for ((queue, key), jobs) in jobs {
        found.examine();
        // One that is gone has no time; it counts as inside of the window.
        let mut times: Vec<(Option<i64>, Uuid)> = jobs.into_iter().map(|(job, at)| (at, job)).collect();
        // Unless it went with a failover, and its key with it.
        times.retain(|(at, _)| at.is_some() || !ground.run.asynchronous_failover);
        times.sort_unstable();
        let close = times.windows(2).find(|pair| match (pair[0].0, pair[1].0) {
            (Some(first), Some(second)) => second - first < ground.run.key_ttl_us,
            _ => true,
        });
        if let Some(pair) = close {
            let other = format!("the other is job {}", pair[0].1);
            found.violated(Some(pair[1].1), format!("two jobs for one key in queue {queue}: {key:?}"), &[&other]);
        }
    }
    Ok(found)
}

/// Invariant 5. A request that was accepted under a key is the same as the one that made the job, and a conflict has another
/// request to conflict with. A job that a conflict left behind would be the key's second, invariant 4.
pub(super) fn another_request_conflicts(ground: &Ground<'_>) -> Found {
    let operations = ground.operations(Action::Enqueue)?;
    let mut by_key: BTreeMap<(&str, &str), Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        let r = &operation.record;
        if let (Some(queue), Some(key), Some(_)) = (r.queue.as_deref(), r.key.as_deref(), &r.fingerprint) {
            by_key.entry((queue, key)).or_default().push(operation);
        }
    }
    let mut found = Findings::default();
    for operations in by_key.values().filter(|operations| operations.len() > 1) {
        let mut accepted: HashMap<Uuid, &Operation> = HashMap::new();
        for operation in operations {
            found.examine();
            let r = &operation.record;
            if r.answer == Some(Answer::Conflict) {
                let other = operations.iter().any(|o| o.may_have_happened() && o.record.fingerprint != r.fingerprint);
                if !other {
                    found.violated(r.job, "was a conflict for a request that is the same as all others", &[operation]);
                }
            } else if let (Phase::Ok, Some(job)) = (r.phase, r.job) {
                let first = accepted.entry(job).or_insert(operation);
                if first.record.fingerprint != r.fingerprint {
                    found.violated(Some(job), "was the answer to two different requests", &[first, operation]);
                }
            }
        }
    }
    Ok(found)
}
