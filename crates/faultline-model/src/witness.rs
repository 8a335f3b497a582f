//! What has been seen while searching: a model in which nothing goes wrong proves nothing.
//!
//! Counted on transitions and not kept in states, where each would double their number.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! witnesses {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Something that a search must have come across.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Witness { $($(#[$doc])* $name,)* }

        impl Witness {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

witnesses! {
    /// A worker got a job.
    Claimed,
    /// An attempt ended its job well.
    Succeeded,
    /// An attempt failed and another one may follow.
    Retried,
    /// An attempt failed and was the last.
    Exhausted,
    /// A worker gave a job back, or its handler asked to be called later.
    PutBack,
    /// An operator ended a waiting job.
    CancelledQueued,
    /// A job that was running when an operator cancelled it has ended so.
    CancelledRunning,
    /// A finish named a lease that is not the row's, and moved nothing.
    ZombieRefused,
    /// A worker was told by a renewal that it has lost a lease.
    LossTold,
    /// A finish was asked again and answered as the first time.
    FinishRepeated,
    /// The jobs of a claim whose answer was lost were found.
    ClaimRecovered,
    /// A claim whose answer was lost had not happened.
    ClaimUndone,
    /// A statement arrived after its sender had given up waiting.
    ArrivedLate,
    /// A lease was ended by a reap.
    Reaped,
    /// A reap ended a job that had no attempt left.
    CrashLoop,
    /// Of two jobs that fell with one worker a reap did not charge both.
    NeighbourSpared,
    /// A worker that others had taken for dead was there all the time.
    ZombieReaped,
    /// A failover undid a claim of a worker that goes on.
    ClaimRewound,
    /// A failover brought back a job that had ended.
    EndRewound,
    /// A failover lost an enqueue of which nobody knew for sure.
    UnansweredLost,
    /// A failover lost an enqueue that had been acknowledged.
    AckLost,
    /// A handler's transaction committed and its answer was lost.
    CommitLost,
    /// A handler's transaction was rolled back and its answer was lost.
    CommitUndone,
    /// A key was asked for again by another producer.
    Duplicate,
    /// An enqueue was asked again and found to have happened.
    EnqueueRepeated,
    /// An enqueue was asked again and had not happened before.
    EnqueueMadeGood,
    /// A lease had expired and was renewed.
    RenewedExpired,
    /// A lease was ended because its worker's session was gone.
    ReapedAbsent,
    /// A reaper would have ended an expired lease, were it not for the holdoff.
    HeldOff,
}

/// How often each [`Witness`] was seen.
#[derive(Debug)]
pub struct Witnesses(Vec<AtomicU64>);

impl Default for Witnesses {
    fn default() -> Self {
        Self(Witness::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

impl Witnesses {
    pub(crate) fn see(&self, witness: Witness) {
        self.0[witness as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The number of transitions on which it was seen.
    #[must_use]
    pub fn seen(&self, witness: Witness) -> u64 {
        self.0[witness as usize].load(Ordering::Relaxed)
    }
}
