//! What may be asked for. Commands name jobs and leases by how long ago they came up, so that every sequence makes sense,
//! also with some of its commands taken out.

use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};

/// Everything about an enqueue that makes it the same request or another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) priority: i16,
    pub(crate) max_attempts: i32,
    /// Due in an hour instead of now.
    pub(crate) delayed: bool,
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Complete,
    /// Due again at once, or in an hour.
    Fail {
        delayed: bool,
    },
    FailForGood,
    /// At the old place, or in an hour.
    Release {
        delayed: bool,
    },
    Snooze,
}

/// One command; `back` counts from the newest.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Enqueue {
        request: Request,
        key: Option<u8>,
        is_second_try: bool,
    },
    EnqueueAgain {
        back: usize,
    },
    Claim {
        worker: u8,
        limit: usize,
        expired: bool,
    },
    /// A worker claims, dies, and is reaped.
    Fall {
        limit: usize,
    },
    RecoverClaim {
        back: usize,
    },
    Renew {
        backs: Vec<usize>,
    },
    Finish {
        ends: Vec<(usize, How)>,
    },
    CompleteInTx {
        back: usize,
        commit: bool,
    },
    /// A job of the newest, or one of those that were claimed last; the same for a retry.
    Cancel {
        back: usize,
        held: bool,
    },
    Retry {
        back: usize,
        held: bool,
    },
    /// The lease runs out.
    Expire {
        back: usize,
    },
    /// What has expired; before, all leases of the worker of this one run out.
    Reap {
        of: Option<usize>,
    },
    /// The last command once more.
    Again,
    Pause,
    Resume,
}

/// A job and a lease that it had, by number.
pub(crate) type Pair = (usize, usize);
/// A number that no job or lease has.
pub(crate) const NOBODY: usize = 0xfff;

/// The same command with everything it names.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Asked {
    #[default]
    Nothing,
    Enqueue {
        job: usize,
        request: Request,
        key: Option<u8>,
        is_second_try: bool,
    },
    Claim {
        lease: usize,
        worker: u8,
        limit: usize,
        expired: bool,
    },
    Fall {
        lease: usize,
        limit: usize,
    },
    RecoverClaim {
        lease: usize,
    },
    Renew {
        pairs: Vec<Pair>,
    },
    Finish {
        ends: Vec<(Pair, How)>,
    },
    CompleteInTx {
        pair: Pair,
        commit: bool,
    },
    Cancel {
        job: usize,
    },
    Retry {
        job: usize,
        successor: usize,
    },
    Expire {
        pair: Pair,
    },
    Reap {
        of: Option<u8>,
    },
    Pause,
    Resume,
}

/// Leases and jobs that a command may reach back to.
const REACH: usize = 5;

fn requests() -> impl Strategy<Value = Request> {
    (1..=2_i16, prop_oneof![1 => 1..=2_i32, 1 => Just(4)], proptest::bool::weighted(0.15))
        .prop_map(|(priority, max_attempts, delayed)| Request { priority, max_attempts, delayed })
}

fn endings() -> impl Strategy<Value = How> {
    prop_oneof![
        2 => Just(How::Complete),
        4 => proptest::bool::weighted(0.2).prop_map(|delayed| How::Fail { delayed }),
        1 => Just(How::FailForGood),
        1 => proptest::bool::weighted(0.2).prop_map(|delayed| How::Release { delayed }),
        1 => Just(How::Snooze),
    ]
}

/// Weighted so that jobs live long enough to get into trouble.
pub(crate) fn commands() -> BoxedStrategy<Command> {
    let back = || 0..REACH;
    // One has most, so that much falls with it.
    let workers = prop_oneof![3 => Just(0), 1 => 1..3_u8];
    let keys = proptest::option::weighted(0.4, 0..2_u8);
    prop_oneof![
        5 => (requests(), keys, proptest::bool::weighted(0.2))
            .prop_map(|(request, key, is_second_try)| Command::Enqueue { request, key, is_second_try }),
        1 => back().prop_map(|back| Command::EnqueueAgain { back }),
        7 => (workers, 1..=3_usize, proptest::bool::weighted(0.2))
            .prop_map(|(worker, limit, expired)| Command::Claim { worker, limit, expired }),
        2 => (2..=3_usize).prop_map(|limit| Command::Fall { limit }),
        1 => back().prop_map(|back| Command::RecoverClaim { back }),
        2 => proptest::collection::vec(back(), 1..=3).prop_map(|backs| Command::Renew { backs }),
        7 => proptest::collection::vec((back(), endings()), 1..=3).prop_map(|ends| Command::Finish { ends }),
        1 => (back(), any::<bool>()).prop_map(|(back, commit)| Command::CompleteInTx { back, commit }),
        2 => (back(), any::<bool>()).prop_map(|(back, held)| Command::Cancel { back, held }),
        3 => (back(), any::<bool>()).prop_map(|(back, held)| Command::Retry { back, held }),
        2 => back().prop_map(|back| Command::Expire { back }),
        5 => proptest::option::weighted(0.7, back()).prop_map(|of| Command::Reap { of }),
        4 => Just(Command::Again),
        1 => Just(Command::Pause),
        2 => Just(Command::Resume),
    ]
    .boxed()
}
