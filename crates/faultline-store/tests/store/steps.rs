//! Every transition as a value, so that tests can take each of them once, twice, and against every other.

use crate::common::{DEADLINE, EXPIRED, Facts, LONG, facts, job, json, lease, put, value, worker};
use faultline_core::{JobId, LeaseId, NewJob, WorkerId};
use faultline_store::enqueue::{Enqueued, enqueue};
use faultline_store::finish::{Ending, Finish, finish};
use faultline_store::lease::{Floors, claim, renew, still_held};
use faultline_store::operate::{Retry, cancel, retry};
use faultline_store::reap::reap;
use faultline_store::{ClientWrapper, Error};
use std::time::Duration;

/// A transition, or a request for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    EnqueueSameKey,
    Claim,
    Renew,
    Complete,
    CompleteInTx,
    Fail,
    FailForGood,
    Release,
    Snooze,
    Cancel,
    Reap,
    Retry,
}

impl Step {
    pub(crate) const ALL: [Self; 12] = [
        Self::EnqueueSameKey,
        Self::Claim,
        Self::Renew,
        Self::Complete,
        Self::CompleteInTx,
        Self::Fail,
        Self::FailForGood,
        Self::Release,
        Self::Snooze,
        Self::Cancel,
        Self::Reap,
        Self::Retry,
    ];

    /// Whether the step goes around rows that are locked instead of waiting.
    pub(crate) fn skips_locked(self) -> bool {
        matches!(self, Self::Claim | Self::Renew | Self::Reap)
    }

    /// Takes the step on a session; answers in words what came of it.
    pub(crate) async fn take(self, client: &ClientWrapper, case: &Case) -> String {
        let queue = &case.job.queue;
        match self {
            Self::EnqueueSameKey => {
                let again = NewJob { id: job().id, ..case.job.clone() };
                match enqueue(client, &[again]).await.unwrap()[0] {
                    Enqueued::Duplicate(id) if id == case.id() => "duplicate".into(),
                    other => format!("{other:?}"),
                }
            }
            Self::Claim => {
                let claimed = claim(client, queue, lease(), worker(), LONG, 1, &Floors::head()).await.unwrap();
                claimed.first().map_or("nothing".into(), |job| format!("claimed {}", job.attempt))
            }
            Self::Renew => {
                let pair = [(case.id(), case.lease)];
                if let Some(one) = renew(client, queue, &pair, LONG).await.unwrap().first() {
                    return format!("renewed, cancel {}", one.cancel);
                }
                let passed_over = !still_held(client, queue, &pair).await.unwrap().is_empty();
                if passed_over { "nothing".into() } else { "lost".into() }
            }
            Self::CompleteInTx => case.complete_in_tx(client).await,
            Self::Complete => case.end(client, Ending::Complete(Some(json("1")))).await,
            Self::Fail => case.end(client, Ending::Fail { error: "boom".into(), delay: Duration::ZERO }).await,
            Self::FailForGood => case.end(client, Ending::FailForGood { error: "bad".into(), reason: "fatal" }).await,
            Self::Release => case.end(client, Ending::Release { delay: None, reason: "drain".into() }).await,
            Self::Snooze => case.end(client, Ending::Snooze(Duration::from_secs(60))).await,
            Self::Cancel => format!("{:?}", cancel(client, "test", case.id()).await.unwrap()),
            Self::Reap => match reap(client, std::slice::from_ref(queue), &[case.owner], 1000).await.unwrap().first() {
                Some(one) if one.id == case.id() => format!("reaped to {}", one.state),
                Some(other) => panic!("reaped {other:?}"),
                None => "nothing".into(),
            },
            Self::Retry => match retry(client, "test", case.id(), job().id).await.unwrap() {
                Retry::Successor { created, .. } => format!("successor, created {created}"),
                other => format!("{other:?}"),
            },
        }
    }
}

/// Where a job is before the steps of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Start {
    Queued,
    Scheduled,
    Running,
    /// Under a lease that has expired.
    Expired,
    /// Under a lease that lasts, by a worker whose session is gone.
    Absent,
    /// Under an expired lease, on the last attempt.
    LastAttempt,
    /// Under an expired lease, and somebody asked it to stop.
    CancelRequested,
    Succeeded,
}

impl Start {
    pub(crate) const ALL: [Self; 8] = [
        Self::Queued,
        Self::Scheduled,
        Self::Running,
        Self::Expired,
        Self::Absent,
        Self::LastAttempt,
        Self::CancelRequested,
        Self::Succeeded,
    ];
}

/// A job of its own in a queue of its own.
pub(crate) struct Case {
    pub(crate) job: NewJob,
    /// The lease under which the steps act; nobody's where the job was not claimed.
    pub(crate) lease: LeaseId,
    pub(crate) owner: WorkerId,
}

impl Case {
    /// Brings a new job to its start.
    pub(crate) async fn at(start: Start, client: &ClientWrapper) -> Self {
        let mut new = job();
        new.queue = format!("q{}", new.id);
        new.key = Some("key".into());
        if start == Start::Scheduled {
            new.start = faultline_core::Start::After(Duration::from_secs(3600));
        }
        if start == Start::LastAttempt {
            new.max_attempts = 1;
        }
        put(client, &new).await;
        let case = Self { job: new, lease: lease(), owner: worker() };
        if !matches!(start, Start::Queued | Start::Scheduled) {
            let lasts = matches!(start, Start::Running | Start::Absent | Start::Succeeded);
            let ttl = if lasts { LONG } else { EXPIRED };
            let queue = &case.job.queue;
            let claimed = claim(client, queue, case.lease, case.owner, ttl, 1, &Floors::head()).await.unwrap();
            assert_eq!(claimed.len(), 1);
        }
        match start {
            Start::Absent => case.lose_worker(client).await,
            Start::CancelRequested => assert_eq!(Step::Cancel.take(client, &case).await, "Requested"),
            Start::Succeeded => assert_eq!(Step::Complete.take(client, &case).await, "Moved(Succeeded)"),
            _ => {}
        }
        case
    }

    pub(crate) fn id(&self) -> JobId {
        self.job.id
    }

    async fn end(&self, client: &ClientWrapper, ending: Ending) -> String {
        let one = Finish { id: self.id(), lease_id: self.lease, ending };
        format!("{:?}", finish(client, &self.job.queue, &[one]).await.unwrap()[0])
    }

    async fn complete_in_tx(&self, client: &ClientWrapper) -> String {
        let answer = client.query("select faultline.complete_in_tx($1, $2)", &[&self.id().0, &self.lease.0]).await;
        match answer.map_err(Error::from) {
            Ok(_) => "done".into(),
            Err(Error::Refused { code, .. }) => code,
            Err(other) => panic!("{other}"),
        }
    }

    /// A row of the worker whose backend no longer exists.
    async fn lose_worker(&self, client: &ClientWrapper) {
        client
            .execute(
                "insert into faultline.workers (id, pid, slots, lease_ttl_ms, host, version, queues, kinds, presence_pid,
                     presence_started_at, presence_server)
                 values ($1, 1, 1, 1000, 'h', '0', array[$2], array['*'], -1, now(), pg_postmaster_start_time())",
                &[&self.owner.0, &self.job.queue],
            )
            .await
            .unwrap();
    }

    /// The facts of the job and how many successors it has.
    pub(crate) async fn facts(&self, client: &ClientWrapper) -> (Facts, i64) {
        let successors = "select count(*) from faultline.all_jobs where retry_of = $1";
        (facts(client, self.id()).await, value(client, successors, &[&self.id().0]).await)
    }
}

/// Takes steps one after the other on a new job; answers what each said, and what became of the job.
pub(crate) async fn in_turn(session: &ClientWrapper, start: Start, steps: &[Step]) -> (Vec<String>, (Facts, i64)) {
    let work = async {
        let case = Case::at(start, session).await;
        let mut answers = Vec::new();
        for step in steps {
            answers.push(step.take(session, &case).await);
        }
        (answers, case.facts(session).await)
    };
    tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| panic!("stuck: {start:?} {steps:?}"))
}
