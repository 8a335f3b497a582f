//! What a command means in a state: its numbers instead of how long ago they came up.

use crate::command::{Asked, Command, How, NOBODY, Pair};
use crate::reference::Reference;
use std::collections::{BTreeMap, BTreeSet};

fn nth_back<T: Copy>(all: &[T], back: usize) -> Option<T> {
    (!all.is_empty()).then(|| all[all.len() - 1 - back % all.len()])
}

impl Reference {
    pub(crate) fn name(&mut self, command: &Command) -> Asked {
        let known: Vec<usize> = self.jobs.keys().rev().copied().collect();
        let job = |back: usize| known.get(back).copied().unwrap_or(NOBODY);
        let pair = |back| nth_back(&self.pairs, back).unwrap_or((NOBODY, NOBODY));
        match command {
            Command::Enqueue { request, key, is_second_try } => {
                let asked =
                    Asked::Enqueue { job: self.next_job, request: *request, key: *key, is_second_try: *is_second_try };
                self.requests.push((self.next_job, *request, *key));
                self.next_job += 1;
                asked
            }
            Command::EnqueueAgain { back } => {
                nth_back(&self.requests, *back).map_or(Asked::Nothing, |(job, request, key)| Asked::Enqueue {
                    job,
                    request,
                    key,
                    is_second_try: true,
                })
            }
            Command::Claim { worker, limit, expired } => {
                self.leases.push(*worker);
                Asked::Claim { lease: self.leases.len() - 1, worker: *worker, limit: *limit, expired: *expired }
            }
            Command::Fall { limit } => {
                self.leases.push(0);
                Asked::Fall { lease: self.leases.len() - 1, limit: *limit }
            }
            Command::RecoverClaim { back } => Asked::RecoverClaim { lease: pair(*back).1 },
            Command::Renew { backs } => {
                let pairs: BTreeSet<Pair> = backs.iter().map(|back| pair(*back)).collect();
                Asked::Renew { pairs: pairs.into_iter().collect() }
            }
            Command::Finish { ends } => {
                let ends: BTreeMap<Pair, How> = ends.iter().map(|(back, how)| (pair(*back), *how)).collect();
                // Which of two jobs that become due in one statement is first, nobody knows.
                let mut is_one_due = false;
                let ends = ends.into_iter().map(|(pair, how)| match how {
                    How::Fail { delayed: false } if std::mem::replace(&mut is_one_due, true) => {
                        (pair, How::Fail { delayed: true })
                    }
                    how => (pair, how),
                });
                Asked::Finish { ends: ends.collect() }
            }
            Command::CompleteInTx { back, commit } => Asked::CompleteInTx { pair: pair(*back), commit: *commit },
            Command::Cancel { back, held } => Asked::Cancel { job: if *held { pair(*back).0 } else { job(*back) } },
            Command::Retry { back, held } => {
                let job = if *held { pair(*back).0 } else { job(*back) };
                self.next_job += 1;
                Asked::Retry { job, successor: self.next_job - 1 }
            }
            Command::Expire { back } => Asked::Expire { pair: pair(*back) },
            Command::Reap { of } => Asked::Reap { of: of.and_then(|back| self.leases.get(pair(back).1)).copied() },
            Command::Again => self.again(),
            Command::Pause => Asked::Pause,
            Command::Resume => Asked::Resume,
        }
    }

    /// What is made of a new id each time gets another one.
    fn again(&mut self) -> Asked {
        match self.asked.clone() {
            Asked::Enqueue { job, request, key, .. } => Asked::Enqueue { job, request, key, is_second_try: true },
            Asked::Claim { worker, limit, expired, .. } => {
                self.leases.push(worker);
                Asked::Claim { lease: self.leases.len() - 1, worker, limit, expired }
            }
            Asked::Fall { limit, .. } => {
                self.leases.push(0);
                Asked::Fall { lease: self.leases.len() - 1, limit }
            }
            Asked::Retry { job, .. } => {
                self.next_job += 1;
                Asked::Retry { job, successor: self.next_job - 1 }
            }
            other => other,
        }
    }
}
