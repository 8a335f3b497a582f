//! Runs a program in every order of its steps.
//!
//! The search is stateless: a run follows a prefix of choices and then takes the first session that can go on; the next
//! run changes the last choice that has an alternative. A session whose step waits for a lock offers no choice until it
//! is let go, so that each order that Postgres allows is run exactly once.

use crate::step::{Step, Told, take};
use crate::witness::judge;
use crate::world::{Case, MOST_SESSIONS, Start, World};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long a run may take; generous, since the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long a step may take before somebody asks whether it is blocked.
const ASK_AFTER: Duration = Duration::from_millis(1);
/// Runs that went wrong and are told.
const MOST_TOLD: usize = 3;

/// What the sessions do.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) start: Start,
    /// The sessions that hold the job at the start, all under one lease.
    pub(crate) holders: &'static [usize],
    /// The steps of each session.
    pub(crate) sessions: &'static [&'static [Step]],
    pub(crate) max_attempts: i32,
    /// Whoever lets the job succeed writes an effect in the same transaction.
    pub(crate) effect: bool,
    /// The sessions are of one worker.
    pub(crate) one_worker: bool,
}

impl Program {
    pub(crate) fn new(start: Start, holders: &'static [usize], sessions: &'static [&'static [Step]]) -> Self {
        assert!(sessions.len() <= MOST_SESSIONS);
        Self { start, holders, sessions, max_attempts: 3, effect: false, one_worker: false }
    }
}

/// What was seen in all runs of a program.
pub(crate) struct Explored {
    /// Runs in which a session waited for another.
    pub(crate) with_waits: usize,
    /// Steps and what came of them.
    pub(crate) seen: BTreeSet<String>,
}

impl Explored {
    /// The program showed what it is for.
    pub(crate) fn must_have_seen(&self, expected: &[&str]) {
        for told in expected {
            assert!(self.seen.contains(*told), "no run showed {told:?}, but {:?}", self.seen);
        }
    }
}

/// Runs the program in every order, and fails with the runs that went wrong.
pub(crate) async fn explore(program: &Program) -> Explored {
    let world = World::new().await;
    let mut explored = Explored { with_waits: 0, seen: BTreeSet::new() };
    let (mut runs, mut wrong, mut told) = (0, 0, String::new());
    let mut prefix = Vec::new();
    loop {
        let run = tokio::time::timeout(DEADLINE, Run::of(&world, program, &prefix)).await;
        let run = run.unwrap_or_else(|_| panic!("stuck after {prefix:?} of {program:?}"));
        runs += 1;
        explored.with_waits += usize::from(run.has_waited);
        explored.seen.extend(run.trace.iter().map(|(_, step, answer)| format!("{step:?}: {answer}")));
        if !run.problems.is_empty() {
            wrong += 1;
            if wrong <= MOST_TOLD {
                write!(told, "\n{run}").unwrap();
            }
        }
        match next_prefix(run.choices) {
            Some(next) => prefix = next,
            None => break,
        }
    }
    assert!(wrong == 0, "{wrong} of {runs} runs of {program:?} went wrong:{told}");
    explored
}

/// Changes the last choice that has an alternative left.
fn next_prefix(mut choices: Vec<(usize, Vec<usize>)>) -> Option<Vec<usize>> {
    while let Some((chosen, possible)) = choices.pop() {
        if let Some(next) = possible.into_iter().find(|other| *other > chosen) {
            return Some(choices.iter().map(|(chosen, _)| *chosen).chain([next]).collect());
        }
    }
    None
}

/// One order of the steps.
struct Run {
    /// Each choice, and what it was made among.
    choices: Vec<(usize, Vec<usize>)>,
    /// Session, step and what came of it, in the order in which they came back.
    trace: Vec<(usize, Step, String)>,
    problems: Vec<String>,
    has_waited: bool,
}

/// A step on its way.
type Call = (Step, JoinHandle<Told>);

impl Run {
    async fn of(world: &World, program: &Program, prefix: &[usize]) -> Self {
        let (case, mut records) = world.prepare(program).await;
        let case = Arc::new(case);
        let mut run = Self { choices: Vec::new(), trace: Vec::new(), problems: Vec::new(), has_waited: false };
        let mut next_step = vec![0; program.sessions.len()];
        let mut calls: Vec<Option<Call>> = program.sessions.iter().map(|_| None).collect();
        loop {
            let possible: Vec<usize> = (0..calls.len())
                .filter(|at| calls[*at].is_none() && next_step[*at] < program.sessions[*at].len())
                .collect();
            let Some(first) = possible.first() else {
                if calls.iter().all(Option::is_none) {
                    break;
                }
                run.problems.push("a deadlock: everybody waits".into());
                run.await_all(&mut calls).await;
                continue;
            };
            let at = prefix.get(run.choices.len()).copied().unwrap_or(*first);
            assert!(possible.contains(&at), "the same choices lead elsewhere: {prefix:?} of {program:?}");
            run.choices.push((at, possible));
            let step = program.sessions[at][next_step[at]];
            next_step[at] += 1;
            calls[at] = Some((step, start(world, at, step, &case)));
            run.settle(world, &mut calls).await;
            for (step, _) in calls.iter().flatten() {
                run.has_waited = true;
                if step.skips_locked() {
                    run.problems.push(format!("{step:?} waits for a row that somebody has locked"));
                }
            }
        }
        for actor in &world.actors {
            records.append(&mut actor.knows.lock().await.history.take());
        }
        run.problems.extend(judge(&world.observer, records).await);
        run
    }

    /// Waits until each step on its way has come back or waits for a lock of another session.
    async fn settle(&mut self, world: &World, calls: &mut [Option<Call>]) {
        let all: Vec<i32> = world.actors.iter().map(|actor| actor.pid).collect();
        let blocked = "select coalesce(bool_and(pg_blocking_pids(p) && $2), false) from unnest($1::int[]) as p";
        let blocked = world.observer.prepare_cached(blocked).await.unwrap();
        // Seen twice: a call of several statements may wait for two locks one after the other.
        let mut seen_blocked = 0;
        while seen_blocked < 2 {
            let waiting: Vec<i32> =
                calls.iter().zip(&all).filter_map(|(call, pid)| call.as_ref().map(|_| *pid)).collect();
            if waiting.is_empty() {
                return;
            }
            let asked: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&waiting, &all];
            tokio::select! {
                biased;
                () = self.one_comes_back(calls) => seen_blocked = 0,
                row = async {
                    // Most steps come back at once: don't make the server work for the question.
                    tokio::time::sleep(ASK_AFTER).await;
                    world.observer.query_one(&blocked, &asked).await
                } => seen_blocked = if row.unwrap().get(0) { seen_blocked + 1 } else { 0 },
            }
        }
    }

    async fn one_comes_back(&mut self, calls: &mut [Option<Call>]) {
        let (at, told) = std::future::poll_fn(|context| {
            for (at, call) in calls.iter_mut().enumerate() {
                if let Some((_, handle)) = call
                    && let std::task::Poll::Ready(told) = std::pin::Pin::new(handle).poll(context)
                {
                    return std::task::Poll::Ready((at, told.unwrap()));
                }
            }
            std::task::Poll::Pending
        })
        .await;
        let (step, _) = calls[at].take().unwrap();
        let answer = told.unwrap_or_else(|problem| {
            self.problems.push(problem.clone());
            problem
        });
        self.trace.push((at, step, answer));
    }

    async fn await_all(&mut self, calls: &mut [Option<Call>]) {
        while calls.iter().any(Option::is_some) {
            self.one_comes_back(calls).await;
        }
    }
}

fn start(world: &World, at: usize, step: Step, case: &Arc<Case>) -> JoinHandle<Told> {
    let (actor, case) = (world.actors[at].clone(), case.clone());
    tokio::spawn(async move { take(step, &actor, &case).await })
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for problem in &self.problems {
            writeln!(f, "  {problem}")?;
        }
        for (at, step, answer) in &self.trace {
            writeln!(f, "    session {at} {step:?}: {answer}")?;
        }
        Ok(())
    }
}
