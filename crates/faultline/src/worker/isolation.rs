//! Which jobs run alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Crashes after which a job runs beside no other such job of this worker.
pub(crate) const ISOLATE_AFTER_CRASHES: i32 = 2;
/// How long a job waits that may not run beside another one.
pub(crate) const ISOLATION_DELAY: Duration = Duration::from_secs(2);

/// The right to run a job that crashed its worker more than once: one at a time.
pub(crate) struct Isolation(Arc<AtomicBool>);

impl Isolation {
    pub(crate) fn take(isolated: &Arc<AtomicBool>) -> Option<Self> {
        let was_taken = isolated.swap(true, Ordering::AcqRel);
        (!was_taken).then(|| Self(isolated.clone()))
    }
}

impl Drop for Isolation {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
