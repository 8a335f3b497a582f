//! The statements, each in one piece, as `crates/faultline-store/sql` and `migrations/0002_functions.sql` have them.
//!
//! A transition notes the promises that it breaks; what a state must be like by itself is in [`crate::promise`].

use crate::promise::{Promise, Promises};
use crate::scope::Variant;
use crate::state::Ending;

/// A lease id.
pub type Token = u8;

/// The tables.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Database {
    /// `jobs`, `job_history` and `job_attempts`, by job.
    pub jobs: Vec<Job>,
    /// `idempotency_keys`: the job that has the one key of a search.
    pub key: Option<u8>,
    /// The transaction of a handler that has called `complete_in` and not ended: it locks the job's row.
    pub open: Option<(u8, Token)>,
}

/// A job with its timeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Job {
    /// Where it is.
    pub place: Place,
    /// `attempts`.
    pub attempts: u8,
    /// `crashes`.
    pub crashes: u8,
    /// `cancel_requested_at is not null`.
    pub cancel_requested: bool,
    /// The leases that were ended, with how: `job_attempts`, and `job_history` for the last.
    pub log: Vec<(Token, End)>,
    /// Rows that its handlers have committed elsewhere in the database.
    pub effects: u8,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// It was not enqueued.
    Nowhere,
    /// It waits, or waits for its time.
    Queued,
    /// A lease holds it.
    Running(Lease),
    /// It ended well.
    Succeeded,
    /// It ended badly.
    Failed,
    /// An operator ended it.
    Cancelled,
}

/// A lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// `lease_id`.
    pub token: Token,
    /// `lease_owner`.
    pub owner: u8,
    /// Ticks until `lease_expires_at`; 0 when it has expired.
    pub left: u8,
}

/// How a lease was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// By its holder, with the job.
    Succeeded,
    /// By its holder, with the job.
    Failed,
    /// By its holder, with the job.
    Cancelled,
    /// By its holder: another attempt follows.
    Retried,
    /// By its holder: not charged.
    PutBack,
    /// By a reap.
    Reaped {
        /// Whether the attempt counts.
        charged: bool,
    },
    /// By a reap, with the job: `crash_loop` or `worker_lost`.
    ReapedForGood,
}

/// What a finish is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finished {
    /// The job went there by this attempt's word.
    Moved(End),
    /// Nothing was changed.
    LeaseLost,
}

impl Job {
    /// One that is not there yet.
    #[must_use]
    pub fn new(place: Place) -> Self {
        Self { place, attempts: 0, crashes: 0, cancel_requested: false, log: Vec::new(), effects: 0 }
    }

    /// How often it was claimed.
    #[must_use]
    pub fn claims(&self) -> usize {
        self.log.len() + usize::from(matches!(self.place, Place::Running(_)))
    }

    /// How many claims are not charged.
    #[must_use]
    pub fn refunds(&self) -> usize {
        let is_refund = |end: &End| matches!(end, End::PutBack | End::Reaped { charged: false });
        self.log.iter().filter(|(_, end)| is_refund(end)).count()
    }

    /// How an attempt was ended by its own word.
    #[must_use]
    pub fn word_of(&self, token: Token) -> Option<End> {
        let is_word = |end: &End| !matches!(end, End::Reaped { .. } | End::ReapedForGood);
        self.log.iter().find(|(of, end)| *of == token && is_word(end)).map(|(_, end)| *end)
    }

    fn lease(&self) -> Option<Lease> {
        if let Place::Running(lease) = self.place { Some(lease) } else { None }
    }

    fn leave(&mut self, token: Token, end: End) {
        self.log.push((token, end));
        self.place = match end {
            End::Succeeded => Place::Succeeded,
            End::Failed | End::ReapedForGood if !self.cancel_requested => Place::Failed,
            End::Cancelled | End::Failed | End::ReapedForGood => Place::Cancelled,
            End::Retried | End::PutBack | End::Reaped { .. } => Place::Queued,
        };
    }
}

impl Database {
    /// The row of a job, its lease.
    #[must_use]
    pub fn lease(&self, job: u8) -> Option<Lease> {
        self.jobs[usize::from(job)].lease()
    }

    /// Whether a transaction holds the job's row: statements wait for it, claims and reaps go around it.
    #[must_use]
    pub fn is_locked(&self, job: u8) -> bool {
        self.open.is_some_and(|(locked, _)| locked == job)
    }

    /// `claim.sql`, of one job.
    pub fn claim(&mut self, variant: Variant, job: u8, lease: Lease, broken: &mut Promises) {
        let job = &mut self.jobs[usize::from(job)];
        if !matches!(job.place, Place::Queued) {
            broken.add(Promise::OneHolder);
        }
        job.place = Place::Running(lease);
        job.attempts += u8::from(variant != Variant::AttemptChargedAtFinish);
    }

    /// `complete.sql`, `fail.sql`, `put_back.sql`, and `finish_outcome.sql` for what they did not move.
    pub fn finish(&mut self, rules: Rules, claim: Claimed, ending: Ending, broken: &mut Promises) -> Finished {
        let job = &mut self.jobs[usize::from(claim.job)];
        let fits = |lease: &Lease| match rules.variant {
            Variant::FinishWithoutLease => true,
            Variant::FinishByAttempt => job.attempts == claim.attempt,
            Variant::FinishByOwner => lease.owner == claim.owner,
            _ => lease.token == claim.token,
        };
        let Some(lease) = job.lease().filter(fits) else {
            return job.word_of(claim.token).map_or(Finished::LeaseLost, Finished::Moved);
        };
        if lease.token != claim.token {
            broken.add(Promise::OwnLease);
        }
        job.attempts += u8::from(rules.variant == Variant::AttemptChargedAtFinish);
        let end = match ending {
            Ending::Complete => End::Succeeded,
            Ending::Fail | Ending::PutBack if job.cancel_requested => End::Cancelled,
            Ending::Fail if job.attempts >= rules.max_attempts => End::Failed,
            Ending::Fail => End::Retried,
            Ending::PutBack => {
                job.attempts -= 1;
                End::PutBack
            }
        };
        job.leave(lease.token, end);
        Finished::Moved(end)
    }

    /// `reap.sql` for jobs whose leases have expired or whose worker is gone, all of a worker at once. Answers what was
    /// ended.
    pub fn reap(&mut self, rules: Rules, fallen: &[u8]) -> Vec<(u8, Lease, End)> {
        let free: Vec<(u8, Lease)> = fallen
            .iter()
            .filter(|job| !self.is_locked(**job))
            .filter_map(|job| self.lease(*job).map(|lease| (*job, lease)))
            .collect();
        let crashes = |job: u8| self.jobs[usize::from(job)].crashes;
        let judged: Vec<(u8, Lease, bool, bool)> = free
            .iter()
            .map(|(job, lease)| {
                let beside =
                    || free.iter().filter(|(_, other)| other.owner == lease.owner).map(|(job, _)| crashes(*job));
                let own = crashes(*job);
                let suspect = Some(own) == beside().max();
                let alone = beside().filter(|crashes| *crashes == own).count() == 1;
                (*job, *lease, suspect && (own != 1 || alone), suspect)
            })
            .collect();
        judged
            .into_iter()
            .map(|(id, lease, charged, suspect)| {
                let job = &mut self.jobs[usize::from(id)];
                let charges_now = rules.variant != Variant::AttemptChargedAtFinish;
                let is_over =
                    charged && job.attempts >= rules.max_attempts && rules.variant != Variant::NoMaximumOnReap;
                let end = if job.cancel_requested || is_over { End::ReapedForGood } else { End::Reaped { charged } };
                job.crashes += u8::from(suspect);
                job.attempts -= u8::from(end == End::Reaped { charged: false } && charges_now);
                job.leave(lease.token, end);
                (id, lease, end)
            })
            .collect()
    }

    /// `faultline.cancel`. Whether it changed anything.
    pub fn cancel(&mut self, job: u8) -> bool {
        let job = &mut self.jobs[usize::from(job)];
        match job.place {
            Place::Queued => job.place = Place::Cancelled,
            Place::Running(_) if !job.cancel_requested => job.cancel_requested = true,
            _ => return false,
        }
        true
    }

    /// `faultline.enqueue_batch` with a key. Answers the job that has it, and whether anything was written.
    pub fn enqueue_keyed(&mut self, variant: Variant, job: u8) -> (u8, bool) {
        let has_ended = |first: &u8| !matches!(self.jobs[usize::from(*first)].place, Place::Queued | Place::Running(_));
        match self.key {
            Some(first) if variant == Variant::KeyOfHotJobs && has_ended(&first) => {
                self.key = Some(job);
                self.jobs[usize::from(job)].place = Place::Queued;
                (job, true)
            }
            // The one that is there counts the duplicate: a write, whose durability is awaited.
            Some(first) => (first, variant != Variant::DoNothingOnConflict),
            None => {
                self.key = Some(job);
                self.jobs[usize::from(job)].place = Place::Queued;
                (job, true)
            }
        }
    }

    /// `faultline.enqueue_batch` without a key: the primary key of the hot table is all that it meets.
    pub fn enqueue(&mut self, job: u8, broken: &mut Promises) {
        let job = &mut self.jobs[usize::from(job)];
        match job.place {
            Place::Nowhere => job.place = Place::Queued,
            Place::Queued | Place::Running(_) => {}
            Place::Succeeded | Place::Failed | Place::Cancelled => {
                broken.add(Promise::Terminal);
                job.place = Place::Queued;
            }
        }
    }

    /// `insert_again.sql` with `enqueued_before.sql`: what is there or has ended stays.
    pub fn enqueue_again(&mut self, job: u8) {
        let job = &mut self.jobs[usize::from(job)];
        if job.place == Place::Nowhere {
            job.place = Place::Queued;
        }
    }
}

/// What decides besides the rows.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The protocol.
    pub variant: Variant,
    /// `max_attempts` of every job.
    pub max_attempts: u8,
}

/// What a finish can name.
#[derive(Clone, Copy, Debug)]
pub struct Claimed {
    /// The job.
    pub job: u8,
    /// The lease.
    pub token: Token,
    /// The number of the attempt.
    pub attempt: u8,
    /// The worker's incarnation.
    pub owner: u8,
}
