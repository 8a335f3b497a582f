//! Concurrent enqueues share commits.
//!
//! A request puts its job into a lane and waits. A lane takes whatever waits, up to [`MAX_COMMIT_JOBS`], and commits it in
//! one statement; the requests which arrive while it is in flight gather for the next. That one is sent when the first is answered,
//! or beside it if it takes long; there are two at most. A request that comes alone is committed at once. Each is answered after
//! its commit.
//!
//! There are two lanes. Jobs without a key never wait for a lock; jobs with a key wait for whoever is using that key, which
//! may be somebody's open transaction, and must not make the others wait.
//!
//! At its deadline a request that no commit has taken is withdrawn: it was certainly not sent. One that was taken is
//! answered by the commit, which has the same deadline. [`Waiting::claim`] decides which of the two it is, exactly once.

use crate::commit::{Committer, Outcome};
use crate::limits::{
    COMMIT_ALONE, MAX_COMMIT_BYTES, MAX_COMMIT_JOBS, MAX_COMMITS_IN_FLIGHT, MAX_WAITING_ENQUEUES, MIN_COMMIT_TIME,
};
use crate::problem::{Kind, Problem};
use faultline_core::NewJob;
use faultline_store::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// How much longer than its deadline a request waits for a commit that has taken it: the commit's own limit answers first.
const GRACE: Duration = Duration::from_secs(1);

/// A request for one job on its way to a commit.
struct Waiting {
    job: NewJob,
    deadline: Instant,
    /// Set once, by the commit that takes the job or by the request that withdraws it.
    claimed: Arc<AtomicBool>,
    reply: oneshot::Sender<(NewJob, Outcome)>,
}

impl Waiting {
    fn claim(claimed: &AtomicBool) -> bool {
        !claimed.swap(true, Ordering::AcqRel)
    }
}

/// How an enqueue ended. The job comes back with the answer, so that nobody needs a copy of its payload.
pub(crate) enum Answered {
    /// The commit has an outcome.
    Outcome(Box<NewJob>, Outcome),
    /// The commit that took the job gave no answer in time.
    Silence,
}

/// The way of jobs into the database.
pub(crate) struct Enqueuer {
    keyless: mpsc::Sender<Waiting>,
    keyed: mpsc::Sender<Waiting>,
    committer: Committer,
    /// Batch requests are batches already: they commit by themselves, two at a time.
    batches: Arc<Semaphore>,
}

impl Enqueuer {
    /// Starts the lanes in `tasks`; they end when this value is gone and what waits is committed.
    pub(crate) fn start(committer: Committer, tasks: &TaskTracker) -> Self {
        let lane = || {
            let (sender, receiver) = mpsc::channel(MAX_WAITING_ENQUEUES);
            tasks.spawn(run(receiver, committer.clone(), tasks.clone()));
            sender
        };
        let (keyless, keyed) = (lane(), lane());
        Self { keyless, keyed, committer, batches: Arc::new(Semaphore::new(MAX_COMMITS_IN_FLIGHT)) }
    }

    pub(crate) fn committer(&self) -> &Committer {
        &self.committer
    }

    /// Enqueues one job together with others that come at the same time.
    pub(crate) async fn enqueue(&self, job: NewJob, deadline: Instant) -> Result<Answered, Problem> {
        let lane = if job.key.is_some() { &self.keyed } else { &self.keyless };
        let (reply, mut answer) = oneshot::channel();
        let claimed = Arc::new(AtomicBool::new(false));
        lane.try_send(Waiting { job, deadline, claimed: claimed.clone(), reply })
            .map_err(|_| Kind::TooManyRequests.because("too many enqueues are waiting for the database"))?;
        let answered = match tokio::time::timeout_at(deadline, &mut answer).await {
            Ok(answered) => answered.ok(),
            Err(_) if Waiting::claim(&claimed) => return Err(not_sent()),
            Err(_) => tokio::time::timeout_at(deadline + GRACE, answer).await.ok().and_then(Result::ok),
        };
        Ok(answered.map_or(Answered::Silence, |(job, outcome)| Answered::Outcome(Box::new(job), outcome)))
    }

    /// Enqueues a batch in one commit, on its own.
    pub(crate) async fn enqueue_batch(&self, jobs: &[NewJob], deadline: Instant) -> Result<Vec<Outcome>, Problem> {
        let slot = tokio::time::timeout_at(deadline - MIN_COMMIT_TIME, self.batches.clone().acquire_owned())
            .await
            .map_err(|_| not_sent())?
            .expect("nobody closes the semaphore");
        Ok(self.committer.commit(jobs, deadline, slot).await)
    }
}

fn not_sent() -> Problem {
    Problem::from(out_of_time())
}

fn out_of_time() -> Error {
    Error::Unreachable { reason: "the time limit came before it could be sent; nothing was enqueued".into() }
}

async fn run(mut waiting: mpsc::Receiver<Waiting>, committer: Committer, tasks: TaskTracker) {
    let slots = Arc::new(Semaphore::new(MAX_COMMITS_IN_FLIGHT));
    while let Some(first) = waiting.recv().await {
        let slot = slot(&slots).await;
        let mut batch = Batch::default();
        batch.take(first);
        while batch.has_room() {
            let Ok(next) = waiting.try_recv() else { break };
            batch.take(next);
        }
        let Some(deadline) = batch.deadline else { continue };
        let committer = committer.clone();
        tasks.spawn(async move {
            let outcomes = committer.commit(&batch.jobs, deadline, slot).await;
            for ((reply, job), outcome) in batch.replies.into_iter().zip(batch.jobs).zip(outcomes) {
                // A client that has gone away needs no answer.
                let _ = reply.send((job, outcome));
            }
        });
    }
}

/// A place in flight: at once if no commit is, else when none is any more or the last one takes long.
async fn slot(slots: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let all = u32::try_from(MAX_COMMITS_IN_FLIGHT).unwrap_or(u32::MAX);
    let alone = tokio::time::timeout(COMMIT_ALONE, slots.clone().acquire_many_owned(all)).await;
    let slot = match alone {
        Ok(all) => all.map(|mut all| all.split(1).expect("there is one at least")),
        Err(_) => slots.clone().acquire_owned().await,
    };
    slot.expect("nobody closes the semaphore")
}

#[derive(Default)]
struct Batch {
    jobs: Vec<NewJob>,
    replies: Vec<oneshot::Sender<(NewJob, Outcome)>>,
    bytes: usize,
    /// The earliest of its jobs.
    deadline: Option<Instant>,
}

impl Batch {
    fn has_room(&self) -> bool {
        self.jobs.len() < MAX_COMMIT_JOBS && self.bytes < MAX_COMMIT_BYTES
    }

    /// Takes a request in, unless it was withdrawn or has too little time left, which is answered at once.
    fn take(&mut self, waiting: Waiting) {
        if !Waiting::claim(&waiting.claimed) {
            return;
        }
        if waiting.deadline < Instant::now() + MIN_COMMIT_TIME {
            let _ = waiting.reply.send((waiting.job, Outcome::Refused(Arc::new(out_of_time()))));
            return;
        }
        self.bytes += waiting.job.payload.get().len();
        self.deadline = Some(self.deadline.map_or(waiting.deadline, |earliest| earliest.min(waiting.deadline)));
        self.jobs.push(waiting.job);
        self.replies.push(waiting.reply);
    }
}
