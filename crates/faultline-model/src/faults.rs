//! The rest of the steps: transactions of handlers, reaps, operators, and what goes wrong.

use crate::action::Action;
use crate::database::{Claimed, End, Finished, Lease, Place};
use crate::model::Step;
use crate::promise::Promise;
use crate::scope::{Replication, Requests, Variant};
use crate::state::{Ending, LEASE_TICKS, Late, Phase, Presence, Producer, Reply, Run, Worker, World};
use crate::witness::Witness;

impl Step<'_> {
    /// COMMIT of a handler's transaction, in which `complete_in` has ended the job.
    pub(crate) fn commit(&mut self, index: u8, run: Run, reply: Reply) {
        match reply {
            Reply::Arrives | Reply::Lost => self.settle(run.job),
            Reply::NeverSent => {
                self.state.database.open = None;
                self.see(Witness::CommitUndone);
            }
            Reply::Late => self.state.late.push(Late::Commit { job: run.job }),
        }
        self.answer(reply, true);
        if reply == Reply::Arrives
            || reply == Reply::NeverSent && self.rules().variant == Variant::FailedCommitIsSuccess
        {
            self.told(run, Finished::Moved(End::Succeeded));
            self.worker(index).runs.retain(|known| *known != run);
        } else {
            self.set_phase(index, run, Phase::CommitUnknown);
        }
    }

    /// The open transaction commits: effect and end at once.
    fn settle(&mut self, job: u8) {
        let Some((_, token)) = self.state.database.open.take() else { return };
        self.state.database.jobs[usize::from(job)].effects += 1;
        let claimed = Claimed { job, token, attempt: 0, owner: 0 };
        let rules = self.rules();
        self.state.database.finish(rules, claimed, Ending::Complete, &mut self.state.broken);
        self.see(Witness::Succeeded);
    }

    /// `finish_outcome.sql`: what is ended or lost is answered; what is still held has failed.
    pub(crate) fn see_commit(&mut self, index: u8, run: Run) {
        if self.rules().variant == Variant::BlindRetryOfCommit {
            self.told(run, Finished::Moved(End::Succeeded));
            return self.worker(index).runs.retain(|known| *known != run);
        }
        let job = &self.state.database.jobs[usize::from(run.job)];
        let holds = matches!(job.place, Place::Running(lease) if lease.token == run.token);
        let seen = match job.word_of(run.token) {
            Some(end) => Some(Finished::Moved(end)),
            None if holds => None,
            None => Some(Finished::LeaseLost),
        };
        match seen {
            Some(_) if self.rules().variant == Variant::FinishAfterLook => {
                self.set_phase(index, run, Phase::Unanswered(Ending::Complete));
            }
            Some(answer) => {
                self.see(Witness::CommitLost);
                self.told(run, answer);
                self.worker(index).runs.retain(|known| *known != run);
            }
            None => self.set_phase(index, run, Phase::Unanswered(Ending::Fail)),
        }
    }

    /// Time is nobody's: any lease may have expired, or its worker be taken for dead.
    pub(crate) fn reap_any(&mut self, owner: u8, only: Option<u8>) {
        let fallen: Vec<u8> = (0..self.model.scope.jobs)
            .filter(|job| only.is_none_or(|only| only == *job))
            .filter(|job| self.state.database.lease(*job).is_some_and(|lease| lease.owner == owner))
            .collect();
        self.reap(&fallen);
    }

    fn reap(&mut self, fallen: &[u8]) {
        let rules = self.rules();
        let reaped = self.state.database.reap(rules, fallen);
        for (_, lease, end) in reaped {
            self.see(match end {
                End::Reaped { charged: false } => Witness::NeighbourSpared,
                End::ReapedForGood => Witness::CrashLoop,
                _ => Witness::Reaped,
            });
            let holder =
                self.state.workers.iter().find(|worker| worker.owner == lease.owner && worker.believes(lease.token));
            if holder.is_some() {
                self.see(Witness::ZombieReaped);
            }
            if holder.is_some_and(|worker| worker.is_active() && !worker.stalled)
                && self.model.tests(Promise::Survivors)
            {
                self.state.broken.add(Promise::Survivors);
            }
        }
    }

    /// By id: the row as it is now, whoever has it, if it is in the hot table.
    pub(crate) fn reap_judged(&mut self) {
        let Some((job, seen)) = self.state.judged.take() else { return };
        if let Some(Lease { token, .. }) = self.state.database.lease(job) {
            if token != seen {
                self.state.broken.add(Promise::OwnLease);
            }
            self.reap(&[job]);
        }
    }

    pub(crate) fn reap_expired(&mut self, index: u8) {
        let holds_off = self.rules().variant != Variant::NoReapHoldoff && self.worker(index).contact < LEASE_TICKS;
        if holds_off {
            return self.see(Witness::HeldOff);
        }
        let fallen: Vec<u8> = (0..self.model.scope.jobs)
            .filter(|job| self.state.database.lease(*job).is_some_and(|lease| lease.left == 0))
            .collect();
        self.reap(&fallen);
    }

    /// What a reaper may take for gone; the same is checked by the statement once more.
    fn is_gone(&self, index: u8, owner: u8) -> bool {
        let worker = &self.state.workers[usize::from(index)];
        let held_off = worker.contact >= LEASE_TICKS || self.rules().variant == Variant::NoReapHoldoff;
        match self.state.presence[usize::from(owner)] {
            Presence::Here => false,
            Presence::Gone => worker.steady || held_off,
            Presence::EndedWithServer => held_off,
        }
    }

    pub(crate) fn look(&mut self, index: u8) {
        let owners = u8::try_from(self.state.presence.len()).unwrap_or(u8::MAX);
        let gone: Vec<u8> = (0..owners).filter(|owner| self.is_gone(index, *owner)).collect();
        let worker = self.worker(index);
        worker.missing.1.retain(|owner| gone.contains(owner));
        worker.missing.0 = gone.into_iter().filter(|owner| !worker.missing.1.contains(owner)).collect();
    }

    pub(crate) fn reap_absent(&mut self, index: u8, owner: u8) {
        let fallen: Vec<u8> = (0..self.model.scope.jobs)
            .filter(|job| self.state.database.lease(*job).is_some_and(|lease| lease.owner == owner))
            .collect();
        if self.is_gone(index, owner) {
            if !fallen.is_empty() {
                self.see(Witness::ReapedAbsent);
            }
            self.reap(&fallen);
        }
        self.worker(index).missing.1.retain(|missing| *missing != owner);
    }

    pub(crate) fn cancel(&mut self, job: u8) {
        self.state.budget.cancels -= 1;
        if self.state.database.cancel(job) && self.state.database.jobs[usize::from(job)].place == Place::Cancelled {
            self.see(Witness::CancelledQueued);
        }
    }

    pub(crate) fn arrive(&mut self, index: usize) {
        self.see(Witness::ArrivedLate);
        match self.state.late.remove(index) {
            Late::Claim { token, owner } => {
                let waits = (0..self.model.scope.jobs)
                    .find(|job| self.state.database.jobs[usize::from(*job)].place == Place::Queued);
                if let Some(job) = waits {
                    let lease = Lease { token, owner, left: 1 };
                    let variant = self.rules().variant;
                    self.state.database.claim(variant, job, lease, &mut self.state.broken);
                }
            }
            Late::Finish { run, owner, ending } => {
                let claimed = Claimed { job: run.job, token: run.token, attempt: run.attempt, owner };
                let rules = self.rules();
                self.state.database.finish(rules, claimed, ending, &mut self.state.broken);
            }
            Late::Enqueue { producer } if self.model.scope.requests == Requests::SameKey => {
                self.state.database.enqueue_keyed(self.rules().variant, producer);
            }
            Late::Enqueue { producer } => self.state.database.enqueue(producer, &mut self.state.broken),
            Late::Commit { job } => self.settle(job),
        }
    }

    /// The other server goes on with what it has; what was on its way to the old one is lost with it.
    pub(crate) fn failover(&mut self) {
        let Some(replica) = self.state.replica.clone() else { return };
        self.state.budget.failovers -= 1;
        for worker in &self.state.workers {
            let is_rewound = |run: &Run| replica.lease(run.job).is_none_or(|lease| lease.token != run.token);
            let held = |run: &Run| self.state.database.lease(run.job).is_some_and(|lease| lease.token == run.token);
            if worker.runs.iter().any(|run| held(run) && is_rewound(run)) {
                self.see(Witness::ClaimRewound);
            }
        }
        for (job, (now, then)) in (0..).zip(self.state.database.jobs.iter().zip(&replica.jobs)) {
            if !matches!(now.place, Place::Queued | Place::Running(_) | Place::Nowhere)
                && matches!(then.place, Place::Queued | Place::Running(_))
            {
                self.see(Witness::EndRewound);
            }
            if now.place != Place::Nowhere && then.place == Place::Nowhere {
                let is_told = self.state.producers.contains(&Producer::Told(job));
                self.see(if is_told { Witness::AckLost } else { Witness::UnansweredLost });
            }
        }
        self.state.may_have_lost |= self.model.scope.replication == Replication::Asynchronous;
        self.state.database = replica;
        self.state.late.clear();
        self.state.judged = None;
        self.commits_break();
    }

    /// A COMMIT on its way to a server that is gone fails.
    fn commits_break(&mut self) {
        for run in self.state.workers.iter_mut().flat_map(|worker| &mut worker.runs) {
            if run.phase == Phase::Committing {
                run.phase = Phase::CommitUnknown;
            }
        }
    }

    pub(crate) fn fate(&mut self, action: Action) {
        match action {
            Action::Crash(index) => {
                self.state.budget.crashes -= 1;
                let is_up = self.state.world == World::Up;
                let worker = self.worker(index);
                let owner = worker.owner;
                let dead = Worker { alive: false, ..Worker::new(owner) };
                let committing = worker.runs.iter().any(|run| run.phase == Phase::Committing);
                *worker = dead;
                if committing {
                    self.state.database.open = None;
                }
                if let Some(presence) = self.state.presence.get_mut(usize::from(owner)) {
                    *presence = if is_up { Presence::Gone } else { Presence::EndedWithServer };
                }
            }
            Action::Start(index) => {
                let owners = self.state.workers.iter().map(|worker| worker.owner).max().unwrap_or(0);
                *self.worker(index) = Worker::new(owners + 1);
                if !self.state.presence.is_empty() {
                    self.state.presence.push(Presence::Here);
                }
            }
            Action::Pause(index) => {
                self.state.budget.pauses -= 1;
                self.worker(index).paused = true;
            }
            Action::Continue(index) => {
                let worker = self.worker(index);
                worker.paused = false;
                worker.stalled = !worker.runs.is_empty() || worker.unanswered.is_some();
                worker.lose_contact();
            }
            _ => {}
        }
    }

    pub(crate) fn time(&mut self, action: Action) {
        match action {
            Action::Outage(true) => {
                self.state.budget.outages -= 1;
                self.state.world = World::DatabaseAway;
                self.state.presence.fill(Presence::EndedWithServer);
                self.state.workers.iter_mut().for_each(Worker::lose_contact);
            }
            Action::Stall(true) => {
                self.state.budget.stalls -= 1;
                self.state.world = World::WorkersStopped;
            }
            Action::Outage(false) => self.state.world = World::Up,
            Action::Stall(false) => {
                self.state.world = World::Up;
                if self.rules().variant != Variant::StallUnnoticed {
                    self.state.workers.iter_mut().for_each(Worker::lose_contact);
                }
            }
            _ => self.tick(),
        }
    }

    fn tick(&mut self) {
        for job in &mut self.state.database.jobs {
            if let Place::Running(lease) = &mut job.place {
                lease.left = lease.left.saturating_sub(1);
            }
        }
        if self.state.world != World::Up {
            return;
        }
        for worker in self.state.workers.iter_mut().filter(|worker| worker.is_active()) {
            worker.contact = (worker.contact + 1).min(LEASE_TICKS);
            worker.steady |= worker.contact >= LEASE_TICKS;
            let seen = std::mem::take(&mut worker.missing.0);
            worker.missing.1.extend(seen);
            worker.missing.1.sort_unstable();
        }
    }
}
