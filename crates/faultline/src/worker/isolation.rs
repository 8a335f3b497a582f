//! Which jobs run alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
