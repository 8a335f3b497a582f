//! Watch, reap, and the workers' signs of life.

use super::jobs::Floor;
use super::{Presence, Store, Worker};
use crate::log::Event;
use jiff::Timestamp;
use std::collections::BTreeSet;
use uuid::Uuid;

const PRIORITIES: std::ops::RangeInclusive<i16> = 1..=4;

/// One row of `watch.sql`.
pub(super) struct Seen {
    pub(super) queue: String,
    pub(super) priority: i16,
    pub(super) due: bool,
    pub(super) running: bool,
    pub(super) expired: Vec<Uuid>,
    pub(super) first: Option<(Timestamp, i32)>,
    pub(super) next_due_in_ms: Option<i64>,
}

/// One row of `reap.sql`.
pub(super) struct Reaped {
    pub(super) id: Uuid,
    pub(super) state: &'static str,
    pub(super) queue: String,
    pub(super) owner: Uuid,
    pub(super) lease: &'static str,
    pub(super) reason: &'static str,
    pub(super) expired_s: Option<f64>,
}

/// What `watch.sql` says of the workers, in every row.
pub(super) struct Fleet {
    pub(super) absent: Vec<Uuid>,
    pub(super) not_back: Vec<Uuid>,
    pub(super) workers: i64,
    pub(super) slots: i64,
}

impl Store {
    pub(super) fn watch(&self, queues: Vec<String>, floors: &[Floor], look_at: usize, now: Timestamp) -> Vec<Seen> {
        let mut seen = Vec::with_capacity(queues.len());
        for (queue, &(priority, time, tie)) in queues.into_iter().zip(floors) {
            let mut looked_at = self.due(&queue, priority, now);
            looked_at.retain(|job| (job.next_run_at, job.tie) > (time, tie));
            looked_at.truncate(look_at);
            let due = looked_at.iter().any(|job| job.lease.is_none());
            let running = looked_at.iter().any(|job| job.lease.is_some());
            let leases = looked_at.iter().filter_map(|job| job.lease.as_ref()).filter(|lease| lease.expires_at < now);
            let expired: BTreeSet<Uuid> = leases.map(|lease| lease.owner).collect();
            let expired = expired.into_iter().collect();
            let first = looked_at.first().map(|job| (job.next_run_at, job.tie));
            let waiting = self.in_order(&queue, priority).into_iter().map(|job| job.next_run_at);
            let next_due_in_ms = waiting.filter(|at| *at > now).min().map(|at| rounded_ms(now, at));
            seen.push(Seen { priority, due, running, expired, first, next_due_in_ms, queue });
        }
        seen
    }

    pub(super) fn fleet(&self) -> Fleet {
        let present = self.workers.iter().filter(|(_, worker)| !worker.is_stopped);
        let mut fleet = Fleet { absent: Vec::new(), not_back: Vec::new(), workers: 0, slots: 0 };
        for (id, worker) in present {
            fleet.workers += 1;
            fleet.slots += i64::from(worker.slots);
            let Some(presence) = worker.presence else { continue };
            if presence.server != self.server_started_at {
                fleet.not_back.push(*id);
            } else if !self.is_present(presence) {
                fleet.absent.push(*id);
            }
        }
        fleet
    }

    pub(super) fn reap(
        &mut self,
        queues: &[String],
        missed: &[Uuid],
        look_at: usize,
        limit: usize,
        now: Timestamp,
    ) -> Vec<Reaped> {
        let absent: BTreeSet<Uuid> = missed.iter().copied().filter(|id| self.is_absent(*id)).collect();
        let mut candidates: Vec<(Uuid, Uuid)> = Vec::new();
        for queue in queues {
            for priority in PRIORITIES {
                for job in self.in_order(queue, priority).into_iter().take(look_at) {
                    let Some(lease) = &job.lease else { continue };
                    let is_lost = lease.expires_at < now || absent.contains(&lease.owner);
                    if missed.contains(&lease.owner) && is_lost {
                        candidates.push((lease.owner, job.id));
                    }
                }
            }
        }
        candidates.sort_unstable();
        // All of a worker or none: rank() of the window gives all of its jobs the number of the first.
        let mut fallen: Vec<(Uuid, Uuid)> = candidates
            .iter()
            .filter(|(owner, _)| candidates.partition_point(|(other, _)| other < owner) < limit)
            .copied()
            .collect();
        fallen.sort_unstable_by_key(|(_, id)| *id);
        let crashes = |id: &Uuid| self.jobs[id].crashes;
        let judged: Vec<(Uuid, bool, bool)> = fallen
            .iter()
            .map(|(owner, id)| {
                let of_worker = || fallen.iter().filter(|(other, _)| other == owner).map(|(_, id)| crashes(id));
                let is_suspect = of_worker().max() == Some(crashes(id));
                let with_as_many = of_worker().filter(|other| *other == crashes(id)).count();
                (*id, is_suspect, is_suspect && (crashes(id) != 1 || with_as_many == 1))
            })
            .collect();
        judged.into_iter().map(|(id, is_suspect, is_charged)| self.reap_one(id, is_suspect, is_charged, now)).collect()
    }

    fn reap_one(&mut self, id: Uuid, is_suspect: bool, is_charged: bool, now: Timestamp) -> Reaped {
        let job = self.jobs.get_mut(&id).expect("it was looked at in this statement");
        let lease = job.lease.clone().expect("it was running when it was looked at");
        job.crashes += i32::from(is_suspect);
        let is_cancelled = job.is_cancel_requested;
        let (is_over, next_run_at) = (is_charged && job.attempts >= job.max_attempts, job.next_run_at.min(now));
        let outcome = if lease.expires_at < now { "expired" } else { "lost" };
        let queue = job.queue.clone();
        let expired_s = now.duration_since(lease.expires_at).as_secs_f64();
        let (state, reason, expired_s) = if is_cancelled {
            self.end(id, now, "cancelled", Some("worker_lost".into()));
            ("cancelled", "worker_lost", None)
        } else if is_over {
            self.end(id, now, "failed", Some("crash_loop".into()));
            ("failed", "crash_loop", None)
        } else {
            self.put(id, next_run_at, is_charged, outcome);
            ("queued", outcome, Some(expired_s))
        };
        self.events.push(Event::Reaped { job: id, lease: lease.id, owner: lease.owner, outcome, is_charged, state });
        Reaped { id, state, queue, owner: lease.owner, lease: outcome, reason, expired_s }
    }

    fn is_absent(&self, id: Uuid) -> bool {
        self.workers.get(&id).is_some_and(|worker| {
            !worker.is_stopped && worker.presence.is_some_and(|presence| !self.is_present(presence))
        })
    }

    pub(super) fn queues_of_workers(&self, ids: &[Uuid]) -> BTreeSet<String> {
        let named = ids.iter().filter_map(|id| self.workers.get(id)).filter(|worker| !worker.is_stopped);
        named.flat_map(|worker| worker.queues.iter().cloned()).collect()
    }

    pub(super) fn bury(&mut self, ids: &[Uuid], queues: &[String], look_at: usize) -> Vec<Uuid> {
        let held = queues.iter().flat_map(|queue| {
            PRIORITIES.flat_map(|priority| self.in_order(queue, priority).into_iter().take(look_at).collect::<Vec<_>>())
        });
        let holders: BTreeSet<Uuid> = held.filter_map(|job| job.lease.as_ref()).map(|lease| lease.owner).collect();
        let is_gone = |id: &Uuid| self.is_absent(*id) && !holders.contains(id);
        let gone: Vec<Uuid> = ids.iter().copied().filter(is_gone).collect();
        for id in &gone {
            self.stop_worker(*id);
            self.events.push(Event::Buried { worker: *id });
        }
        gone
    }

    pub(super) fn stop_worker(&mut self, id: Uuid) {
        if let Some(worker) = self.workers.get_mut(&id).filter(|worker| !worker.is_stopped) {
            worker.is_stopped = true;
            worker.presence = None;
        }
    }

    /// Answers whether the worker has to drain; none if it has to register again.
    pub(super) fn heartbeat(&mut self, id: Uuid, now: Timestamp) -> Option<bool> {
        let worker = self.workers.get_mut(&id).filter(|worker| !worker.is_stopped)?;
        worker.heartbeat_at = now;
        Some(worker.is_draining)
    }

    /// `pid` is the session that the worker's life hangs on.
    pub(super) fn register(&mut self, id: Uuid, slots: i32, queues: Vec<String>, pid: Option<i32>, now: Timestamp) {
        let presence = pid.map(|pid| Presence { pid, server: self.server_started_at });
        let new = Worker { heartbeat_at: now, is_stopped: false, is_draining: false, slots, queues, presence };
        // One that comes late, out of a session that was given up, does not replace a newer one that is there.
        let newer = self.workers.get(&id).filter(|worker| !worker.is_stopped).and_then(|worker| worker.presence);
        if newer.zip(presence).is_some_and(|(newer, late)| self.is_present(newer) && newer.pid > late.pid) {
            return;
        }
        let worker = self.workers.entry(id).or_insert(new);
        worker.heartbeat_at = now;
        worker.is_stopped = false;
        worker.presence = presence;
        self.events.push(Event::Registered { worker: id });
    }

    pub(super) fn queue_names(&self) -> BTreeSet<String> {
        let live = self.workers.values().filter(|worker| !worker.is_stopped);
        let of_workers = live.flat_map(|worker| worker.queues.iter());
        self.jobs.values().map(|job| &job.queue).chain(of_workers).cloned().collect()
    }

    /// Answers how many workers were removed.
    pub(super) fn prune(&mut self, now: Timestamp) -> i64 {
        let before = self.workers.len();
        self.workers.retain(|_, worker| now.duration_since(worker.heartbeat_at).as_hours() < 24);
        i64::try_from(before - self.workers.len()).unwrap_or(0)
    }
}

/// Milliseconds, rounded half up, as a cast to bigint does.
fn rounded_ms(from: Timestamp, to: Timestamp) -> i64 {
    let micros = to.duration_since(from).as_micros();
    i64::try_from((micros + 500).div_euclid(1000)).unwrap_or(i64::MAX)
}
