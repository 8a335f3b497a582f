//! The steps of a program, and how a session takes one: the call, what it was told in words, and the record of it.

use crate::witness::History;
use crate::world::Case;
use faultline_check::witness::{Action, Answer, Phase, Record};
use faultline_core::{JobId, LeaseId, NewJob, State, WorkerId};
use faultline_store::enqueue::{Enqueued, enqueue};
use faultline_store::finish::{Ending, Finish, Finished, finish};
use faultline_store::lease::{Floors, claim, renew};
use faultline_store::operate::{Retry, cancel, pause, resume, retry};
use faultline_store::reap::{Reaped, bury, reap, watch};
use faultline_store::{Error, LEASE_LOST, Session};
use std::time::Duration;

/// The lease time of what is claimed and renewed in a program: no run takes as long.
pub(crate) const LONG: Duration = Duration::from_secs(600);
/// Rows that a look covers: more than there are.
const LOOK_AT: i64 = 1000;

/// One call of the store, or a boundary of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Begin,
    Commit,
    Rollback,
    /// Enqueue under the key of the program.
    Enqueue,
    /// Enqueue another request under the same key.
    EnqueueOther,
    Claim,
    Renew,
    /// Write the handler's effect.
    Effect,
    /// Finish in the open transaction.
    CompleteInTx,
    /// Effect and finish in a transaction of their own, all at once.
    Pay,
    Complete,
    Fail,
    Release,
    Snooze,
    Reap,
    /// Reap what the first holder left, whose session is gone.
    Bury,
    Cancel,
    Retry,
    Pause,
    Resume,
}

impl Step {
    /// Whether the step goes around rows that are locked, so that it must never wait.
    pub(crate) fn skips_locked(self) -> bool {
        matches!(self, Self::Claim | Self::Reap | Self::Bury)
    }
}

/// A session of a program, with what it knows.
pub(crate) struct Actor {
    pub(crate) session: Session,
    pub(crate) pid: i32,
    pub(crate) knows: tokio::sync::Mutex<Knowledge>,
}

/// What a session knows; a rollback forgets.
#[derive(Debug, Default)]
pub(crate) struct Knowledge {
    pub(crate) history: History,
    pub(crate) owner: Option<WorkerId>,
    /// What it holds, or believes to hold.
    pub(crate) held: Option<(JobId, LeaseId)>,
    /// What it held when the open transaction began; none outside of one.
    before: Option<Option<(JobId, LeaseId)>>,
    /// Ends of operations that the open transaction will decide.
    undecided: Vec<Record>,
    /// A statement has failed: the open transaction can only be rolled back.
    is_aborted: bool,
}

/// What a session was told, or what must not happen.
pub(crate) type Told = Result<String, String>;

/// Takes a step; answers in words what came of it.
pub(crate) async fn take(step: Step, actor: &Actor, case: &Case) -> Told {
    let (session, knows) = (&actor.session, &mut *actor.knows.lock().await);
    match step {
        Step::Begin => {
            session.batch_execute("begin").await.map_err(|e| e.to_string())?;
            knows.before = Some(knows.held);
            return Ok("begun".into());
        }
        Step::Commit | Step::Rollback => return end_transaction(step, session, knows).await,
        _ if knows.is_aborted => return Ok("skipped".into()),
        Step::Enqueue | Step::EnqueueOther => enqueue_keyed(step, session, knows, case).await,
        Step::Claim => take_job(session, knows, case).await,
        Step::Reap => reap_expired(session, &case.queue).await.map(|reaped| moved(&reaped)),
        Step::Bury => {
            let mut reaped = Vec::new();
            bury(session, &[], &[case.first_owner], LOOK_AT, &mut reaped).await.map(|_| moved(&reaped))
        }
        Step::Cancel => cancel(session, "test", case.job).await.map(|answer| format!("{answer:?}")),
        Step::Retry => try_again(session, knows, case).await,
        Step::Pause => pause(session, "test", &case.queue, None).await.map(|()| "paused".into()),
        Step::Resume => resume(session, "test", &case.queue).await.map(|was| format!("resumed {was}")),
        _ => match knows.held {
            None => Ok("holds nothing".into()),
            Some(held) => with_lease(step, session, knows, case, held).await,
        },
    }
    .or_else(|error| match error {
        Error::Refused { code, .. } if code == LEASE_LOST => {
            knows.is_aborted = knows.before.is_some();
            Ok("lease lost".into())
        }
        other => Err(format!("{step:?} failed: {other}")),
    })
}

async fn end_transaction(step: Step, session: &Session, knows: &mut Knowledge) -> Told {
    let commits = step == Step::Commit && !knows.is_aborted;
    session.batch_execute(if commits { "commit" } else { "rollback" }).await.map_err(|e| e.to_string())?;
    let before = knows.before.take().unwrap();
    if !commits {
        knows.held = before;
    }
    knows.is_aborted = false;
    for mut end in knows.undecided.drain(..) {
        if !commits && end.phase == Phase::Ok {
            (end.phase, end.answer, end.job) = (Phase::Fail, None, None);
        }
        knows.history.push(end);
    }
    Ok(if commits { "committed" } else { "rolled back" }.into())
}

impl Knowledge {
    /// The end of an operation: known now, or when the open transaction ends.
    fn end(&mut self, mut record: Record, phase: Phase, answer: Answer) {
        (record.phase, record.answer) = (phase, Some(answer));
        if self.before.is_some() { self.undecided.push(record) } else { self.history.push(record) }
    }
}

async fn enqueue_keyed(
    step: Step,
    session: &Session,
    knows: &mut Knowledge,
    case: &Case,
) -> faultline_store::Result<String> {
    let mut job = case.new_job();
    job.key = Some("key".into());
    if step == Step::EnqueueOther {
        job.kind = "other".into();
    }
    let mut record = knows.history.begin(Action::Enqueue, |record| {
        record.job = Some(job.id.0);
        record.queue = Some(job.queue.as_str().into());
        record.key = Some("key".into());
        record.fingerprint = Some(job.kind.as_str().into());
    });
    let answer = enqueue(session, std::slice::from_ref(&job)).await?[0];
    record.job = Some(answer.id().0);
    let (phase, answer) = match answer {
        Enqueued::Created(_) => (Phase::Ok, Answer::Created),
        Enqueued::Duplicate(_) => (Phase::Ok, Answer::Duplicate),
        Enqueued::Conflict(_) => (Phase::Fail, Answer::Conflict),
    };
    knows.end(record, phase, answer);
    Ok(format!("{answer:?}"))
}

async fn take_job(session: &Session, knows: &mut Knowledge, case: &Case) -> faultline_store::Result<String> {
    let owner = knows.owner.unwrap();
    let lease = LeaseId::new(&mut rand::rng());
    let claimed = claim(session, &case.queue, lease, owner, LONG, 1, &Floors::head()).await?;
    let Some(job) = claimed.first() else { return Ok("nothing to claim".into()) };
    knows.held = Some((job.id, job.lease_id));
    Ok(format!("claimed, attempt {}", job.attempt))
}

async fn try_again(session: &Session, knows: &mut Knowledge, case: &Case) -> faultline_store::Result<String> {
    let NewJob { id, .. } = case.new_job();
    let mut record = knows.history.begin(Action::Enqueue, |record| record.job = Some(id.0));
    let answer = retry(session, "test", case.job, id).await?;
    match answer {
        Retry::Successor { id, created } => {
            record.job = Some(id.0);
            knows.end(record, Phase::Ok, if created { Answer::Created } else { Answer::Duplicate });
            Ok(format!("successor, created {created}"))
        }
        other => {
            knows.end(record, Phase::Fail, Answer::Refused);
            Ok(format!("{other:?}"))
        }
    }
}

async fn reap_expired(session: &Session, queue: &str) -> Result<Vec<Reaped>, Error> {
    let queues = [queue.to_owned()];
    let expired = watch(session, &queues, LOOK_AT).await?.expired;
    reap(session, &queues, &expired, LOOK_AT).await
}

fn moved(reaped: &[Reaped]) -> String {
    reaped.first().map_or("nothing to reap".into(), |one| format!("reaped to {}", one.state))
}

/// Steps that name a lease.
async fn with_lease(
    step: Step,
    session: &Session,
    knows: &mut Knowledge,
    case: &Case,
    (job, lease): (JobId, LeaseId),
) -> faultline_store::Result<String> {
    let names = move |record: &mut Record| (record.job, record.lease) = (Some(job.0), Some(lease.0));
    match step {
        Step::Effect => {
            session.execute("insert into public.effects values ($1, $2)", &[&job.0, &lease.0]).await?;
            return Ok("effect".into());
        }
        Step::Renew => {
            let record = knows.history.begin(Action::Renew, names);
            let renewed = !renew(session, &case.queue, &[(job, lease)], LONG).await?.is_empty();
            let (phase, answer) = if renewed { (Phase::Ok, Answer::Renewed) } else { (Phase::Fail, Answer::LeaseLost) };
            knows.end(record, phase, answer);
            return Ok(format!("{answer:?}"));
        }
        Step::CompleteInTx | Step::Pay => return complete_in_tx(step, session, knows, (job, lease)).await,
        _ => {}
    }
    let how = if step == Step::Complete { Answer::Returned } else { Answer::Erred };
    knows.history.note(Action::HandlerEnd, how, names);
    let record = knows.history.begin(Action::Finish, names);
    let one = Finish { id: job, lease_id: lease, ending: ending(step) };
    let (phase, answer) = match finish(session, &case.queue, &[one]).await?[0] {
        Finished::Moved(State::Succeeded) => (Phase::Ok, Answer::Succeeded),
        Finished::Moved(State::Failed) => (Phase::Ok, Answer::Failed),
        Finished::Moved(State::Cancelled) => (Phase::Ok, Answer::Cancelled),
        Finished::Moved(State::Queued | State::Running) => (Phase::Ok, Answer::Queued),
        Finished::LeaseLost => (Phase::Fail, Answer::LeaseLost),
    };
    knows.end(record, phase, answer);
    Ok(format!("{answer:?}"))
}

fn ending(step: Step) -> Ending {
    match step {
        Step::Fail => Ending::Fail { error: "boom".into(), delay: Duration::ZERO },
        Step::Release => Ending::Release { delay: None, reason: "drain".into() },
        Step::Snooze => Ending::Snooze(Duration::ZERO),
        _ => Ending::Complete(None),
    }
}

async fn complete_in_tx(
    step: Step,
    session: &Session,
    knows: &mut Knowledge,
    (job, lease): (JobId, LeaseId),
) -> faultline_store::Result<String> {
    let names = move |record: &mut Record| (record.job, record.lease) = (Some(job.0), Some(lease.0));
    knows.history.note(Action::HandlerEnd, Answer::Returned, names);
    let record = knows.history.begin(Action::Finish, names);
    let finish = format!("select faultline.complete_in_tx('{job}', '{lease}')");
    let effect = format!("insert into public.effects values ('{job}', '{lease}')");
    // Statements of one message are one transaction.
    let sent = if step == Step::Pay { format!("{effect}; {finish}") } else { finish };
    match session.batch_execute(&sent).await {
        Ok(()) => {
            knows.end(record, Phase::Ok, Answer::Succeeded);
            Ok("succeeded".into())
        }
        Err(error) => {
            // Not a lost lease: unlike another finish, this one refuses to be repeated.
            knows.end(record, Phase::Fail, Answer::Refused);
            Err(error.into())
        }
    }
}
