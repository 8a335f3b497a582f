//! The model: what each action makes of a state.

use crate::action::Action;
use crate::database::{Claimed, Database, End, Finished, Job, Lease, Place, Rules, Token};
use crate::promise::{self, Promise, Promises};
use crate::scope::{Replication, Requests, Scope, Time, Variant};
use crate::state::{Ending, Late, Phase, Presence, Producer, Reply, Run, State, Worker, World};
use crate::witness::{Witness, Witnesses};
use stateright::{Model, Property};
use std::sync::Arc;

/// The protocol in a bounded world.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// The bounds, and which protocol.
    pub scope: Scope,
    /// What a search has come across.
    pub witnesses: Arc<Witnesses>,
}

impl Protocol {
    /// The protocol in this world.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self { scope, witnesses: Arc::default() }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let place = if self.scope.requests == Requests::None { Place::Queued } else { Place::Nowhere };
        let database = Database { jobs: vec![Job::new(place); self.scope.jobs.into()], key: None, open: None };
        let has_replica = self.scope.budget.failovers > 0;
        let presences = if self.scope.time == Time::Ticks { self.scope.workers } else { 0 };
        vec![State {
            replica: has_replica.then(|| database.clone()),
            database,
            world: World::Up,
            presence: vec![Presence::Here; presences.into()],
            workers: (0..self.scope.workers).map(Worker::new).collect(),
            producers: vec![Producer::Idle; self.producers().into()],
            late: Vec::new(),
            judged: None,
            next_token: 1,
            may_have_lost: false,
            budget: self.scope.budget,
            broken: Promises::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.possible(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = Step { model: self, state: state.clone() };
        next.take(action);
        Some(next.state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promise::properties()
    }
}

/// One step on its way.
pub(crate) struct Step<'a> {
    pub(crate) model: &'a Protocol,
    pub(crate) state: State,
}

impl Step<'_> {
    fn take(&mut self, action: Action) {
        match action {
            Action::Enqueue(producer, reply) => self.enqueue(producer, reply),
            Action::Claim(worker, job, reply) => self.claim(worker, job, reply),
            Action::ClaimInVain(worker, reply) => self.claim_in_vain(worker, reply),
            Action::Select(worker, job) => self.worker(worker).selected = Some(job),
            Action::Recover(worker) => self.recover(worker),
            Action::Renew(worker) => self.renew(worker),
            Action::Finish(worker, run, ending, reply) => self.finish(worker, run, ending, reply),
            Action::Effect(worker, run) => {
                self.state.database.jobs[usize::from(run.job)].effects += 1;
                self.set_phase(worker, run, Phase::Effected);
            }
            Action::CompleteIn(worker, run) => self.complete_in(worker, run),
            Action::Commit(worker, run, reply) => self.commit(worker, run, reply),
            Action::SeeCommit(worker, run) => self.see_commit(worker, run),
            Action::Reap(owner, only) => self.reap_any(owner, only),
            Action::Judge(job) => self.state.judged = self.state.database.lease(job).map(|lease| (job, lease.token)),
            Action::ReapJudged => self.reap_judged(),
            Action::ReapExpired(worker) => self.reap_expired(worker),
            Action::ReapAbsent(worker, owner) => self.reap_absent(worker, owner),
            Action::Look(worker) => self.look(worker),
            Action::Cancel(job) => self.cancel(job),
            Action::Arrive(index) => self.arrive(index),
            Action::RollBack(index) => {
                self.state.late.remove(index);
                self.state.database.open = None;
                self.see(Witness::CommitUndone);
            }
            Action::Crash(_) | Action::Start(_) | Action::Pause(_) | Action::Continue(_) => self.fate(action),
            Action::Cut(worker) => {
                self.state.budget.cuts -= 1;
                self.set_presence(worker, Presence::Gone);
            }
            Action::Register(worker) => self.set_presence(worker, Presence::Here),
            Action::Replicate => self.replicate(),
            Action::Failover => self.failover(),
            Action::Outage(_) | Action::Stall(_) | Action::Tick => self.time(action),
        }
    }

    pub(crate) fn see(&self, witness: Witness) {
        self.model.witnesses.see(witness);
    }

    pub(crate) fn worker(&mut self, index: u8) -> &mut Worker {
        &mut self.state.workers[usize::from(index)]
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules { variant: self.model.scope.variant, max_attempts: self.model.scope.max_attempts }
    }

    /// What an answer costs of the budget. With synchronous replication, a write is answered when it has been replicated.
    pub(crate) fn answer(&mut self, reply: Reply, wrote: bool) {
        match reply {
            Reply::Arrives => {
                if wrote && self.model.scope.replication == Replication::Synchronous && self.state.replica.is_some() {
                    self.replicate();
                }
            }
            Reply::Lost | Reply::NeverSent => self.state.budget.lost -= 1,
            Reply::Late => self.state.budget.late -= 1,
        }
    }

    /// What was committed; what an open transaction did stays with its server.
    fn replicate(&mut self) {
        self.state.replica = Some(Database { open: None, ..self.state.database.clone() });
    }

    fn enqueue(&mut self, producer: u8, reply: Reply) {
        let index = usize::from(producer);
        let again = self.state.producers[index] == Producer::Unanswered;
        let variant = self.model.scope.variant;
        let was_there = self.state.database.jobs[index].place != Place::Nowhere;
        // Both wrong answers are given without asking.
        if again && variant == Variant::BlindRetryOfCommit
            || reply == Reply::NeverSent && variant == Variant::FailedCommitIsSuccess
        {
            return self.tell(producer, producer);
        }
        let arrives = matches!(reply, Reply::Arrives | Reply::Lost);
        let mut job = producer;
        let mut wrote = false;
        if arrives {
            match self.model.scope.requests {
                Requests::SameKey => (job, wrote) = self.state.database.enqueue_keyed(variant, producer),
                _ if again => {
                    self.state.database.enqueue_again(producer);
                    // The insert that finds its row has waited for it, and the commit is replicated before it.
                    wrote = true;
                }
                _ => {
                    self.state.database.enqueue(producer, &mut self.state.broken);
                    wrote = true;
                }
            }
        }
        self.answer(reply, wrote);
        match reply {
            Reply::Arrives => {
                if again {
                    self.see(if was_there { Witness::EnqueueRepeated } else { Witness::EnqueueMadeGood });
                }
                if job != producer {
                    self.see(Witness::Duplicate);
                }
                self.tell(producer, job);
            }
            Reply::Lost | Reply::NeverSent => self.state.producers[index] = Producer::Unanswered,
            Reply::Late => {
                self.state.late.push(Late::Enqueue { producer });
                self.state.producers[index] = Producer::Unanswered;
            }
        }
    }

    fn tell(&mut self, producer: u8, job: u8) {
        if self.state.database.jobs[usize::from(job)].place == Place::Nowhere {
            self.state.broken.add(Promise::Truth);
        }
        self.state.producers[usize::from(producer)] = Producer::Told(job);
    }

    fn new_token(&mut self) -> Token {
        self.state.next_token += 1;
        self.state.next_token - 1
    }

    fn claim(&mut self, index: u8, job: u8, reply: Reply) {
        let token = self.new_token();
        let worker = self.worker(index);
        worker.selected = None;
        let owner = worker.owner;
        let taken = self.take_job(index, owner, token, job);
        self.answer(reply, true);
        if reply != Reply::Arrives {
            self.worker(index).unanswered = Some(token);
        } else if let Some(attempt) = taken {
            self.worker(index).runs.push(Run { job, token, attempt, phase: Phase::Working });
        }
    }

    /// The update of a claim; answers the attempt. A row that has ended since is not in the hot table any more.
    fn take_job(&mut self, index: u8, owner: u8, token: Token, job: u8) -> Option<u8> {
        let row = &self.state.database.jobs[usize::from(job)];
        if !matches!(row.place, Place::Queued | Place::Running(_)) {
            return None;
        }
        let left = if self.model.scope.time == Time::Ticks { self.model.fresh_lease_ticks(index) } else { 1 };
        let variant = self.model.scope.variant;
        self.state.database.claim(variant, job, Lease { token, owner, left }, &mut self.state.broken);
        self.see(Witness::Claimed);
        Some(self.state.database.jobs[usize::from(job)].attempts)
    }

    fn claim_in_vain(&mut self, index: u8, reply: Reply) {
        let token = self.new_token();
        let owner = self.worker(index).owner;
        self.worker(index).unanswered = Some(token);
        self.answer(reply, false);
        if reply == Reply::Late {
            self.state.late.push(Late::Claim { token, owner });
        }
    }

    fn recover(&mut self, index: u8) {
        let Some(token) = self.worker(index).unanswered.take() else { return };
        let held = (0..self.model.scope.jobs)
            .find(|job| self.state.database.lease(*job).is_some_and(|lease| lease.token == token));
        self.see(if held.is_some() { Witness::ClaimRecovered } else { Witness::ClaimUndone });
        if let Some(job) = held {
            let attempt = self.state.database.jobs[usize::from(job)].attempts;
            self.worker(index).runs.push(Run { job, token, attempt, phase: Phase::Working });
        }
    }

    fn renew(&mut self, index: u8) {
        let fresh = if self.model.scope.time == Time::Ticks { self.model.fresh_lease_ticks(index) } else { 1 };
        let mut kept = Vec::new();
        for run in std::mem::take(&mut self.worker(index).runs) {
            let row = &mut self.state.database.jobs[usize::from(run.job)];
            if let Place::Running(lease) = &mut row.place
                && lease.token == run.token
            {
                if lease.left == 0 {
                    self.model.witnesses.see(Witness::RenewedExpired);
                }
                lease.left = lease.left.max(fresh);
                kept.push(run);
            } else if run.phase == Phase::Working {
                self.model.witnesses.see(Witness::LossTold);
            } else {
                // Its finish is on its way and will be answered.
                kept.push(run);
            }
        }
        self.worker(index).runs = kept;
        self.worker(index).stalled = false;
    }

    pub(crate) fn set_phase(&mut self, index: u8, run: Run, phase: Phase) {
        if let Some(known) = self.worker(index).runs.iter_mut().find(|known| **known == run) {
            known.phase = phase;
        }
    }

    fn set_presence(&mut self, index: u8, presence: Presence) {
        let owner = usize::from(self.worker(index).owner);
        self.state.presence[owner] = presence;
    }

    fn forget(&mut self, index: u8, run: Run) {
        self.worker(index).runs.retain(|known| *known != run);
    }

    fn finish(&mut self, index: u8, run: Run, ending: Ending, reply: Reply) {
        let owner = self.worker(index).owner;
        if ending == Ending::PutBack && run.phase == Phase::Working {
            self.state.budget.put_backs -= 1;
        }
        let arrives = matches!(reply, Reply::Arrives | Reply::Lost);
        let answer = arrives.then(|| self.end_attempt(run, owner, ending));
        self.answer(reply, true);
        match (reply, answer) {
            (Reply::Arrives, Some(answer)) => {
                self.told(run, answer);
                self.forget(index, run);
            }
            (Reply::Late, _) => {
                self.state.late.push(Late::Finish { run, owner, ending });
                self.set_phase(index, run, Phase::Unanswered(ending));
            }
            _ => self.set_phase(index, run, Phase::Unanswered(ending)),
        }
    }

    fn end_attempt(&mut self, run: Run, owner: u8, ending: Ending) -> Finished {
        let before = self.state.database.jobs[usize::from(run.job)].log.len();
        let claimed = Claimed { job: run.job, token: run.token, attempt: run.attempt, owner };
        let rules = self.rules();
        let answer = self.state.database.finish(rules, claimed, ending, &mut self.state.broken);
        let moved = self.state.database.jobs[usize::from(run.job)].log.len() > before;
        let witness = match (answer, moved) {
            (Finished::LeaseLost, _) => Witness::ZombieRefused,
            (Finished::Moved(_), false) => Witness::FinishRepeated,
            (Finished::Moved(End::Succeeded), true) => Witness::Succeeded,
            (Finished::Moved(End::Retried), true) => Witness::Retried,
            (Finished::Moved(End::PutBack), true) => Witness::PutBack,
            (Finished::Moved(End::Cancelled), true) => Witness::CancelledRunning,
            (Finished::Moved(_), true) => Witness::Exhausted,
        };
        self.see(witness);
        answer
    }

    /// What is said of an attempt must be in the timeline, and nothing else may be.
    pub(crate) fn told(&mut self, run: Run, answer: Finished) {
        let job = &self.state.database.jobs[usize::from(run.job)];
        let is_true = match answer {
            Finished::Moved(end) => job.word_of(run.token) == Some(end),
            Finished::LeaseLost => {
                let holds = matches!(job.place, Place::Running(lease) if lease.token == run.token);
                job.word_of(run.token).is_none() && !holds
            }
        };
        if !is_true {
            self.state.broken.add(Promise::Truth);
        }
    }

    fn complete_in(&mut self, index: u8, run: Run) {
        if self.state.database.lease(run.job).is_some_and(|lease| lease.token == run.token) {
            self.state.database.open = Some((run.job, run.token));
            self.set_phase(index, run, Phase::Committing);
        } else {
            self.see(Witness::ZombieRefused);
            self.forget(index, run);
        }
    }
}
