//! What may happen next, and in which states.

use crate::database::Place;
use crate::model::Protocol;
use crate::scope::{Requests, Time, Variant};
use crate::state::{Ending, LEASE_TICKS, Late, Phase, Producer, Reply, Run, State, Worker, World};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A producer asks for its job, for the first time or again.
    Enqueue(u8, Reply),
    /// A worker claims this job.
    Claim(u8, u8, Reply),
    /// A worker's claim finds nothing, and the answer is lost.
    ClaimInVain(u8, Reply),
    /// A worker notes a job to claim, in the variant that has two statements.
    Select(u8, u8),
    /// A worker finds out about a claim whose answer was lost.
    Recover(u8),
    /// A worker renews all that it holds.
    Renew(u8),
    /// A worker ends an attempt, for the first time or again.
    Finish(u8, Run, Ending, Reply),
    /// A handler commits effects without the end of its job.
    Effect(u8, Run),
    /// A handler calls `complete_in`.
    CompleteIn(u8, Run),
    /// A handler commits.
    Commit(u8, Run, Reply),
    /// A worker looks what became of a COMMIT without an answer.
    SeeCommit(u8, Run),
    /// Jobs of one incarnation are reaped: all, or this one, of which only the lease has expired.
    Reap(u8, Option<u8>),
    /// A reap's first statement, in the variant that has two.
    Judge(u8),
    /// Its second.
    ReapJudged,
    /// A worker's reaper ends leases that have expired.
    ReapExpired(u8),
    /// A worker's reaper ends the leases of an incarnation that is gone.
    ReapAbsent(u8, u8),
    /// A worker's reaper looks who is there.
    Look(u8),
    /// An operator cancels a job.
    Cancel(u8),
    /// A statement arrives that nobody waits for.
    Arrive(usize),
    /// The transaction of a COMMIT that nobody waits for is rolled back.
    RollBack(usize),
    /// A worker dies.
    Crash(u8),
    /// It is started again.
    Start(u8),
    /// A worker is stopped.
    Pause(u8),
    /// It goes on.
    Continue(u8),
    /// A worker's presence session is cut.
    Cut(u8),
    /// It comes back.
    Register(u8),
    /// Everything so far has reached the other server.
    Replicate,
    /// The other server takes over.
    Failover,
    /// The database goes away, or comes back.
    Outage(bool),
    /// All workers are stopped, or go on.
    Stall(bool),
    /// Time passes.
    Tick,
}

impl Protocol {
    pub(crate) fn possible(&self, state: &State, actions: &mut Vec<Action>) {
        let ticks = self.scope.time == Time::Ticks;
        if state.world == World::Up {
            for producer in 0..self.producers() {
                Self::of_producer(state, producer, actions);
            }
            for worker in 0..self.scope.workers {
                self.of_worker(state, worker, actions);
            }
            Self::of_database(state, actions);
            if !ticks {
                self.of_any_reaper(state, actions);
            }
        }
        if state.world != World::WorkersStopped {
            for (index, worker) in (0..).zip(&state.workers) {
                self.of_fate(state, index, worker, actions);
            }
        }
        if ticks {
            self.of_time(state, actions);
        }
    }

    /// Jobs have one producer each where there are requests.
    pub(crate) fn producers(&self) -> u8 {
        if self.scope.requests == Requests::None { 0 } else { self.scope.jobs }
    }

    /// The replies that may be; what comes late is remembered by its sender only as lost.
    fn replies(state: &State, with_late: bool) -> impl Iterator<Item = Reply> {
        let lost = state.budget.lost > 0;
        let late = with_late && state.budget.late > 0;
        [(Reply::Arrives, true), (Reply::Lost, lost), (Reply::NeverSent, lost), (Reply::Late, late)]
            .into_iter()
            .filter_map(|(reply, is_possible)| is_possible.then_some(reply))
    }

    fn of_producer(state: &State, producer: u8, actions: &mut Vec<Action>) {
        let is_first = match state.producers[usize::from(producer)] {
            Producer::Idle => true,
            Producer::Unanswered => false,
            Producer::Told(_) => return,
        };
        actions.extend(Self::replies(state, is_first).map(|reply| Action::Enqueue(producer, reply)));
    }

    fn of_worker(&self, state: &State, index: u8, actions: &mut Vec<Action>) {
        let worker = &state.workers[usize::from(index)];
        if !worker.is_active() {
            return;
        }
        let free = worker.runs.len() < self.scope.slots;
        if worker.unanswered.is_some() {
            actions.push(Action::Recover(index));
        } else if let Some(job) = worker.selected {
            actions.push(Action::Claim(index, job, Reply::Arrives));
        } else if free && state.is_present(worker) {
            self.of_claim(state, index, actions);
        }
        // Whoever comes back registers first.
        if !worker.runs.is_empty() && state.is_present(worker) {
            actions.push(Action::Renew(index));
        }
        for run in &worker.runs {
            self.of_run(state, index, *run, actions);
        }
        if self.scope.time == Time::Ticks {
            self.of_reaper(state, index, worker, actions);
            if !state.is_present(worker) {
                actions.push(Action::Register(index));
            }
        }
    }

    fn of_claim(&self, state: &State, index: u8, actions: &mut Vec<Action>) {
        for (job, row) in (0..).zip(&state.database.jobs) {
            if row.place != Place::Queued {
                continue;
            }
            if self.scope.variant == Variant::ClaimWithoutRecheck {
                actions.push(Action::Select(index, job));
                continue;
            }
            let replies = Self::replies(state, false).filter(|reply| *reply != Reply::NeverSent);
            actions.extend(replies.map(|reply| Action::Claim(index, job, reply)));
        }
        let in_vain = Self::replies(state, true).filter(|reply| matches!(reply, Reply::NeverSent | Reply::Late));
        actions.extend(in_vain.map(|reply| Action::ClaimInVain(index, reply)));
    }

    fn of_run(&self, state: &State, index: u8, run: Run, actions: &mut Vec<Action>) {
        // A statement on a row that a transaction holds waits for it.
        if state.database.is_locked(run.job) && run.phase != Phase::Committing && run.phase != Phase::CommitUnknown {
            return;
        }
        let mut finish = |ending| {
            actions.extend(Self::replies(state, true).map(|reply| Action::Finish(index, run, ending, reply)));
        };
        match run.phase {
            Phase::Working => {
                if !self.scope.in_transaction {
                    finish(Ending::Complete);
                }
                if self.scope.other_endings {
                    finish(Ending::Fail);
                }
                if state.budget.put_backs > 0 {
                    finish(Ending::PutBack);
                }
                if self.scope.in_transaction {
                    actions.push(match self.scope.variant {
                        Variant::EffectBeforeFinish => Action::Effect(index, run),
                        _ => Action::CompleteIn(index, run),
                    });
                }
            }
            Phase::Effected => finish(Ending::Complete),
            Phase::Unanswered(ending) => finish(ending),
            Phase::Committing => {
                actions.extend(Self::replies(state, true).map(|reply| Action::Commit(index, run, reply)));
            }
            Phase::CommitUnknown => actions.push(Action::SeeCommit(index, run)),
        }
    }

    fn of_database(state: &State, actions: &mut Vec<Action>) {
        for (job, row) in (0..).zip(&state.database.jobs) {
            let goes_on = row.place == Place::Queued || matches!(row.place, Place::Running(_)) && !row.cancel_requested;
            if state.budget.cancels > 0 && goes_on && !state.database.is_locked(job) {
                actions.push(Action::Cancel(job));
            }
        }
        for (index, late) in state.late.iter().enumerate() {
            match late {
                Late::Finish { run, .. } if state.database.is_locked(run.job) => {}
                Late::Commit { .. } => actions.extend([Action::Arrive(index), Action::RollBack(index)]),
                _ => actions.push(Action::Arrive(index)),
            }
        }
        if let Some(replica) = &state.replica {
            if *replica != state.database && state.database.open.is_none() {
                actions.push(Action::Replicate);
            }
            if state.budget.failovers > 0 {
                actions.push(Action::Failover);
            }
        }
    }

    fn of_any_reaper(&self, state: &State, actions: &mut Vec<Action>) {
        if self.scope.variant == Variant::ReapInTwoStatements {
            let running = (0..self.scope.jobs).filter(|job| state.database.lease(*job).is_some());
            match state.judged {
                None => actions.extend(running.map(Action::Judge)),
                Some(_) => actions.push(Action::ReapJudged),
            }
            return;
        }
        let running: Vec<(u8, u8)> = (0..self.scope.jobs)
            .filter(|job| !state.database.is_locked(*job))
            .filter_map(|job| state.database.lease(job).map(|lease| (job, lease.owner)))
            .collect();
        for (job, owner) in &running {
            actions.push(Action::Reap(*owner, Some(*job)));
        }
        if let [(_, first), (_, second), ..] = running[..]
            && first == second
        {
            actions.push(Action::Reap(first, None));
        }
    }

    fn of_fate(&self, state: &State, index: u8, worker: &Worker, actions: &mut Vec<Action>) {
        let budget = &state.budget;
        let is_here = worker.alive && self.scope.time == Time::Ticks && state.is_present(worker);
        if worker.is_active() && budget.crashes > 0 {
            actions.push(Action::Crash(index));
        }
        if !worker.alive && state.world == World::Up {
            actions.push(Action::Start(index));
        }
        if worker.is_active() && budget.pauses > 0 {
            actions.push(Action::Pause(index));
        }
        if worker.paused {
            actions.push(Action::Continue(index));
        }
        if is_here && budget.cuts > 0 && state.world == World::Up {
            actions.push(Action::Cut(index));
        }
    }

    fn of_reaper(&self, state: &State, index: u8, worker: &Worker, actions: &mut Vec<Action>) {
        let expired = (0..self.scope.jobs).any(|job| state.database.lease(job).is_some_and(|lease| lease.left == 0));
        if expired {
            actions.push(Action::ReapExpired(index));
        }
        actions.push(Action::Look(index));
        actions.extend(worker.missing.1.iter().map(|owner| Action::ReapAbsent(index, *owner)));
    }

    fn of_time(&self, state: &State, actions: &mut Vec<Action>) {
        match state.world {
            World::DatabaseAway => actions.push(Action::Outage(false)),
            World::WorkersStopped => actions.push(Action::Stall(false)),
            World::Up => {
                if state.budget.outages > 0 {
                    actions.push(Action::Outage(true));
                }
                if state.budget.stalls > 0 {
                    actions.push(Action::Stall(true));
                }
            }
        }
        let mut workers = (0..).zip(&state.workers).filter(|(_, worker)| worker.is_active());
        if state.world != World::Up || workers.all(|(index, worker)| self.keeps_up(state, index, worker)) {
            actions.push(Action::Tick);
        }
    }

    /// Whether a worker has done in this tick what it does in every tick.
    fn keeps_up(&self, state: &State, index: u8, worker: &Worker) -> bool {
        worker.unanswered.is_none()
            && state.is_present(worker)
            && worker.runs.iter().all(|run| {
                let lease = state.database.lease(run.job).filter(|lease| lease.token == run.token);
                let is_ending = matches!(run.phase, Phase::Unanswered(_));
                lease.map_or(is_ending, |lease| lease.left >= self.fresh_lease_ticks(index))
            })
    }

    /// Ticks that a lease has left after a claim or a renewal.
    pub(crate) fn fresh_lease_ticks(&self, index: u8) -> u8 {
        let is_behind = self.scope.variant == Variant::ClientClockInLease && index == 0;
        if is_behind { 0 } else { LEASE_TICKS }
    }
}
