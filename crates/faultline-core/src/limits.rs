//! Every bound of the system, in one place. The SQL function `faultline.check_job` repeats those of
//! a job; a test holds the two equal.

/// Bytes of a queue's or a kind's name: enough for a path-like name, short enough for an index entry.
pub const MAX_NAME_BYTES: usize = 128;
/// Bytes of an idempotency key; a b-tree entry holds about 2,700.
pub const MAX_KEY_BYTES: usize = 512;
/// Bytes of a payload as JSON text. Larger things belong in storage made for them, with a reference here.
pub const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;
/// Bytes of a job's headers as JSON text: trace context and tags, not data.
pub const MAX_HEADERS_BYTES: usize = 8 * 1024;
/// Bytes of a result as JSON text; a larger one is replaced by a mark.
pub const MAX_RESULT_BYTES: usize = 1024 * 1024;
/// Bytes of a stored error text; a longer one is cut, with a mark.
pub const MAX_ERROR_BYTES: usize = 8 * 1024;
/// Nesting of arrays and objects: below the 128 at which `serde_json` refuses, so that every handler can read it.
pub const MAX_JSON_DEPTH: usize = 100;
/// Characters of one number in JSON.
pub const MAX_NUMBER_CHARS: usize = 400;
/// The largest exponent of a number in JSON, either way: what a double can hold.
pub const MAX_NUMBER_EXPONENT: i32 = 308;
/// Jobs in one enqueue statement.
pub const MAX_BATCH: usize = 10_000;
/// The longest delay: one year. Longer plans belong in a calendar.
pub const MAX_DELAY_MS: i64 = 365 * 24 * 3600 * 1000;
/// The longest time for which a key stays taken: one year.
pub const MAX_KEY_TTL_MS: i64 = 365 * 24 * 3600 * 1000;
/// The shortest time for which a key stays taken: one second.
pub const MIN_KEY_TTL_MS: i64 = 1000;
/// The most attempts of one job.
pub const MAX_ATTEMPTS: i32 = 100_000;
/// The longest time-out of one attempt: seven days.
pub const MAX_TIMEOUT_MS: i32 = 7 * 24 * 3600 * 1000;
/// The largest base of a back-off: one day.
pub const MAX_BACKOFF_BASE_MS: i32 = 24 * 3600 * 1000;
/// The largest cap of a back-off: seven days.
pub const MAX_BACKOFF_CAP_MS: i32 = 7 * 24 * 3600 * 1000;

/// The queue of a job that names none.
pub const DEFAULT_QUEUE: &str = "default";
/// The priority of a job that names none; 1 is first, 4 is last.
pub const DEFAULT_PRIORITY: i16 = 2;
/// Attempts of a job that names no maximum. With the default back-off about two and a half hours of retries.
pub const DEFAULT_MAX_ATTEMPTS: i32 = 20;
/// The time-out of an attempt that names none, ms: one hour, so that nothing hangs for ever.
pub const DEFAULT_TIMEOUT_MS: i32 = 3600 * 1000;
/// The window of a key that names none, ms: one day.
pub const DEFAULT_KEY_TTL_MS: i64 = 24 * 3600 * 1000;
/// The back-off base of a job that names none, ms.
pub const DEFAULT_BACKOFF_BASE_MS: i32 = 1000;
/// The back-off cap of a job that names none, ms.
pub const DEFAULT_BACKOFF_CAP_MS: i32 = 10 * 60 * 1000;
