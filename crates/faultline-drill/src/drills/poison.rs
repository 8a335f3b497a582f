//! Jobs that kill the process that runs them.

use crate::catalogue::{DEFAULT_LEASE, Drill, Load, SHORT_LEASE, Scene};
use crate::work::{How, Work};
use faultline_check::witness::Required;
use std::time::Duration;

/// How they kill, in turn.
const KINDS: [How; 3] = [How::Abort, How::Overflow, How::Memory];
/// The number of the first job that kills.
const FIRST: u64 = 10;
/// From one to the next, in jobs: time for it to be contained. Two at once could both cost the same neighbour an attempt.
const EVERY: u64 = 110;
/// Starts of a job at most: what poison takes with it must do with less.
const MAX_ATTEMPTS: i32 = 3;
/// What a worker may use, MiB of addresses: its threads reserve much more than they touch.
const MEMORY_MIB: u64 = 4096;

pub(crate) const DRILL: Drill = Drill {
    name: "poison",
    summary: "jobs that abort their worker, overflow its stack, or use up its memory",
    duration: Duration::from_secs(46),
    required: &[(Required::Success, 10), (Required::Exit, 9), (Required::CrashLoop, 3)],
    // Longer than the grace of a missing session, which so comes first.
    lease_ttl: DEFAULT_LEASE,
    scene: Scene { mortal: true, memory_mib: Some(MEMORY_MIB), ..Drill::CALM.scene },
    // One client: how fast the machine is makes little of a difference to when the next one comes.
    load: Load { clients: 1, pause: Duration::from_millis(130), max_attempts: MAX_ATTEMPTS, ..Drill::CALM.load },
    work: |rng, number| {
        let kind = usize::try_from(number / EVERY).ok().and_then(|n| KINDS.get(n));
        let fail = kind.copied().filter(|_| number % EVERY == FIRST);
        Work { ms: 800, fail, times: i32::MAX, ..Work::calm(rng, number) }
    },
    ..Drill::CALM
};

/// The same where only the leases tell: they run out, and the grace after them as well, before a session is missed for long enough.
pub(crate) const BY_LEASE: Drill = Drill {
    name: "poison-by-lease",
    summary: "the same with leases so short that they run out before a dead worker is missed",
    lease_ttl: SHORT_LEASE,
    fast: false,
    ..DRILL
};
