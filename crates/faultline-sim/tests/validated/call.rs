//! The calls, drawn at random. What Postgres has answered so far says which jobs are held, so that many calls succeed.

use crate::side::Side;
use faultline_core::{JobId, LeaseId};
use faultline_store::finish::{Ending, Finish};
use rand::RngExt;
use rand::rngs::StdRng;
use std::time::Duration;
use uuid::Uuid;

pub(crate) const QUEUES: [&str; 2] = ["one", "two"];
pub(crate) const WORKERS: usize = 3;
const JOBS: u128 = 24;

#[derive(Debug, Clone)]
pub(crate) enum Call {
    /// One job for each priority of a batch, so that their order is never left to chance.
    Enqueue {
        ids: Vec<u128>,
        queue: &'static str,
        delay: Duration,
        max_attempts: i32,
    },
    Claim {
        queue: &'static str,
        worker: usize,
        lease: LeaseId,
        ttl: Duration,
        limit: usize,
        from_head: bool,
    },
    Recover {
        queue: &'static str,
        lease: LeaseId,
        look_at: i64,
    },
    Renew {
        queue: &'static str,
        pairs: Vec<(JobId, LeaseId)>,
        ttl: Duration,
    },
    Finish {
        queue: &'static str,
        finishes: Vec<Finish>,
    },
    Look {
        id: JobId,
        lease: LeaseId,
    },
    Watch {
        queues: Vec<String>,
        look_at: i64,
    },
    Reap {
        queues: Vec<String>,
        workers: Vec<usize>,
        look_at: i64,
    },
    Bury {
        queues: Vec<String>,
        workers: Vec<usize>,
        look_at: i64,
    },
    QueueNames,
    Register {
        worker: usize,
    },
    Heartbeat {
        worker: usize,
    },
    StopWorker {
        worker: usize,
    },
    /// The worker's session ends.
    Vanish {
        worker: usize,
    },
    Cancel {
        id: JobId,
    },
    Prune,
    Advance {
        hours: u64,
    },
    Restart,
}

fn hours(random: &mut StdRng, most: u64) -> Duration {
    Duration::from_secs(3600 * random.random_range(0..=most))
}

fn one<T: Clone>(random: &mut StdRng, of: &[T]) -> T {
    of[random.random_range(0..of.len())].clone()
}

fn some<T: Clone>(random: &mut StdRng, of: &[T]) -> Vec<T> {
    of.iter().filter(|_| random.random_bool(0.7)).cloned().collect()
}

fn queues(random: &mut StdRng) -> Vec<String> {
    some(random, &QUEUES).into_iter().map(str::to_owned).collect()
}

/// Pairs that were true once, each job at most once, and now and then a wrong one.
fn pairs(random: &mut StdRng, side: &Side) -> Vec<(JobId, LeaseId)> {
    let mut pairs: Vec<(JobId, LeaseId)> = Vec::new();
    for (id, lease) in side.claimed.iter().rev().take(8) {
        if random.random_bool(0.5) && pairs.iter().all(|(known, _)| known != id) {
            pairs.push((*id, *lease));
        }
    }
    if random.random_bool(0.2)
        && let Some((_, lease)) = side.claimed.first()
    {
        let id = job(random);
        if pairs.iter().all(|(known, _)| *known != id) {
            pairs.push((id, *lease));
        }
    }
    pairs
}

fn job(random: &mut StdRng) -> JobId {
    JobId(Uuid::from_u128(random.random_range(1..=JOBS)))
}

/// Delays differ within a batch.
fn ending(random: &mut StdRng, place: u64) -> Ending {
    let delay = Duration::from_secs(3600 * place);
    match random.random_range(0..6) {
        0 | 1 => Ending::Complete(None),
        2 => Ending::Fail { error: "no".into(), delay },
        3 => Ending::FailForGood { error: "never".into(), reason: "fatal" },
        4 => Ending::Release { delay: random.random_bool(0.5).then_some(delay), reason: "back".into() },
        _ => Ending::Snooze(delay),
    }
}

impl Call {
    pub(crate) fn draw(random: &mut StdRng, side: &Side) -> Self {
        let queue = one(random, &QUEUES);
        let worker = random.random_range(0..WORKERS);
        let look_at = one(random, &[1, 2, 1000, 1000]);
        match random.random_range(0..31) {
            0..=4 => {
                let count = random.random_range(1..=4);
                let mut ids: Vec<u128> = (0..count).map(|_| random.random_range(1..=JOBS)).collect();
                ids.sort_unstable();
                ids.dedup();
                Self::Enqueue { ids, queue, delay: hours(random, 2), max_attempts: random.random_range(1..=3) }
            }
            5..=9 => Self::Claim {
                queue,
                worker,
                lease: LeaseId::new(random),
                ttl: hours(random, 3),
                limit: random.random_range(1..=4),
                from_head: random.random_bool(0.5),
            },
            10 => {
                let lease = side.claimed.last().map_or_else(|| LeaseId::new(random), |(_, lease)| *lease);
                Self::Recover { queue, lease, look_at }
            }
            11 | 12 => Self::Renew { queue, pairs: pairs(random, side), ttl: hours(random, 3) },
            13..=15 => {
                let pairs = pairs(random, side);
                let finishes = (0..).zip(pairs);
                let finishes = finishes.map(|(at, (id, lease_id))| Finish { id, lease_id, ending: ending(random, at) });
                Self::Finish { queue, finishes: finishes.collect() }
            }
            16 => {
                let pair = side.claimed.first().copied();
                let (id, lease) = pair.unwrap_or_else(|| (job(random), LeaseId::new(random)));
                Self::Look { id, lease }
            }
            17 | 18 => Self::Watch { queues: queues(random), look_at },
            19 | 20 => Self::Reap { queues: queues(random), workers: some(random, &[0, 1, 2]), look_at },
            21 => Self::Bury { queues: queues(random), workers: some(random, &[0, 1, 2]), look_at },
            22 => Self::QueueNames,
            23 => Self::Register { worker },
            24 => Self::Heartbeat { worker },
            25 => one(random, &[Self::StopWorker { worker }, Self::Vanish { worker }, Self::Vanish { worker }]),
            26 | 30 => {
                let running = side.claimed.last().filter(|_| random.random_bool(0.7)).map(|(id, _)| *id);
                Self::Cancel { id: running.unwrap_or_else(|| job(random)) }
            }
            27 => one(random, &[Self::Prune, Self::Advance { hours: 25 }]),
            28 => Self::Advance { hours: random.random_range(1..=3) },
            _ if random.random_bool(0.3) => Self::Restart,
            _ => Self::Register { worker },
        }
    }
}
