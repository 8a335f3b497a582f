//! Every transition raced against every other from two sessions: the first holds its change uncommitted, the second begins
//! and is seen returning or waiting, then the first commits or rolls back.
//!
//! What must hold has an oracle: the same steps taken one after the other. A race must end as one of the two orders would,
//! in what both were told and in every fact of the job - or as if the second had not happened where it goes around locked rows.

use crate::common::{DEADLINE, Db, Facts, Start as Progress, returned_or_blocked};
use crate::steps::{Case, Start, Step, in_turn};
use faultline_store::Session;
use std::collections::HashMap;

type Outcome = (Vec<String>, (Facts, i64));

struct Race {
    first: Session,
    second: Session,
    observer: Session,
    in_order: HashMap<(Start, Vec<Step>), Outcome>,
}

impl Race {
    async fn new(db: &Db) -> Self {
        let (first, second, observer) = (db.session().await, db.session().await, db.session().await);
        Self { first, second, observer, in_order: HashMap::new() }
    }

    /// Both answers, and what became of the job.
    async fn run(&self, start: Start, first: Step, second: Step, end: &str) -> Outcome {
        let case = Case::at(start, &self.observer).await;
        self.first.batch_execute("begin").await.unwrap();
        let told_first = first.take(&self.first, &case).await;
        let mut call = Box::pin(second.take(&self.second, &case));
        let progress = returned_or_blocked(&self.observer, &mut call).await;
        self.first.batch_execute(end).await.unwrap();
        let told_second = match progress {
            Progress::Returned(told) => told,
            Progress::Blocked => call.await,
        };
        (vec![told_first, told_second], case.facts(&self.observer).await)
    }

    /// What the steps come to one after the other.
    async fn oracle(&mut self, start: Start, steps: &[Step]) -> Outcome {
        let key = (start, steps.to_vec());
        if !self.in_order.contains_key(&key) {
            let outcome = in_turn(&self.observer, start, steps).await;
            self.in_order.insert(key.clone(), outcome);
        }
        self.in_order[&key].clone()
    }

    /// The outcomes that a race may have, the first step's answer first.
    async fn allowed(&mut self, start: Start, first: Step, second: Step, commits: bool) -> Vec<Outcome> {
        let (mut told_alone, after_first) = self.oracle(start, &[first]).await;
        told_alone.push("nothing".into());
        let (told_second, after_second) = self.oracle(start, &[second]).await;
        if !commits {
            let untouched = self.oracle(start, &[]).await.1;
            let answers = vec![told_alone[0].clone(), told_second[0].clone()];
            let mut allowed = vec![(answers, after_second)];
            if second.skips_locked() {
                allowed.push((told_alone, untouched));
            }
            return allowed;
        }
        let mut allowed = vec![self.oracle(start, &[first, second]).await];
        let (mut reversed, after_both) = self.oracle(start, &[second, first]).await;
        reversed.reverse();
        allowed.push((reversed, after_both));
        if second.skips_locked() {
            allowed.push((told_alone, after_first));
        }
        allowed
    }
}

async fn race_all(start: Start) {
    let db = Db::migrated();
    let mut race = Race::new(&db).await;
    let mut wrong = Vec::new();
    for first in Step::ALL {
        for second in Step::ALL {
            for end in ["commit", "rollback"] {
                let run = race.run(start, first, second, end);
                let seen = tokio::time::timeout(DEADLINE, run).await;
                let seen = seen.unwrap_or_else(|_| panic!("stuck: {start:?} {first:?} {second:?} {end}"));
                let allowed = race.allowed(start, first, second, end == "commit").await;
                if !allowed.contains(&seen) {
                    wrong.push(format!("{start:?}: {first:?}, {second:?}, {end}: {seen:?}\n  allowed: {allowed:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} races went wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn any_two_steps_on_a_queued_job_end_as_one_after_the_other() {
    race_all(Start::Queued).await;
}

#[tokio::test]
async fn any_two_steps_on_a_scheduled_job_end_as_one_after_the_other() {
    race_all(Start::Scheduled).await;
}

#[tokio::test]
async fn any_two_steps_on_a_running_job_end_as_one_after_the_other() {
    race_all(Start::Running).await;
}

#[tokio::test]
async fn any_two_steps_on_a_job_whose_lease_has_expired_end_as_one_after_the_other() {
    race_all(Start::Expired).await;
}

#[tokio::test]
async fn any_two_steps_on_a_job_whose_worker_is_gone_end_as_one_after_the_other() {
    race_all(Start::Absent).await;
}

#[tokio::test]
async fn any_two_steps_on_a_last_attempt_end_as_one_after_the_other() {
    race_all(Start::LastAttempt).await;
}

#[tokio::test]
async fn any_two_steps_on_a_job_that_was_asked_to_stop_end_as_one_after_the_other() {
    race_all(Start::CancelRequested).await;
}

#[tokio::test]
async fn any_two_steps_on_a_finished_job_end_as_one_after_the_other() {
    race_all(Start::Succeeded).await;
}
