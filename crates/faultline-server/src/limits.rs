//! Every bound of the server, in one place; those of a job itself are in [`faultline_core::limits`].

use std::time::Duration;

/// Bytes of the body of a request for one job: its payload, its headers, and room for the rest and for white space.
pub const MAX_JOB_BODY_BYTES: usize = faultline_core::limits::MAX_PAYLOAD_BYTES + 64 * 1024;
/// Bytes of the body of a batch. Larger ones gain nothing, a commit is shared by far fewer.
pub const MAX_BATCH_BODY_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of any other body.
pub const MAX_SMALL_BODY_BYTES: usize = 16 * 1024;
/// Jobs of one batch request.
pub const MAX_BATCH_JOBS: usize = 1000;
/// Bytes of all bodies held in memory at one time.
pub const MAX_HELD_BODY_BYTES: usize = 256 * 1024 * 1024;
/// Bytes of a body that is too large which are read all the same: a client that still writes would otherwise meet a
/// closed connection instead of the answer.
pub const MAX_DISCARDED_BYTES: usize = 64 * 1024 * 1024;
/// How long such a body is read.
pub const DISCARD_TIME: Duration = Duration::from_secs(2);
/// Bytes of a request's line and headers together.
pub const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Headers of a request.
pub const MAX_HEADERS: usize = 100;

/// Requests that wait for a place in a commit, each lane.
pub const MAX_WAITING_ENQUEUES: usize = 8192;
/// Jobs of one commit.
pub const MAX_COMMIT_JOBS: usize = 500;
/// Bytes of payload at which a commit takes no further job.
pub const MAX_COMMIT_BYTES: usize = 8 * 1024 * 1024;
/// Commits in flight, each lane: while one is on its way the next requests gather, so that load makes them larger,
/// not more.
pub const MAX_COMMITS_IN_FLIGHT: usize = 2;
/// How long a commit is on its way before another one may join it. Two small ones cost the database more than one that has the
/// jobs of both; beside a slow one, the next need not wait for it.
pub const COMMIT_ALONE: Duration = Duration::from_millis(5);
/// A request with less time left than this is not sent any more: an answer could not be expected in time, and what is
/// not sent is certainly not done.
pub const MIN_COMMIT_TIME: Duration = Duration::from_millis(500);
/// The longest deadline of an enqueue. Below the statement time-out of a session, 30 s: a backend whose wait for a
/// synchronous standby was cancelled by that would show its jobs to a second try before they are safe.
pub const MAX_ENQUEUE_DEADLINE: Duration = Duration::from_secs(25);

/// The longest `?wait=`.
pub const MAX_WAIT: Duration = Duration::from_secs(60);
/// Requests that wait for a job's end at one time.
pub const MAX_WAITING_READS: usize = 4096;
/// How often the jobs that somebody waits for are looked at, all in one statement.
pub const WAIT_POLL: Duration = Duration::from_millis(50);
/// The same after a failure.
pub const WAIT_POLL_AFTER_FAILURE: Duration = Duration::from_millis(250);

/// How long a read or an operator's call may take.
pub const CALL_TIME: Duration = Duration::from_secs(5);
/// How long any call may take while the database does not answer, so that a silent one is found out once, by the
/// health check, and not by every request.
pub const CALL_TIME_WHILE_AWAY: Duration = Duration::from_secs(1);
/// How long a health check may take.
pub const HEALTH_TIME: Duration = Duration::from_secs(1);
/// The pause between two health checks.
pub const HEALTH_INTERVAL: Duration = Duration::from_millis(750);

/// How old the list of tokens may grow before it is read again.
pub const TOKENS_INTERVAL: Duration = Duration::from_secs(5);
/// The least time between two readings that unknown tokens cause.
pub const TOKENS_MIN_INTERVAL: Duration = Duration::from_secs(1);
/// How long the last list is served while the database is away: a revoked token may live that long then.
pub const TOKENS_MAX_AGE: Duration = Duration::from_secs(60);

/// Seconds after which a client should try again what was refused for lack of room or database.
pub const RETRY_AFTER_S: u32 = 1;
