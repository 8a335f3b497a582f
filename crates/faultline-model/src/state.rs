//! What a state of the world consists of: the database, the workers with what they believe, the producers, and what is
//! on its way.

use crate::database::{Database, Token};
use crate::promise::Promises;
use crate::scope::Budget;

/// Ticks that a lease lasts; as long as a reaper holds off.
pub const LEASE_TICKS: u8 = 2;

/// One state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The tables.
    pub database: Database,
    /// What a failover goes back to: an earlier state of the tables.
    pub replica: Option<Database>,
    /// Who is there.
    pub world: World,
    /// The sessions by which workers are seen to live, one for each incarnation of a worker.
    pub presence: Vec<Presence>,
    /// The workers.
    pub workers: Vec<Worker>,
    /// The producers.
    pub producers: Vec<Producer>,
    /// Statements whose senders wait no more, and which may arrive yet.
    pub late: Vec<Late>,
    /// A reap's first statement, in the variant that has two: the job and the lease that it saw.
    pub judged: Option<(u8, Token)>,
    /// The next lease. Leases are random and never come again, whatever becomes of the database: so it is not part of it.
    pub next_token: Token,
    /// Whether an asynchronous failover may have lost acknowledged writes.
    pub may_have_lost: bool,
    /// What may go wrong yet.
    pub budget: Budget,
    /// Promises that a transition broke.
    pub broken: Promises,
}

impl State {
    /// Whether the session is there by which a worker is seen to live, if time and with it sessions matter at all.
    #[must_use]
    pub fn is_present(&self, worker: &Worker) -> bool {
        self.presence.get(usize::from(worker.owner)).is_none_or(|presence| *presence == Presence::Here)
    }
}

/// Who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum World {
    /// Everybody.
    Up,
    /// Not the database.
    DatabaseAway,
    /// Not the workers.
    WorkersStopped,
}

/// The session by which a worker is seen to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// Is there.
    Here,
    /// Has ended while its server goes on.
    Gone,
    /// Has ended with its server.
    EndedWithServer,
}

/// A worker process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    /// The incarnation: another one after each start.
    pub owner: u8,
    /// Whether the process is there.
    pub alive: bool,
    /// Whether it is stopped.
    pub paused: bool,
    /// Whether it has been stopped since it last renewed.
    pub stalled: bool,
    /// The attempts that it believes it holds.
    pub runs: Vec<Run>,
    /// The lease of a claim whose answer was lost.
    pub unanswered: Option<Token>,
    /// A claim's first statement, in the variant that has two.
    pub selected: Option<u8>,
    /// Ticks of uninterrupted contact of its reaper, up to [`LEASE_TICKS`].
    pub contact: u8,
    /// Whether its reaper has had contact for a lease time since it last lost it, or never lost it.
    pub steady: bool,
    /// Incarnations whose presence its reaper sees missing: since this tick, and for longer than that.
    pub missing: (Vec<u8>, Vec<u8>),
}

impl Worker {
    /// One that was just started.
    #[must_use]
    pub fn new(owner: u8) -> Self {
        Self {
            owner,
            alive: true,
            paused: false,
            stalled: false,
            runs: Vec::new(),
            unanswered: None,
            selected: None,
            contact: 0,
            steady: true,
            missing: (Vec::new(), Vec::new()),
        }
    }

    /// Whether it does anything.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.alive && !self.paused
    }

    /// Whether it believes, or may come to believe, that it holds a lease.
    #[must_use]
    pub fn believes(&self, token: Token) -> bool {
        self.unanswered == Some(token) || self.runs.iter().any(|run| run.token == token)
    }

    /// Its reaper has lost contact: what it saw before says nothing any more.
    pub fn lose_contact(&mut self) {
        self.contact = 0;
        self.steady = false;
        self.missing = (Vec::new(), Vec::new());
    }
}

/// An attempt, as its worker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// The job.
    pub job: u8,
    /// The lease.
    pub token: Token,
    /// The number that the claim gave it.
    pub attempt: u8,
    /// How far it is.
    pub phase: Phase,
}

/// How far an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The handler runs.
    Working,
    /// The handler has committed its effects without the end of the job.
    Effected,
    /// `complete_in` was answered; COMMIT is next.
    Committing,
    /// COMMIT was sent, and its answer lost.
    CommitUnknown,
    /// The finish was sent, and its answer lost.
    Unanswered(Ending),
}

/// How a worker ends an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Well.
    Complete,
    /// Badly.
    Fail,
    /// By giving the job back, or by a snooze.
    PutBack,
}

/// A producer of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Producer {
    /// Has not asked yet.
    Idle,
    /// Has asked, and has no answer.
    Unanswered,
    /// Was told that this job is the one.
    Told(u8),
}

/// What became of a request and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// It was answered.
    Arrives,
    /// It was done, and the answer was lost.
    Lost,
    /// It got lost itself, which its sender can't tell from the former.
    NeverSent,
    /// Nobody waits for it any more when it arrives.
    Late,
}

/// A statement that may arrive late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Late {
    /// Of a worker's incarnation.
    Claim {
        /// The lease.
        token: Token,
        /// The worker's incarnation.
        owner: u8,
    },
    /// Of an attempt.
    Finish {
        /// The attempt.
        run: Run,
        /// The worker's incarnation.
        owner: u8,
        /// How.
        ending: Ending,
    },
    /// A producer's first try.
    Enqueue {
        /// The producer, and its job.
        producer: u8,
    },
    /// A COMMIT, whose transaction holds the row until then.
    Commit {
        /// The job.
        job: u8,
    },
}
